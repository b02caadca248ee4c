package layer

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Staged is a file on upper's file system that nobody sees yet. It is an io.Writer; Put takes it
// over, Abort removes it, and what is left of a killed process is swept at the next Open.
type Staged struct {
	stack *Stack
	name  string
	file  *os.File // nil once closed
	gone  bool
}

// Stage makes an empty staged file. The caller gives it to Put or aborts it.
func (s *Stack) Stage() (*Staged, error) {
	name := s.tempName()
	fd, err := openAt(s.stage, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return &Staged{stack: s, name: name, file: os.NewFile(uintptr(fd), name)}, nil
}

// Write appends to the staged file.
func (st *Staged) Write(p []byte) (int, error) { return st.file.Write(p) }

// Truncate sets the size, so that holes can be left.
func (st *Staged) Truncate(size int64) error { return st.file.Truncate(size) }

// Close gives the descriptor back; the staged file stays. It may be called twice.
func (st *Staged) Close() error {
	if st.file == nil {
		return nil
	}
	err := st.file.Close()
	st.file = nil
	return err
}

// Abort removes the staged file, unless Put took it over. It may be called twice.
func (st *Staged) Abort() {
	_ = st.Close()
	if !st.gone {
		_ = unix.Unlinkat(st.stack.stage, st.name, 0)
		st.gone = true
	}
}

// A Put is one path to write in upper.
type Put struct {
	Path   string
	Kind   Kind // File, Dir or Symlink
	Mode   uint32
	Mtime  int64   // nanoseconds since the epoch; of directories only if not 0
	Target string  // of symlinks
	Staged *Staged // the content of a file
	// Origin is recorded if nothing hides the path yet: what the new content is based on. Nil
	// means what lower has now.
	Origin *Origin
}

// Put writes one path of the merged view atomically, with the missing directories above it. A
// directory is not replaced by anything else: it must have been removed. Put does not take care
// of kernel caches: while the view is mounted, use the overlay's.
func (s *Stack) Put(p Put) error {
	if err := s.put(p); err != nil {
		return &os.PathError{Op: "put", Path: p.Path, Err: err}
	}
	return nil
}

func (s *Stack) put(p Put) error {
	if err := validPath(p.Path); err != nil {
		return err
	}
	if s.policy.Hidden(p.Path) {
		return unix.EPERM
	}
	parent, name := Split(p.Path)
	d, err := s.upperDir(parent)
	if err != nil {
		return err
	}
	defer s.release(&d)
	f, err := s.Lookup(d, name)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return err
	case kindOf(f.Stat.Mode) == Dir && p.Kind != Dir:
		return unix.EISDIR
	case kindOf(f.Stat.Mode) == Dir:
		return s.putDirMode(d, name, f, p)
	}
	switch p.Kind {
	case File:
		if p.Staged == nil {
			return errors.New("no content")
		}
		if err := p.Staged.Close(); err != nil {
			return err
		}
		err = s.place(d, name, s.stage, p.Staged.name, p)
		p.Staged.gone = p.Staged.gone || err == nil
		return err
	case Symlink:
		tmp := s.tempName()
		if err := unix.Symlinkat(p.Target, s.work, tmp); err != nil {
			return err
		}
		if err := s.place(d, name, s.work, tmp, p); err != nil {
			s.discard(tmp)
			return err
		}
		return nil
	case Dir:
		return s.makeDir(d, name, p)
	}
	return unix.EINVAL
}

// place gives a temporary file its attributes and its name.
func (s *Stack) place(d Pair, name string, dir int, tmp string, p Put) error {
	if err := s.attributes(d, dir, tmp, p); err != nil {
		return err
	}
	if err := s.hideAs(d, name, p.Origin); err != nil {
		return err
	}
	return renameAt(dir, tmp, d.Upper, name, 0)
}

