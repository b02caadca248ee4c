package layer

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// linkUp gives upper the other names that lower's view has of a file that was copied up to name in
// d, so that they stay one file. Names that access hides are not of the view. The copies' names
// are kept for Linked.
func (s *Stack) linkUp(d Pair, name string, src *unix.Stat_t) error {
	self := Join(d.Path, name)
	return s.LowerDirs(context.Background(), ".", func(dir string, fd int) error {
		names, err := readNames(fd)
		if err != nil {
			return passOver(err)
		}
		for _, n := range names {
			path := Join(dir, n.name)
			if n.ino != src.Ino || path == self {
				continue
			}
			if err := s.linkOne(d, name, path, src); err != nil {
				return err
			}
		}
		return nil
	})
}

// linkOne links the copy at name in d to a path if that shows lower's file src.
func (s *Stack) linkOne(d Pair, name, path string, src *unix.Stat_t) error {
	parent, base := Split(path)
	at, _, f, err := s.resolve(path)
	if err != nil {
		return nil // deleted, or hidden, in the view
	}
	s.release(&at)
	if f.Upper || f.Stat.Ino != src.Ino || f.Stat.Dev != src.Dev {
		return nil
	}
	to, err := s.upperDir(parent)
	if err != nil {
		return err
	}
	defer s.release(&to)
	if err := s.recordOrigin(path, originOf(&f.Stat)); err != nil {
		return err
	}
	var before unix.Stat_t
	if err := statAt(to.Upper, ".", &before); err != nil {
		return err
	}
	if err := unix.Linkat(d.Upper, name, to.Upper, base, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	s.linkedMu.Lock()
	s.linked = append(s.linked, path)
	s.linkedMu.Unlock()
	return utimesAt(to.Upper, ".", before.Atim, before.Mtim)
}

// Linked returns the other names of hard-linked files that copy-ups gave upper since it was last
// called.
func (s *Stack) Linked() []string {
	s.linkedMu.Lock()
	defer s.linkedMu.Unlock()
	paths := s.linked
	s.linked = nil
	return paths
}
