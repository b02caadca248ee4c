package fs

import (
	"errors"
	"runtime/debug"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// status is what the kernel is told. What is not an errno is a bug or a broken state directory:
// it is logged with its path.
func (o *Overlay) status(err error, op, path string) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		errno = syscall.EIO
	}
	if errno == syscall.EIO || errno == syscall.EBADF {
		o.log.Error("operation failed", "op", op, "path", path, "error", err)
	}
	return fuse.Status(errno)
}

func stack() string { return string(debug.Stack()) }
