package syncer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// The platform calls of this package, with EINTR handled. Descriptors of directories are O_PATH.

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openBeneath opens a path below the directory dir, through no symlink. Without openat2 the
// caller walks by itself: ENOSYS.
func openBeneath(dir int, path string, flags int) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	err = retry(func() error {
		fd, err = unix.Openat2(dir, path, &how)
		if errors.Is(err, unix.EAGAIN) { // something on the way was renamed just now
			return unix.EINTR
		}
		return err
	})
	return fd, err
}

// openAt opens one name of dir, not a symlink.
func openAt(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
		return err
	})
	return fd, err
}

// openFileAt opens a regular file of dir for reading, without waiting for a fifo's writer.
func openFileAt(dir int, name string) (*os.File, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = f.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return f, nil
}

func statAt(dir int, name string) (st unix.Stat_t, err error) {
	err = retry(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

func readlinkAt(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		var n int
		err := retry(func() (err error) { n, err = unix.Readlinkat(dir, name, buf); return err })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func unlinkAt(dir int, name string, flags int) error {
	return retry(func() error { return unix.Unlinkat(dir, name, flags) })
}

func renameAt(dir int, from, to string, flags uint) error {
	return retry(func() error { return unix.Renameat2(dir, from, dir, to, flags) })
}

// chmodAt sets the mode of a file or directory that is no symlink.
func chmodAt(dir int, name string, mode uint32) error {
	fd, err := openAt(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.ELOOP
	}
	// An O_PATH descriptor takes no fchmod; its name under /proc does.
	return retry(func() error { return unix.Fchmodat(unix.AT_FDCWD, procPath(fd), mode, 0) })
}

func syncFS(fd int) error { return retry(func() error { return unix.Syncfs(fd) }) }
