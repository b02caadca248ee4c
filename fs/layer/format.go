package layer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// formatName is the file in work that says how upper is written.
const formatName = "format.json"

// formatVersion is the newest format of upper and work that this program knows.
const formatVersion = 1

// ErrFormat is answered for an upper that a newer program wrote.
var ErrFormat = errors.New("unknown format of the upper layer")

// Extended attributes below the format's prefix. The kernel hides all of them.
const (
	attrOpaque   = "opaque"       // "y": lower's directory is hidden; "x": there are xwhiteouts
	attrWhiteout = "whiteout"     // an empty file with it is a whiteout
	attrIno      = "hermesfs.ino" // the inode number the path had before it was copied up
)

// format says how whiteouts and marks are written. It is chosen once for an upper.
type format struct {
	Version int `json:"version"`
	// Prefix of the extended attributes: the kernel's "trusted.overlay." where we may, else
	// "user.overlay.", which it reads with -o userxattr.
	Prefix string `json:"prefix"`
	// XWhiteout: a whiteout is an empty file with an attribute, since the file system refuses
	// a 0:0 character device (an upper on overlayfs does).
	XWhiteout bool `json:"xwhiteout"`
}

func (f format) xattr(name string) string { return f.Prefix + name }

// PrivateXattr says whether an extended attribute is one of the layers' own, of any format: those
// are neither shown nor set through a mount.
func PrivateXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

func (s *Stack) openFormat() (format, error) {
	var f format
	fd, err := openAt(s.work, formatName, unix.O_RDONLY, 0)
	if err == nil {
		file := os.NewFile(uintptr(fd), formatName)
		defer file.Close()
		data, err := io.ReadAll(io.LimitReader(file, 4096))
		if err == nil {
			err = json.Unmarshal(data, &f)
		}
		if err != nil {
			return f, fmt.Errorf("read %s: %w", formatName, err)
		}
		if f.Version != formatVersion {
			return f, fmt.Errorf("%w: %d, known is %d", ErrFormat, f.Version, formatVersion)
		}
		return f, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return f, fmt.Errorf("open %s: %w", formatName, err)
	}
	if f, err = s.probeFormat(); err != nil {
		return f, err
	}
	data, err := json.Marshal(f)
	if err != nil {
		return f, err
	}
	return f, writeFileAtomic(s.work, formatName, append(data, '\n'))
}

func (s *Stack) probeFormat() (format, error) {
	f := format{Version: formatVersion, Prefix: "trusted.overlay."}
	tmp := s.tempName()
	if err := unix.Mkdirat(s.work, tmp, 0o700); err != nil {
		return f, fmt.Errorf("probe work: %w", err)
	}
	defer unix.Unlinkat(s.work, tmp, unix.AT_REMOVEDIR)
	if err := setxattrAt(s.work, tmp, f.xattr(attrOpaque), []byte("y")); err != nil {
		f.Prefix = "user.overlay."
		if err := setxattrAt(s.work, tmp, f.xattr(attrOpaque), []byte("y")); err != nil {
			return f, fmt.Errorf("the state directory's file system keeps no extended attributes: %w", err)
		}
	}
	white := s.tempName()
	if err := unix.Mknodat(s.work, white, unix.S_IFCHR, 0); err != nil {
		f.XWhiteout = true
		return f, nil
	}
	return f, unix.Unlinkat(s.work, white, 0)
}

// writeFileAtomic writes a small file whole or not at all, durably.
func writeFileAtomic(dir int, name string, data []byte) error {
	tmp := name + ".tmp"
	fd, err := openAt(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), tmp)
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := renameAt(dir, tmp, dir, name, 0); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// isWhiteout says whether an entry of upper marks a deleted name.
func (s *Stack) isWhiteout(dir int, name string, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0
	case unix.S_IFREG:
		if s.format.XWhiteout && st.Size == 0 {
			v, _ := getxattrAt(dir, name, s.format.xattr(attrWhiteout))
			return v != nil
		}
	}
	return false
}

// Whiteout marks name in the upper directory dir as deleted, atomically replacing a file or
// symlink that stands there. A directory must have been removed before.
func (s *Stack) Whiteout(dir int, name string) error {
	s.whiteMu.Lock()
	defer s.whiteMu.Unlock()
	if s.format.XWhiteout {
		// Whiteouts by attribute count only in a directory that says it has some.
		if v, err := getxattrAt(dir, ".", s.format.xattr(attrOpaque)); err != nil {
			return err
		} else if v == nil {
			if err := setxattrAt(dir, ".", s.format.xattr(attrOpaque), []byte("x")); err != nil {
				return err
			}
		}
	}
	// One whiteout in work is linked to each place, as the kernel does: no new inode each time.
	for range 2 {
		if s.whiteName == "" {
			tmp := s.tempName()
			if err := s.makeWhiteout(tmp); err != nil {
				return fmt.Errorf("make whiteout: %w", err)
			}
			s.whiteName = tmp
		}
		err := unix.Linkat(s.work, s.whiteName, dir, name, 0)
		if errors.Is(err, unix.EEXIST) {
			tmp := s.tempName()
			if err = unix.Linkat(s.work, s.whiteName, s.work, tmp, 0); err == nil {
				if err = renameAt(s.work, tmp, dir, name, 0); err != nil {
					_ = unix.Unlinkat(s.work, tmp, 0)
					return err
				}
				// rename(2) does nothing when both names are one inode already.
				_ = unix.Unlinkat(s.work, tmp, 0)
			}
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		_ = unix.Unlinkat(s.work, s.whiteName, 0)
		s.whiteName = ""
	}
	return unix.EMLINK
}

func (s *Stack) makeWhiteout(name string) error {
	if !s.format.XWhiteout {
		return unix.Mknodat(s.work, name, unix.S_IFCHR, 0)
	}
	fd, err := openAt(s.work, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setxattrAt(s.work, name, s.format.xattr(attrWhiteout), []byte("y"))
}

// isOpaque says whether the upper directory name below dir hides lower's.
func (s *Stack) isOpaque(dir int, name string) (bool, error) {
	v, err := getxattrAt(dir, name, s.format.xattr(attrOpaque))
	return len(v) == 1 && v[0] == 'y', err
}

// setOpaque makes the upper directory name below dir hide lower's.
func (s *Stack) setOpaque(dir int, name string) error {
	return setxattrAt(dir, name, s.format.xattr(attrOpaque), []byte("y"))
}

// setIno keeps the inode number that a copied-up file had.
func (s *Stack) setIno(dir int, name string, ino uint64) error {
	err := setxattrAt(dir, name, s.format.xattr(attrIno), binary.LittleEndian.AppendUint64(nil, ino))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // symlinks and special files take no user attributes: their number changes
	}
	return err
}

// inoAt is the inode number that the merged view shows for an entry of upper.
func (s *Stack) inoAt(dir int, name string, st *unix.Stat_t) uint64 {
	if v, _ := getxattrAt(dir, name, s.format.xattr(attrIno)); len(v) == 8 {
		return binary.LittleEndian.Uint64(v)
	}
	return s.Ino(st)
}

// XWhiteouts says that whiteouts are empty files with an attribute, which rename(2) cannot make.
func (s *Stack) XWhiteouts() bool { return s.format.XWhiteout }
