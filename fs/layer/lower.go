package layer

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// LowerDirs visits the directories of lower that access shows, from dir down, parents first; what
// it hides is not entered. fd is good only during the call. A directory that goes away meanwhile
// is passed over.
func (s *Stack) LowerDirs(ctx context.Context, dir string, fn func(path string, fd int) error) error {
	fd, err := unix.Openat2(s.lower, dir, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return passOver(err)
	}
	defer unix.Close(fd)
	return s.lowerDirs(ctx, dir, fd, fn)
}

func (s *Stack) lowerDirs(ctx context.Context, path string, fd int, fn func(path string, fd int) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := fn(path, fd); err != nil {
		return err
	}
	names, err := readNames(fd)
	if err != nil {
		return passOver(err)
	}
	for _, n := range names {
		sub := Join(path, n.name)
		if n.typ != unix.S_IFDIR || s.policy.Hidden(sub) || !s.showsLower(sub, n.typ) {
			continue
		}
		subFD, err := openPath(fd, n.name, unix.O_DIRECTORY)
		if err == nil {
			err = s.lowerDirs(ctx, sub, subFD, fn)
			_ = unix.Close(subFD)
		}
		if err = passOver(err); err != nil {
			return &os.PathError{Op: "walk", Path: sub, Err: err}
		}
	}
	return nil
}

// passOver forgives what a directory answers that went away or is not ours to read.
func passOver(err error) error {
	for _, ok := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EACCES} {
		if errors.Is(err, ok) {
			return nil
		}
	}
	return err
}
