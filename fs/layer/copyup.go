package layer

import (
	"errors"
	"fmt"
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
	tmp := s.tempName()
	if err := s.copyOne(d.Lower, name, &st, s.work, tmp); err != nil {
		s.discard(tmp)
		return err
	}
	path := Join(d.Path, name)
	if err := s.recordOrigin(path, originOf(&st)); err != nil {
		s.discard(tmp)
		return err
	}
	var dirSt unix.Stat_t
	err := statAt(d.Upper, ".", &dirSt)
	if err == nil {
		err = renameAt(s.work, tmp, d.Upper, name, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		s.discard(tmp)
		return err
	}
	return utimesAt(d.Upper, ".", dirSt.Atim, dirSt.Mtim)
}

// discard removes a temporary file or empty directory of work.
func (s *Stack) discard(tmp string) {
	if err := unix.Unlinkat(s.work, tmp, 0); errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		_ = unix.Unlinkat(s.work, tmp, unix.AT_REMOVEDIR)
	}
}

// copyOne makes dst below dstDir a copy of src below srcDir.
func (s *Stack) copyOne(srcDir int, src string, st *unix.Stat_t, dstDir int, dst string) error {
	var err error
	switch kindOf(st.Mode) {
	case File:
		err = copyFile(srcDir, src, dstDir, dst)
	case Dir:
		err = unix.Mkdirat(dstDir, dst, 0o700)
	case Symlink:
		var target string
		if target, err = readlinkAt(srcDir, src); err == nil {
			err = unix.Symlinkat(target, dstDir, dst)
		}
	default:
		err = unix.Mknodat(dstDir, dst, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	return s.copyAttributes(srcDir, src, st, dstDir, dst)
}

// copyAttributes gives dst the owner, mode, extended attributes and times of src. Owner first,
// since a change of owner clears setuid; times last, since everything else moves them.
func (s *Stack) copyAttributes(srcDir int, src string, st *unix.Stat_t, dstDir int, dst string) error {
	var now unix.Stat_t
	if err := statAt(dstDir, dst, &now); err != nil {
		return err
	}
	if now.Uid != st.Uid || now.Gid != st.Gid {
		// Without privilege the copy is ours; its content is what counts.
		if err := fchownat(dstDir, dst, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("own copy: %w", err)
		}
	}
	if err := copyXattrs(srcDir, src, dstDir, dst); err != nil {
		return err
	}
	if kindOf(st.Mode) != Symlink {
		if err := chmodAt(dstDir, dst, st.Mode&0o7777); err != nil {
			return fmt.Errorf("set mode of copy: %w", err)
		}
	}
	if err := s.setIno(dstDir, dst, s.Ino(st)); err != nil {
		return fmt.Errorf("keep inode number: %w", err)
	}
	return utimesAt(dstDir, dst, st.Atim, st.Mtim)
}

// copyXattrs copies the extended attributes that may be copied: not the layers' own, and not
// those that need a privilege we lack.
func copyXattrs(srcDir int, src string, dstDir int, dst string) error {
	path := procAt(srcDir, src)
	size, err := unix.Llistxattr(path, nil)
	if err != nil || size == 0 {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return err
	}
	buf := make([]byte, size+1024)
	if size, err = unix.Llistxattr(path, buf); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00") {
		if name == "" || PrivateXattr(name) {
			continue
		}
		value, err := getxattrAt(srcDir, src, name)
		if err != nil || value == nil {
			continue
		}
		err = setxattrAt(dstDir, dst, name, value)
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("copy attribute %s: %w", name, err)
		}
	}
	return nil
}

// copyFile copies content: by reflink where the file system shares blocks, else in the kernel,
// extent by extent so that holes stay holes.
func copyFile(srcDir int, src string, dstDir int, dst string) (err error) {
	in, err := openAt(srcDir, src, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	out, err := openAt(dstDir, dst, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
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
