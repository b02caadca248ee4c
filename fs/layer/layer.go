// Package layer keeps the two layers of an overlay on disk, without FUSE: whiteouts, opaque
// marks, redirects, origins, atomic put, and the merged view of both.
package layer

import "hermesfs/fs/access"

// Kind is the type of a file.
type Kind uint8

// The kinds of file.
const (
	File Kind = iota + 1
	Dir
	Symlink
	Other // fifo, socket, device
)

// Identity is one state of one file on this machine's disk: while it stays the same the
// content is the same, but for writes within the clock's granularity (see Racy).
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

// An Origin is what stood in lower at a path when the upper layer began to hide it: the base
// of a commit.
type Origin struct {
	Kind Kind // 0: nothing stood there
	Mode uint32
	Identity
	SHA256 [32]byte // of the content or of the symlink's target; zero when not known
}

// A Change is one path at which the merged view differs, or may differ, from lower. Whatever a
// whiteout, an opaque directory or a redirect implies is spelled out path by path.
type Change struct {
	Entry            // of the merged view; Kind is 0 when the path was deleted
	Origin    Origin // what the upper layer began to hide
	HasOrigin bool   // false: Origin is not known (the record was lost with the machine)
}
