package layer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// CopyUp copies the name that lower shows in d into d.Upper, atomically: its content with its
// holes, mode, owner, times and extended attributes. A directory is copied without what is in
// it. The origin of the path is recorded, and d's own times stay as they were.
func (s *Stack) CopyUp(d Pair, name string) error {
	var st unix.Stat_t
	if err := statAt(d.Lower, name, &st); err != nil {
		return err
	}
	if kindOf(st.Mode) == File {
		fd, err := openAt(d.Lower, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		c, err := s.StartCopy(fd)
		if err != nil {
			return err
		}
		defer c.Abort()
		return c.Place(d, name)
	}
	c := &Copy{stack: s, tmp: s.tempName(), src: st}
	defer c.Abort()
	var err error
	switch kindOf(st.Mode) {
	case Dir:
		err = unix.Mkdirat(s.work, c.tmp, 0o700)
	case Symlink:
		var target string
		if target, err = readlinkAt(d.Lower, name); err == nil {
			err = unix.Symlinkat(target, s.work, c.tmp)
		}
	default:
		err = unix.EINVAL
	}
	if err != nil {
		return err
	}
	if err := s.copyAttributes(xattrs{path: procAt(d.Lower, name)}, &st, c.tmp); err != nil {
		return err
	}
	return c.Place(d, name)
}

// A Copy is a copy of a lower file in work that upper does not have yet.
type Copy struct {
	stack *Stack
	tmp   string
	src   unix.Stat_t
	gone  bool
}

// StartCopy copies the open regular file fd of lower into work. The caller aborts the Copy, also
// after it was placed.
func (s *Stack) StartCopy(fd int) (*Copy, error) {
	c := &Copy{stack: s, tmp: s.tempName()}
	if err := unix.Fstat(fd, &c.src); err != nil {
		return nil, err
	}
	err := copyFile(fd, s.work, c.tmp)
	if err == nil {
		err = s.copyAttributes(xattrs{fd: fd}, &c.src, c.tmp)
	}
	if err != nil {
		c.Abort()
		return nil, err
	}
	return c, nil
}

// Place gives the copy its name in d.Upper and records the origin. d's times stay as they were. The
// file's other names in the view become names of the copy, see Linked.
func (c *Copy) Place(d Pair, name string) error {
	if err := c.stack.recordOrigin(Join(d.Path, name), originOf(&c.src)); err != nil {
		return err
	}
	var dir unix.Stat_t
	if err := statAt(d.Upper, ".", &dir); err != nil {
		return err
	}
	if err := renameAt(c.stack.work, c.tmp, d.Upper, name, unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	c.gone = true
	if err := utimesAt(d.Upper, ".", dir.Atim, dir.Mtim); err != nil {
		return err
	}
	if c.src.Nlink > 1 && kindOf(c.src.Mode) != Dir {
		return c.stack.linkUp(d, name, &c.src)
	}
	return nil
}

// Orphan opens the copy for reading and writing and removes its name.
func (c *Copy) Orphan() (int, error) {
	fd, err := openAt(c.stack.work, c.tmp, unix.O_RDWR, 0)
	if err == nil {
		c.Abort()
	}
	return fd, err
}

// Abort removes the copy, unless it was placed.
func (c *Copy) Abort() {
	if !c.gone {
		c.stack.discard(c.tmp)
		c.gone = true
	}
}

// Detach makes the upper directory name of d have all that the view shows below it, and hide
// lower: what a directory needs before it can be renamed. It may be called again when it failed.
func (s *Stack) Detach(d Pair, name string) error {
	f, err := s.Lookup(d, name)
	if err != nil {
		return err
	}
	if !f.Lower {
		return nil
	}
	sub, err := s.OpenDir(d, name, f)
	if err != nil {
		return err
	}
	defer sub.Close()
	ents, err := s.ReadDir(sub)
	if err != nil {
		return err
	}
	for _, ent := range ents {
		f, err := s.Lookup(sub, ent.Name) // a copy-up may have linked it meanwhile
		if err != nil {
			return err
		}
		if !f.Upper {
			if err := s.CopyUp(sub, ent.Name); err != nil {
				return err
			}
		}
		if ent.Type == unix.S_IFDIR {
			if err := s.Detach(sub, ent.Name); err != nil {
				return err
			}
		}
	}
	if err := s.setOpaque(d.Upper, name); err != nil {
		return err
	}
	return s.removeWhiteouts(sub.Upper)
}

// removeWhiteouts clears an upper directory that hides lower of marks that mean nothing any more,
// and that the kernel would show.
func (s *Stack) removeWhiteouts(dir int) error {
	var before unix.Stat_t
	if err := statAt(dir, ".", &before); err != nil {
		return err
	}
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		var st unix.Stat_t
		if statAt(dir, n.name, &st) != nil || !s.isWhiteout(dir, n.name, &st) {
			continue
		}
		if err := unix.Unlinkat(dir, n.name, 0); err != nil {
			return err
		}
	}
	return utimesAt(dir, ".", before.Atim, before.Mtim)
}

// discard removes a temporary file or empty directory of work.
func (s *Stack) discard(tmp string) {
	if err := unix.Unlinkat(s.work, tmp, 0); errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		_ = unix.Unlinkat(s.work, tmp, unix.AT_REMOVEDIR)
	}
}

