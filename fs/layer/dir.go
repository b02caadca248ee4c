package layer

import (
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
)

// A Pair is one directory of the merged view by its descriptors, -1 for a layer that has no part in
// it. They may be O_PATH descriptors.
type Pair struct {
	Path  string // "." is the root
	Upper int
	Lower int
}

// A Found is one name of a Pair.
type Found struct {
	Stat  unix.Stat_t // of the layer that shows
	Ino   uint64      // the number that the merged view shows
	Upper bool        // upper has it
	Lower bool        // a directory that both layers have, or anything that only lower has
}

// A Dirent is one name of a merged directory.
type Dirent struct {
	Name  string
	Ino   uint64
	Type  uint32 // as S_IFMT bits
	Upper bool
}

// Join is the path of name in the directory dir.
func Join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// Root is the root of the merged view. The caller must not close its descriptors.
func (s *Stack) Root() Pair { return Pair{Path: ".", Upper: s.upper, Lower: s.lower} }

// Lookup finds one name of d. A name that access hides is not there.
func (s *Stack) Lookup(d Pair, name string) (f Found, err error) {
	path := Join(d.Path, name)
	if s.policy.Hidden(path) {
		return f, unix.ENOENT
	}
	if d.Upper >= 0 {
		err := statAt(d.Upper, name, &f.Stat)
		switch {
		case err == nil && s.isWhiteout(d.Upper, name, &f.Stat):
			return Found{}, unix.ENOENT
		case err == nil:
			f.Upper = true
			f.Ino = s.inoAt(d.Upper, name, &f.Stat)
			if kindOf(f.Stat.Mode) != Dir || d.Lower < 0 {
				return f, nil
			}
			f.Lower, err = s.mergesLower(d, name, path)
			return f, err
		case !errors.Is(err, unix.ENOENT):
			return f, err
		}
	}
	if d.Lower < 0 {
		return f, unix.ENOENT
	}
	if err := s.lookupLower(d.Lower, name, path, &f.Stat); err != nil {
		return f, err
	}
	f.Lower = true
	f.Ino = s.Ino(&f.Stat)
	return f, nil
}

// lookupLower finds a name that access shows in a lower directory.
func (s *Stack) lookupLower(dir int, name, path string, st *unix.Stat_t) error {
	level := s.policy.Level(path)
	if level == access.None && !s.policy.Enter(path) {
		return unix.ENOENT
	}
	if err := statAt(dir, name, st); err != nil {
		return err
	}
	kind := kindOf(st.Mode)
	if kind == Other || level == access.None && kind != Dir {
		return unix.ENOENT
	}
	return nil
}

// mergesLower says whether lower's directory shows through the upper directory name of d.
func (s *Stack) mergesLower(d Pair, name, path string) (bool, error) {
	var st unix.Stat_t
	err := s.lookupLower(d.Lower, name, path, &st)
	if errors.Is(err, unix.ENOENT) || err == nil && kindOf(st.Mode) != Dir {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	opaque, err := s.isOpaque(d.Upper, name)
	return !opaque, err
}

// OpenDir opens the directory name of d, which f found. The caller closes it.
func (s *Stack) OpenDir(d Pair, name string, f Found) (Pair, error) {
	sub := Pair{Path: Join(d.Path, name), Upper: -1, Lower: -1}
	var err error
	if f.Upper {
		if sub.Upper, err = openPath(d.Upper, name, unix.O_DIRECTORY); err != nil {
			return sub, err
		}
	}
	if f.Lower {
		if sub.Lower, err = openPath(d.Lower, name, unix.O_DIRECTORY); err != nil {
			sub.Close()
			return sub, err
		}
	}
	return sub, nil
}

// Close closes the descriptors.
func (d *Pair) Close() {
	for _, fd := range []*int{&d.Upper, &d.Lower} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// ReadDir lists the merged view of d, sorted by name, without "." and "..". The number and type of
// an entry are those that Lookup would give.
func (s *Stack) ReadDir(d Pair) ([]Dirent, error) {
	var out []Dirent
	var hidden map[string]bool
	if d.Upper >= 0 {
		names, err := readNames(d.Upper)
		if err != nil {
			return nil, err
		}
		hidden = make(map[string]bool, len(names))
		for _, n := range names {
			hidden[n.name] = true
			if s.policy.Hidden(Join(d.Path, n.name)) {
				continue
			}
			var st unix.Stat_t
			if n.typ == unix.S_IFCHR || n.typ == unix.S_IFREG && s.format.XWhiteout {
				if err := statAt(d.Upper, n.name, &st); err != nil || s.isWhiteout(d.Upper, n.name, &st) {
					continue
				}
			}
			st.Ino, st.Dev = n.ino, s.upperDev
			out = append(out, Dirent{Name: n.name, Ino: s.inoAt(d.Upper, n.name, &st), Type: n.typ, Upper: true})
		}
	}
	if d.Lower >= 0 {
		names, err := readNames(d.Lower)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			path := Join(d.Path, n.name)
			if hidden[n.name] || s.policy.Hidden(path) || !s.showsLower(path, n.typ) {
				continue
			}
			out = append(out, Dirent{Name: n.name, Ino: s.Ino(&unix.Stat_t{Ino: n.ino, Dev: s.lowerDev}), Type: n.typ})
		}
	}
	slices.SortFunc(out, func(a, b Dirent) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// showsLower says whether access shows a lower path of this type.
func (s *Stack) showsLower(path string, typ uint32) bool {
	switch typ {
	case unix.S_IFDIR:
		return s.policy.Level(path) > access.None || s.policy.Enter(path)
	case unix.S_IFREG, unix.S_IFLNK:
		return s.policy.Level(path) > access.None
	}
	return false
}

// rawDirent is one entry of a directory on disk.
type rawDirent struct {
	name string
	ino  uint64
	typ  uint32 // as S_IFMT bits
}

// readNames lists a directory on disk. dir may be an O_PATH descriptor.
func readNames(dir int) ([]rawDirent, error) {
	fd, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var out []rawDirent
	buf := make([]byte, 32<<10)
	for {
		var n int
		if err := retry(func() (err error) { n, err = unix.ReadDirent(fd, buf); return err }); err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		for b := buf[:n]; len(b) > 0; {
			ent, size := parseDirent(b)
			b = b[size:]
			if ent.name == "." || ent.name == ".." {
				continue
			}
			if ent.typ == 0 { // the file system does not tell
				var st unix.Stat_t
				if err := statAt(fd, ent.name, &st); err != nil {
					continue
				}
				ent.typ = st.Mode & unix.S_IFMT
			}
			out = append(out, ent)
		}
	}
}

// OpenRead opens a regular file of the layer that shows it for reading.
func (s *Stack) OpenRead(d Pair, name string, upper bool) (*os.File, error) {
	dir := d.Lower
	if upper {
		dir = d.Upper
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
