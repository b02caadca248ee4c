package syncer

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// openForWriting says whether any process has a file open for writing. A read lease is given only
// when none has; where there are no leases nobody can tell, and the answer is no.
func openForWriting(dir int, name string) bool {
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) // which gives a lease back
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	return errors.Is(err, unix.EAGAIN)
}

// swap exchanges two names of a directory. Where the file system cannot, the old version gets the
// temporary name by a link: between that and the rename a save would be lost.
func (h *home) swap(dir int, temp, name string) error {
	if !h.noExchange {
		err := renameAt(dir, temp, name, unix.RENAME_EXCHANGE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		h.noExchange = true
	}
	old := temp + oldSuffix
	st, err := statAt(dir, name)
	if err != nil {
		return err
	}
	with, err := statAt(dir, temp)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR || with.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = renameAt(dir, name, old, unix.RENAME_NOREPLACE)
	} else {
		err = retry(func() error { return unix.Linkat(dir, name, dir, old, 0) })
	}
	if err != nil {
		return err
	}
	if err := retry(func() error { return unix.Renameat(dir, temp, dir, name) }); err != nil {
		return err
	}
	return renameAt(dir, old, temp, 0)
}

// oldSuffix is what the temporary name of a replaced file ends in for a moment, where names
// cannot be exchanged.
const oldSuffix = "-old"

// copyXattrs gives a staged file the extended attributes of the home's version, as far as it can:
// they are the home owner's, not the sandbox's.
func copyXattrs(dir int, path string, to int) {
	fd, err := openAt(dir, path[strings.LastIndexByte(path, '/')+1:], unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	size, err := unix.Flistxattr(fd, nil)
	if err != nil || size <= 0 {
		return
	}
	buf := make([]byte, size+1024)
	if size, err = unix.Flistxattr(fd, buf); err != nil {
		return
	}
	value := make([]byte, 64<<10)
	for _, name := range strings.Split(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		if name != "system.posix_acl_access" && (!strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.")) {
			continue
		}
		if n, err := unix.Fgetxattr(fd, name, value); err == nil {
			_ = unix.Fsetxattr(to, name, value[:n], 0)
		}
	}
}