// attributes sets owner, mode and time of a temporary file: the owner is that of the directory it
// goes to, as if the home's user had made it.
func (s *Stack) attributes(d Pair, dir int, tmp string, p Put) error {
	var up, now unix.Stat_t
	if err := errors.Join(statAt(d.Upper, ".", &up), statAt(dir, tmp, &now)); err != nil {
		return err
	}
	if up.Uid != now.Uid || up.Gid != now.Gid {
		if err := fchownat(dir, tmp, int(up.Uid), int(up.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	if p.Kind != Symlink {
		if err := chmodAt(dir, tmp, p.Mode&0o7777); err != nil {
			return err
		}
	}
	if p.Mtime == 0 {
		return nil
	}
	ts := unix.NsecToTimespec(p.Mtime)
	return utimesAt(dir, tmp, ts, ts)
}

// hideAs records the origin of a path that upper is about to hide.
func (s *Stack) hideAs(d Pair, name string, o *Origin) error {
	if o == nil {
		return s.Hide(d, name)
	}
	var st unix.Stat_t
	if statAt(d.Upper, name, &st) == nil || o.Kind == 0 {
		return nil
	}
	return s.recordOrigin(Join(d.Path, name), *o)
}

// makeDir makes a new directory. It is opaque where lower has something, or had.
func (s *Stack) makeDir(d Pair, name string, p Put) error {
	tmp := s.tempName()
	if err := unix.Mkdirat(s.work, tmp, 0o700); err != nil {
		return err
	}
	err := s.attributes(d, s.work, tmp, p)
	if err == nil {
		err = s.hideAs(d, name, p.Origin)
	}
	if err == nil {
		err = s.placeDir(d, name, tmp)
	}
	if err != nil {
		s.discard(tmp)
	}
	return err
}

// placeDir gives the directory tmp in work the name in d, opaque unless lower has nothing there.
// In upper there may be a whiteout or a file, which it replaces.
func (s *Stack) placeDir(d Pair, name, tmp string) error {
	var st unix.Stat_t
	inUpper := statAt(d.Upper, name, &st) == nil
	inLower := d.Lower >= 0 && statAt(d.Lower, name, &st) == nil
	if inUpper || inLower {
		if err := s.setOpaque(s.work, tmp); err != nil {
			return err
		}
	}
	if !inUpper {
		return renameAt(s.work, tmp, d.Upper, name, unix.RENAME_NOREPLACE)
	}
	// A directory cannot replace a file in one rename: exchange them.
	if err := renameAt(s.work, tmp, d.Upper, name, unix.RENAME_EXCHANGE); err != nil {
		return err
	}
	return unix.Unlinkat(s.work, tmp, 0)
}

// putDirMode gives a directory that is there another mode.
func (s *Stack) putDirMode(d Pair, name string, f Found, p Put) error {
	if f.Stat.Mode&0o7777 == p.Mode&0o7777 {
		return nil
	}
	if !f.Upper {
		if err := s.CopyUp(d, name); err != nil {
			return err
		}
	}
	return chmodAt(d.Upper, name, p.Mode&0o7777)
}

// upperDir opens a directory of the merged view and makes upper have it. The caller releases it.
func (s *Stack) upperDir(path string) (Pair, error) {
	d := s.Root()
	if path == "." {
		return d, nil
	}
	for _, part := range strings.Split(path, "/") {
		f, err := s.Lookup(d, part)
		switch {
		case errors.Is(err, unix.ENOENT):
			if s.policy.Hidden(Join(d.Path, part)) {
				err = unix.EPERM
				break
			}
			err = s.makeDir(d, part, Put{Path: Join(d.Path, part), Kind: Dir, Mode: 0o755})
		case err != nil:
		case kindOf(f.Stat.Mode) != Dir:
			err = unix.ENOTDIR
		case !f.Upper:
			err = s.CopyUp(d, part)
		}
		if err == nil {
			f, err = s.Lookup(d, part)
		}
		if err != nil {
			s.release(&d)
			return d, err
		}
		sub, err := s.OpenDir(d, part, f)
		s.release(&d)
		if err != nil {
			return d, err
		}
		d = sub
	}
	return d, nil
}

// Remove removes one path of the merged view: from upper, and with a whiteout where lower has it.
// A directory must be empty in the merged view. Origin is as in Put.
func (s *Stack) Remove(path string, origin *Origin) error {
	if err := s.remove(path, origin); err != nil {
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

func (s *Stack) remove(path string, origin *Origin) error {
	if _, err := s.Lstat(path); err != nil {
		return iofs.ErrNotExist
	}
	parent, name := Split(path)
	d, err := s.upperDir(parent)
	if err != nil {
		return err
	}
	defer s.release(&d)
	f, err := s.Lookup(d, name)
	if err != nil {
		return err
	}
	if kindOf(f.Stat.Mode) == Dir {
		sub, err := s.OpenDir(d, name, f)
		if err != nil {
			return err
		}
		ents, err := s.ReadDir(sub)
		sub.Close()
		if err != nil {
			return err
		}
		if len(ents) > 0 {
			return unix.ENOTEMPTY
		}
	}
	if err := s.hideAs(d, name, origin); err != nil {
		return err
	}
	return s.RemoveAt(d, name, f)
}

// RemoveAt takes name out of the merged view of d, atomically. A directory must have been found
// empty; the whiteouts that are left in it go with it. The origin must have been recorded.
func (s *Stack) RemoveAt(d Pair, name string, f Found) error {
	hides, err := s.HidesLower(d, name)
	if err != nil {
		return err
	}
	dir := f.Upper && kindOf(f.Stat.Mode) == Dir
	switch {
	case hides && !dir:
		return s.Whiteout(d.Upper, name)
	case hides:
		tmp := s.tempName()
		if err := s.Whiteout(s.work, tmp); err != nil {
			return err
		}
		if err := renameAt(s.work, tmp, d.Upper, name, unix.RENAME_EXCHANGE); err != nil {
			s.discard(tmp)
			return err
		}
		return removeAll(s.work, tmp)
	case dir:
		tmp := s.tempName()
		if err := renameAt(d.Upper, name, s.work, tmp, 0); err != nil {
			return err
		}
		if err := removeAll(s.work, tmp); err != nil {
			return err
		}
	default:
		if err := unix.Unlinkat(d.Upper, name, 0); err != nil {
			return err
		}
	}
	return s.Unhide(Join(d.Path, name))
}

// Drop makes upper forget a path, so that lower shows again: after a commit, or to discard. The
// file that upper has must still be was; a zero was stands for a whiteout. A directory stays, but
// no longer hides lower, while upper has something in it. ErrChanged otherwise.
func (s *Stack) Drop(path string, was Identity) error {
	if err := s.drop(path, was); err != nil {
		return &os.PathError{Op: "drop", Path: path, Err: err}
	}
	return nil
}

func (s *Stack) drop(path string, was Identity) error {
	if err := validPath(path); err != nil {
		return err
	}
	parent, name := Split(path)
	dir, err := s.openUpper(parent)
	if errors.Is(err, unix.ENOENT) {
		return s.Unhide(path) // went with its directory
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := statAt(dir, name, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return s.Unhide(path)
		}
		return err
	}
	white := s.isWhiteout(dir, name, &st)
	switch {
	case white != (was == Identity{}):
		return ErrChanged
	case white:
		err = unix.Unlinkat(dir, name, 0)
	case kindOf(st.Mode) == Dir:
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) {
			return s.clearOpaque(dir, name)
		}
	case IdentityOf(&st) != was:
		return ErrChanged
	default:
		err = unix.Unlinkat(dir, name, 0)
	}
	if err != nil {
		return err
	}
	return s.Unhide(path)
}

func (s *Stack) clearOpaque(dir int, name string) error {
	if opaque, err := s.isOpaque(dir, name); err != nil || !opaque {
		return err
	}
	if s.format.XWhiteout {
		return setxattrAt(dir, name, s.format.xattr(attrOpaque), []byte("x"))
	}
	return unix.Lremovexattr(procAt(dir, name), s.format.xattr(attrOpaque))
}

// openUpper opens a directory of upper itself.
func (s *Stack) openUpper(path string) (int, error) {
	fd, err := unix.Openat2(s.upper, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fd, unix.ENOENT
	}
	return fd, err
}

// validPath refuses what is not a path below the home.
func validPath(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return unix.EINVAL
		}
	}
	return nil
}

// Split cuts a path into its directory, "." for the root, and its name.
func Split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return ".", path
	}
	return path[:i], path[i+1:]
}
