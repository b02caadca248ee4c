package layer

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// retry calls f again while it is interrupted.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openPath opens an O_PATH descriptor of name below dir, without following a symlink.
func openPath(dir int, name string, flags int) (int, error) {
	return openAt(dir, name, unix.O_PATH|flags, 0)
}

// openAt opens name below dir, without following a symlink as its last component.
func openAt(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, mode)
		return err
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// statAt is fstatat(2) without following symlinks; "." is dir itself.
func statAt(dir int, name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

func fchownat(dir int, name string, uid, gid int) error {
	return retry(func() error { return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) })
}

// chmodAt sets the permission bits of what is not a symlink.
func chmodAt(dir int, name string, mode uint32) error {
	err := retry(func() error { return unix.Fchmodat(dir, name, mode, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		// Before fchmodat2 (Linux 6.6): through the magic link of a descriptor.
		fd, ferr := openPath(dir, name, 0)
		if ferr != nil {
			return ferr
		}
		defer unix.Close(fd)
		return retry(func() error { return unix.Chmod(procFD(fd), mode) })
	}
	return err
}

func utimesAt(dir int, name string, atime, mtime unix.Timespec) error {
	ts := []unix.Timespec{atime, mtime}
	return retry(func() error { return unix.UtimesNanoAt(dir, name, ts, unix.AT_SYMLINK_NOFOLLOW) })
}

func renameAt(oldDir int, oldName string, newDir int, newName string, flags uint) error {
	return retry(func() error { return unix.Renameat2(oldDir, oldName, newDir, newName, flags) })
}

func readlinkAt(dir int, name string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
		buf = make([]byte, 2*len(buf))
	}
}

// procFD is the magic link of a descriptor. Extended attributes of what an O_PATH descriptor or
// a directory entry names can be reached only by a path.
func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func procAt(dir int, name string) string {
	if name == "." {
		return procFD(dir) + "/."
	}
	return procFD(dir) + "/" + name
}

// getxattrAt reads an extended attribute; nil without an error when there is none.
func getxattrAt(dir int, name, attr string) ([]byte, error) {
	var buf [256]byte
	path := procAt(dir, name)
	n, err := unix.Lgetxattr(path, attr, buf[:])
	if errors.Is(err, unix.ERANGE) {
		big := make([]byte, 64<<10)
		if n, err = unix.Lgetxattr(path, attr, big); err == nil {
			return big[:n], nil
		}
	}
	if err != nil {
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, nil
		}
		return nil, err
	}
	return append([]byte{}, buf[:n]...), nil
}

func setxattrAt(dir int, name, attr string, value []byte) error {
	return retry(func() error { return unix.Lsetxattr(procAt(dir, name), attr, value, 0) })
}

// removeAll removes name below dir with everything in it.
func removeAll(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := openPath(dir, name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAll(fd, n.name); err != nil {
			return err
		}
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// Path names an entry for calls that take only a path (extended attributes do): through the magic
// link of its directory's descriptor, so that no rename above it matters. "." is dir itself.
func Path(dir int, name string) string { return procAt(dir, name) }

// OpenAt opens name below dir without following a symlink, for the overlay.
func OpenAt(dir int, name string, flags int, mode uint32) (int, error) {
	return openAt(dir, name, flags, mode)
}

// StatAt is fstatat(2) without following symlinks; "." is dir itself.
func StatAt(dir int, name string, st *unix.Stat_t) error { return statAt(dir, name, st) }

// RenameAt is renameat2(2).
func RenameAt(oldDir int, oldName string, newDir int, newName string, flags uint) error {
	return renameAt(oldDir, oldName, newDir, newName, flags)
}

// ChmodAt sets the permission bits of what is not a symlink.
func ChmodAt(dir int, name string, mode uint32) error { return chmodAt(dir, name, mode) }

// ReadlinkAt reads a symlink.
func ReadlinkAt(dir int, name string) (string, error) { return readlinkAt(dir, name) }
