// Package layer keeps the two layers of an overlay on disk, without FUSE: whiteouts, opaque
// marks, origins, copy-up, atomic put, and the merged view of both.
//
// A path of the merged view is the same path in both layers: a directory of lower that is
// renamed is copied up whole, so there are no redirects. Upper follows the format of the
// kernel's overlayfs, so that the kernel shows the same tree for what access shows.
//
// Everything is reached by directory descriptor, one component at a time and never through a
// symlink. Methods that take a Pair act on descriptors that the caller owns. Reading methods may
// be called concurrently with everything; methods that change upper must not be called
// concurrently for one path, which the overlay sees to while it is mounted.
//
// What survives a kill: every change of upper is one rename, link or unlink, so a path is old or
// new, never half-written. The origin of a path is written before the path is hidden; a record
// too many is harmless, a lost one makes the path look created, which commits as a conflict.
package layer

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
)

// Kind is the type of a file.
type Kind uint8

// The kinds of file.
const (
	File Kind = iota + 1
	Dir
	Symlink
	Other // fifo, socket, device
)

// Identity is one state of one file on this machine's disk: while it stays the same, so does the
// content, but for writes within the granularity of the file system's clock.
type Identity struct {
	Dev   uint64
	Ino   uint64
	Size  int64
	Mtime int64 // nanoseconds since the epoch
	Ctime int64 // nanoseconds since the epoch
}

// An Entry is one path of the merged view.
type Entry struct {
	Path string // home-relative slash path, raw bytes; "." is the root
	Kind Kind
	Mode uint32 // permission bits, 07777
	Identity
	Nlink  uint64
	UID    uint32
	GID    uint32
	Target string // of symlinks
	Upper  bool   // stands in the upper layer
	Level  access.Level
}

// An Origin is what stood in lower at a path when upper began to hide it: the base of a commit.
type Origin struct {
	Kind Kind // 0: nothing stood there
	Mode uint32
	Identity
	SHA256 [32]byte // of the content or of the symlink's target; zero when not known
}

// A Change is one path at which the merged view differs, or may differ, from lower. Whatever a
// whiteout or an opaque directory implies is spelled out path by path.
type Change struct {
	Entry         // of the merged view; Kind is 0 when the path was deleted
	Origin Origin // what upper began to hide
}

// ErrChanged is answered when upper no longer has what the caller saw.
var ErrChanged = errors.New("changed meanwhile")

// Options say where the layers are.
type Options struct {
	Lower  string // the home; never written
	Upper  string // created when missing
	Work   string // on upper's file system; created when missing
	Policy *access.Policy
	Log    *slog.Logger // nil discards
}

// A Stack is a lower and an upper layer.
type Stack struct {
	lowerPath string
	lower     int // O_PATH descriptors of the layers' roots
	upper     int
	work      int
	stage     int // work/stage
	policy    *access.Policy
	log       *slog.Logger
	format    format
	lowerDev  uint64
	upperDev  uint64
	origins   *originLog
	temp      atomic.Uint64 // numbers temporary names in work

	linkedMu sync.Mutex // guards linked
	linked   []string

	whiteMu   sync.Mutex // guards whiteName
	whiteName string     // the whiteout in work that others are links of
}

