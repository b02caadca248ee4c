package layer

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
)

// Walk visits the merged view: every path above level None and the directories that lead there,
// parents first, sorted. What is None is not entered. Special files are left out. A path that
// goes away while the walk is on is passed over.
func (s *Stack) Walk(ctx context.Context, fn func(Entry) error) error {
	return s.walk(ctx, s.Root(), fn)
}

func (s *Stack) walk(ctx context.Context, d Pair, fn func(Entry) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	ents, err := s.ReadDir(d)
	if err != nil {
		return &os.PathError{Op: "read directory", Path: d.Path, Err: err}
	}
	for _, ent := range ents {
		path := Join(d.Path, ent.Name)
		level := s.policy.Level(path)
		if level == access.None && (ent.Type != unix.S_IFDIR || !s.policy.Enter(path)) {
			continue
		}
		f, err := s.Lookup(d, ent.Name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "look up", Path: path, Err: err}
		}
		e, err := s.entry(d, ent.Name, f)
		if err != nil || e.Kind == Other {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
		if e.Kind != Dir {
			continue
		}
		sub, err := s.OpenDir(d, ent.Name, f)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "open directory", Path: path, Err: err}
		}
		err = s.walk(ctx, sub, fn)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) entry(d Pair, name string, f Found) (Entry, error) {
	e := s.entryOf(Join(d.Path, name), &f.Stat)
	e.Upper = f.Upper
	if e.Kind == Symlink {
		dir := d.Lower
		if f.Upper {
			dir = d.Upper
		}
		var err error
		if e.Target, err = readlinkAt(dir, name); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (s *Stack) entryOf(path string, st *unix.Stat_t) Entry {
	return Entry{
		Path: path, Kind: kindOf(st.Mode), Mode: st.Mode & 0o7777, Identity: IdentityOf(st),
		Nlink: st.Nlink, UID: st.Uid, GID: st.Gid, Level: s.policy.Level(path),
	}
}

// resolve finds the directory that has path, and path in it. The caller closes the Pair unless it
// is the root's.
func (s *Stack) resolve(path string) (d Pair, name string, f Found, err error) {
	d = s.Root()
	if err := validPath(path); err != nil {
		return d, "", f, err
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if f, err = s.Lookup(d, part); err != nil {
			s.release(&d)
			return d, "", f, err
		}
		if i == len(parts)-1 {
			return d, part, f, nil
		}
		if kindOf(f.Stat.Mode) != Dir {
			s.release(&d)
			return d, "", f, unix.ENOENT
		}
		sub, err := s.OpenDir(d, part, f)
		s.release(&d)
		if err != nil {
			return d, "", f, err
		}
		d = sub
	}
	return d, "", f, unix.EINVAL
}

// release closes a Pair that is not the root's.
func (s *Stack) release(d *Pair) {
	if d.Path != "." {
		d.Close()
	}
}

// Lstat looks one path of the merged view up; iofs.ErrNotExist when it is not there.
func (s *Stack) Lstat(path string) (Entry, error) {
	d, name, f, err := s.resolve(path)
	if err != nil {
		return Entry{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	defer s.release(&d)
	e, err := s.entry(d, name, f)
	if err != nil {
		return e, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return e, nil
}

// OpenFile opens a regular file of the merged view for reading. The Entry is of the file that was
// opened. The caller closes it.
func (s *Stack) OpenFile(path string) (*os.File, Entry, error) {
	d, name, f, err := s.resolve(path)
	if err != nil {
		return nil, Entry{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer s.release(&d)
	if kindOf(f.Stat.Mode) != File {
		return nil, Entry{}, &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	file, err := s.OpenRead(d, name, f.Upper)
	if err != nil {
		return nil, Entry{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || kindOf(st.Mode) != File {
		return nil, Entry{}, errors.Join(&os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}, file.Close())
	}
	e := s.entryOf(path, &st)
	e.Upper = f.Upper
	return file, e, nil
}

// Changes visits all that upper changes, at any level, path by path: what a whiteout or an opaque
// directory deletes with children before parents, the rest with parents before children.
func (s *Stack) Changes(ctx context.Context, fn func(Change) error) error {
	return s.changes(ctx, s.Root(), false, fn)
}

// changes visits the upper directory of d. d.Lower is lower's directory of the same path, also
// where it is hidden.
func (s *Stack) changes(ctx context.Context, d Pair, hidden bool, fn func(Change) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	names, err := readNames(d.Upper)
	if err != nil {
		return &os.PathError{Op: "read directory", Path: d.Path, Err: err}
	}
	slices.SortFunc(names, func(a, b rawDirent) int { return strings.Compare(a.name, b.name) })
	for _, n := range names {
		path := Join(d.Path, n.name)
		if s.policy.Hidden(path) {
			continue
		}
		if err := s.change(ctx, d, hidden, n.name, path, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) change(ctx context.Context, d Pair, hidden bool, name, path string, fn func(Change) error) error {
	var st unix.Stat_t
	if err := statAt(d.Upper, name, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	white := s.isWhiteout(d.Upper, name, &st)
	if !white && kindOf(st.Mode) == Dir {
		return s.changeDir(ctx, d, hidden, name, path, fn)
	}
	// Whatever lower has below is hidden.
	if err := s.deletedBelow(ctx, d.Lower, name, path, nil, fn); err != nil {
		return err
	}
	if white {
		return fn(s.deletion(path))
	}
	c, err := s.changeOf(d, name, path)
	if err != nil {
		return err
	}
	return fn(c)
}

func (s *Stack) changeOf(d Pair, name, path string) (Change, error) {
	var f Found
	if err := statAt(d.Upper, name, &f.Stat); err != nil {
		return Change{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	f.Upper = true
	e, err := s.entry(d, name, f)
	if err != nil {
		return Change{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	c := Change{Entry: e}
	c.Origin, _ = s.origins.get(path)
	return c, nil
}

func (s *Stack) deletion(path string) Change {
	c := Change{Entry: Entry{Path: path, Upper: true, Level: s.policy.Level(path)}}
	c.Origin, _ = s.origins.get(path)
	return c
}

// changeDir visits an upper directory, and what it hides when it is opaque, or in one that is.
func (s *Stack) changeDir(ctx context.Context, d Pair, hidden bool, name, path string, fn func(Change) error) error {
	c, err := s.changeOf(d, name, path)
	if err != nil {
		return err
	}
	if err := fn(c); err != nil {
		return err
	}
	sub := Pair{Path: path, Lower: -1}
	if sub.Upper, err = openPath(d.Upper, name, unix.O_DIRECTORY); err != nil {
		return &os.PathError{Op: "open directory", Path: path, Err: err}
	}
	defer sub.Close()
	if d.Lower >= 0 {
		if fd, err := openPath(d.Lower, name, unix.O_DIRECTORY); err == nil {
			sub.Lower = fd
		}
	}
	opaque, err := s.isOpaque(d.Upper, name)
	if err != nil {
		return &os.PathError{Op: "read mark of", Path: path, Err: err}
	}
	hidden = hidden || opaque
	if hidden && sub.Lower >= 0 {
		err := s.deletedBelow(ctx, d.Lower, name, path, func(name string) bool {
			var st unix.Stat_t
			return statAt(sub.Upper, name, &st) == nil
		}, fn)
		if err != nil {
			return err
		}
	}
	return s.changes(ctx, sub, hidden, fn)
}

// deletedBelow visits what lower shows below the directory name of dir as deleted, children
// first, but for the names that upper has itself. It is empty when lower has no directory there.
func (s *Stack) deletedBelow(ctx context.Context, dir int, name, path string, has func(string) bool, fn func(Change) error) error {
	if dir < 0 {
		return nil
	}
	var st unix.Stat_t
	if err := s.lookupLower(dir, name, path, &st); err != nil || kindOf(st.Mode) != Dir {
		return nil
	}
	fd, err := openPath(dir, name, unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	ents, err := s.ReadDir(Pair{Path: path, Upper: -1, Lower: fd})
	if err != nil {
		return &os.PathError{Op: "read directory", Path: path, Err: err}
	}
	for _, ent := range ents {
		if has != nil && has(ent.Name) {
			continue
		}
		sub := Join(path, ent.Name)
		if ent.Type == unix.S_IFDIR {
			if err := s.deletedBelow(ctx, fd, ent.Name, sub, nil, fn); err != nil {
				return err
			}
		}
		if err := fn(s.deletion(sub)); err != nil {
			return err
		}
	}
	return nil
}