// copyAttributes gives tmp in work the owner, extended attributes, mode and times of the source.
// Owner first, since a change of owner clears setuid; times last, since everything else moves
// them.
func (s *Stack) copyAttributes(from xattrs, st *unix.Stat_t, tmp string) error {
	if int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		// Without privilege the copy is ours; its content is what counts.
		if err := fchownat(s.work, tmp, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("own copy: %w", err)
		}
	}
	if err := from.copyTo(s.work, tmp); err != nil {
		return err
	}
	if kindOf(st.Mode) != Symlink {
		if err := chmodAt(s.work, tmp, st.Mode&0o7777); err != nil {
			return fmt.Errorf("set mode of copy: %w", err)
		}
	}
	if err := s.setIno(s.work, tmp, s.Ino(st)); err != nil {
		return fmt.Errorf("keep inode number: %w", err)
	}
	return utimesAt(s.work, tmp, st.Atim, st.Mtim)
}

// xattrs is where extended attributes are read: by path, or of an open file.
type xattrs struct {
	path string
	fd   int
}

func (x xattrs) list(buf []byte) (int, error) {
	if x.path != "" {
		return unix.Llistxattr(x.path, buf)
	}
	return unix.Flistxattr(x.fd, buf)
}

func (x xattrs) get(name string, buf []byte) (int, error) {
	if x.path != "" {
		return unix.Lgetxattr(x.path, name, buf)
	}
	return unix.Fgetxattr(x.fd, name, buf)
}

// copyTo copies the extended attributes that may be copied: not the layers' own, and not those
// that need a privilege we lack.
func (x xattrs) copyTo(dir int, name string) error {
	size, err := x.list(nil)
	if err != nil || size == 0 {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return err
	}
	names := make([]byte, size+1024)
	if size, err = x.list(names); err != nil {
		return err
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for _, attr := range strings.Split(strings.TrimSuffix(string(names[:size]), "\x00"), "\x00") {
		if attr == "" || PrivateXattr(attr) {
			continue
		}
		n, err := x.get(attr, value)
		if err != nil {
			continue // went away, or is not ours to read
		}
		err = setxattrAt(dir, name, attr, value[:n])
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("copy attribute %s: %w", attr, err)
		}
	}
	return nil
}

// copyFile copies content to a new file: by reflink where the file system shares blocks, else in
// the kernel, extent by extent so that holes stay holes.
func copyFile(in, dir int, name string) (err error) {
	out, err := openAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(out)) }()
	if unix.IoctlFileClone(out, in) == nil {
		return nil
	}
	return copyData(in, out)
}

func copyData(in, out int) error {
	var st unix.Stat_t
	if err := unix.Fstat(in, &st); err != nil {
		return err
	}
	if st.Blocks*512 >= st.Size { // no holes
		return copyRange(in, out, 0, st.Size)
	}
	for off := int64(0); off < st.Size; {
		data, err := unix.Seek(in, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // the rest is a hole
		}
		if err != nil {
			return copyRange(in, out, off, st.Size-off)
		}
		hole, err := unix.Seek(in, data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(in, out, data, min(hole, st.Size)-data); err != nil {
			return err
		}
		off = hole
	}
	return unix.Ftruncate(out, st.Size)
}

// copyRange copies n bytes at the same offset, or fewer when the file ends before.
func copyRange(in, out int, off, n int64) error {
	inOff, outOff := off, off
	for n > 0 {
		var did int
		err := retry(func() (err error) {
			did, err = unix.CopyFileRange(in, &inOff, out, &outOff, int(min(n, 1<<30)), 0)
			return err
		})
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
			return copyBuffered(in, out, inOff, n)
		}
		if err != nil {
			return err
		}
		if did == 0 {
			return nil
		}
		n -= int64(did)
	}
	return nil
}

func copyBuffered(in, out int, off, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		var did int
		if err := retry(func() (err error) { did, err = unix.Pread(in, buf[:min(n, int64(len(buf)))], off); return err }); err != nil {
			return err
		}
		if did == 0 {
			return nil
		}
		for b := buf[:did]; len(b) > 0; {
			wrote, err := unix.Pwrite(out, b, off)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			wrote = max(wrote, 0)
			b, off, n = b[wrote:], off+int64(wrote), n-int64(wrote)
		}
	}
	return nil
}

func originOf(st *unix.Stat_t) Origin {
	return Origin{Kind: kindOf(st.Mode), Mode: st.Mode & 0o7777, Identity: IdentityOf(st)}
}

// recordOrigin keeps what stood at a path that upper does not hide yet. A record that is there is
// of a change that did not happen or is over.
func (s *Stack) recordOrigin(path string, o Origin) error { return s.origins.set(path, o) }

// Unhide forgets the origin of a path that upper hides no longer.
func (s *Stack) Unhide(path string) error { return s.origins.clear(path) }

// Hide records what lower has at name of d, before upper gets an entry there that hides it.
// Nothing is recorded where access hides it or upper has an entry already: then the base is what
// it was.
func (s *Stack) Hide(d Pair, name string) error {
	if d.Lower < 0 {
		return nil
	}
	path := Join(d.Path, name)
	var st unix.Stat_t
	if d.Upper >= 0 && statAt(d.Upper, name, &st) == nil {
		return nil
	}
	if err := s.lookupLower(d.Lower, name, path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	return s.recordOrigin(path, originOf(&st))
}

// HidesLower says whether a name of d must be a whiteout in upper to be gone: lower shows it.
func (s *Stack) HidesLower(d Pair, name string) (bool, error) {
	if d.Lower < 0 {
		return false, nil
	}
	var st unix.Stat_t
	err := s.lookupLower(d.Lower, name, Join(d.Path, name), &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// SetOpaque makes the upper directory name of d hide whatever lower has there.
func (s *Stack) SetOpaque(d Pair, name string) error { return s.setOpaque(d.Upper, name) }