// Open opens the layers, makes upper and work when they are missing, and sweeps what a killed
// process left in work. The caller closes the Stack.
func Open(o Options) (*Stack, error) {
	s := &Stack{lowerPath: o.Lower, lower: -1, upper: -1, work: -1, stage: -1, policy: o.Policy, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) open(o Options) error {
	if o.Policy == nil {
		return errors.New("open layers: no access policy")
	}
	for _, dir := range []string{o.Upper, o.Work} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make layer directory: %w", err)
		}
	}
	for _, d := range []struct {
		fd   *int
		path string
	}{{&s.lower, o.Lower}, {&s.upper, o.Upper}, {&s.work, o.Work}} {
		fd, err := openPath(unix.AT_FDCWD, d.path, unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("open layer %s: %w", d.path, err)
		}
		*d.fd = fd
	}
	var lo, up, work unix.Stat_t
	if err := errors.Join(unix.Fstat(s.lower, &lo), unix.Fstat(s.upper, &up), unix.Fstat(s.work, &work)); err != nil {
		return fmt.Errorf("stat layers: %w", err)
	}
	if up.Dev != work.Dev {
		return fmt.Errorf("work directory %s is not on the file system of %s", o.Work, o.Upper)
	}
	s.lowerDev, s.upperDev = lo.Dev, up.Dev
	if err := s.sweep(); err != nil {
		return err
	}
	var err error
	if s.format, err = s.openFormat(); err != nil {
		return err
	}
	if err := s.adoptRoot(&lo, &up); err != nil {
		return err
	}
	s.origins, err = openOrigins(s.work)
	return err
}

// adoptRoot gives a fresh upper root the home's mode and owner, as a copy-up would.
func (s *Stack) adoptRoot(lo, up *unix.Stat_t) error {
	if v, _ := getxattrAt(s.upper, ".", s.format.xattr(attrIno)); v != nil {
		return nil
	}
	if lo.Uid != up.Uid || lo.Gid != up.Gid {
		if err := fchownat(s.upper, ".", int(lo.Uid), int(lo.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("own upper: %w", err)
		}
	}
	if err := chmodAt(s.upper, ".", lo.Mode&0o7777); err != nil {
		return fmt.Errorf("set mode of upper: %w", err)
	}
	return s.setIno(s.upper, ".", s.Ino(lo))
}

// sweep removes temporary and staged files; nothing in work is a file that anybody still has.
func (s *Stack) sweep() error {
	if err := unix.Mkdirat(s.work, "stage", 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make stage: %w", err)
	}
	fd, err := openPath(s.work, "stage", unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open stage: %w", err)
	}
	s.stage = fd
	for _, dir := range []int{s.work, s.stage} {
		names, err := readNames(dir)
		if err != nil {
			return fmt.Errorf("sweep work: %w", err)
		}
		for _, n := range names {
			if n.name == "stage" || n.name == formatName || n.name == originsName {
				continue
			}
			if err := removeAll(dir, n.name); err != nil {
				return fmt.Errorf("sweep work: %w", err)
			}
		}
	}
	return nil
}

// Close closes the descriptors. It may be called twice and after a failed Open.
func (s *Stack) Close() error {
	var err error
	for _, fd := range []*int{&s.lower, &s.upper, &s.work, &s.stage} {
		if *fd >= 0 {
			err = errors.Join(err, unix.Close(*fd))
			*fd = -1
		}
	}
	if s.origins != nil {
		err = errors.Join(err, s.origins.close())
		s.origins = nil
	}
	return err
}

// LowerPath is the home as Options has it.
func (s *Stack) LowerPath() string { return s.lowerPath }

// Policy is the access policy of the view.
func (s *Stack) Policy() *access.Policy { return s.policy }

// tempName is a name in work that nothing else has.
func (s *Stack) tempName() string { return fmt.Sprintf("tmp-%d", s.temp.Add(1)) }

// Ino is the inode number that the merged view shows for a file with this stat: the layer's own
// where both are one file system, else made distinct by its high bits.
func (s *Stack) Ino(st *unix.Stat_t) uint64 {
	switch st.Dev {
	case s.lowerDev:
		return st.Ino
	case s.upperDev:
		return st.Ino | 1<<62
	}
	h := (st.Dev ^ st.Dev>>8) & 0x3f
	return st.Ino | h<<48 | 1<<61
}

func kindOf(mode uint32) Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return File
	case unix.S_IFDIR:
		return Dir
	case unix.S_IFLNK:
		return Symlink
	}
	return Other
}

// IdentityOf is the identity in a stat.
func IdentityOf(st *unix.Stat_t) Identity {
	return Identity{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}
