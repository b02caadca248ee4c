// Package backends is the contract between the sync engine and the ways to reach a sandbox.
//
// A Transport runs POSIX sh scripts in one sandbox; package shell builds the file verbs
// (manifest, push, fetch, hash) over any Transport. Names here are home-relative slash paths,
// raw bytes as the sandbox has them: they come from a machine that is not trusted, so they
// are quoted wherever they are shown.
package backends

import (
	"context"
	"io"
	"time"
)

// A Transport runs scripts in one sandbox. Its methods may be called concurrently, except that
// nothing is called after Close.
type Transport interface {
	// Run runs script with the sandbox's sh, feeds it stdin (nil is empty) and copies its
	// standard output to stdout (nil discards). It returns when the script has ended and stdout
	// has been written. A script that exits non-zero is a *ScriptError; a channel that failed is
	// a *TransportError. Cancelling ctx ends the channel within 2 s and returns ctx's cause.
	Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error
	// Close ends the connection. It may be called twice.
	Close(ctx context.Context, d Disposition) error
	// Local says that the sandbox is on this machine: compression costs and brings nothing.
	Local() bool
	// URL names the sandbox in messages and in the journal.
	URL() string
	// Home is the sandbox's home as the URL has it, or "" for $HOME/.hermes.
	Home() string
}

// Disposition says what becomes of the sandbox at Close.
type Disposition string

// What --on-unmount takes.
const (
	Default   Disposition = ""          // what the backend does by itself, see its documentation
	Keep      Disposition = "keep"      // leave the sandbox as it is
	Stop      Disposition = "stop"      // stop it, its disk stays
	Terminate Disposition = "terminate" // destroy it
)

// Kind is the type of a file.
type Kind uint8

// The kinds of file. Only the first three are ever transferred.
const (
	File Kind = iota + 1
	Dir
	Symlink
	Other // fifo, socket, device
)

// An Entry is one path of the sandbox as its own stat shows it.
type Entry struct {
	Path   string
	Kind   Kind
	Mode   uint32 // permission bits, 07777
	Size   int64  // bytes, of files
	Mtime  int64  // nanoseconds since the epoch
	Ctime  int64  // nanoseconds since the epoch, 0 where the sandbox cannot tell
	Ino    uint64 // 0 where the sandbox cannot tell
	Target string // of symlinks
}

// A Scope says which paths of the sandbox are looked at: the trees below Roots, without what
// is pruned. What is out of scope is not entered.
type Scope struct {
	Roots      []string // literal paths, "." is the whole home
	PrunePaths []string // literal paths not entered
	PruneNames []string // names of directories not entered anywhere below a root
}

// Hello is what a sandbox says of itself.
type Hello struct {
	Home   string // absolute path of the home in the sandbox
	Exists bool   // the home was there
	Marker string // the identity that Claim left, "" for none
	Probe  string // opaque: the tools found, for Options of the next connection
}

// A Put is one path to write in the sandbox.
type Put struct {
	Path   string
	Kind   Kind // File, Dir or Symlink
	Mode   uint32
	Mtime  time.Time
	Size   int64                         // of files: exactly so many bytes are sent
	Target string                        // of symlinks
	Open   func() (io.ReadCloser, error) // of files; called once, closed by the callee
	Expect *Expect                       // nil: whatever is there is replaced
}

// A Delete is one path to remove. A directory is removed only when it is empty.
type Delete struct {
	Path   string
	Expect *Expect
}

// Expect is what must stand at a path in the sandbox for it to be replaced or removed.
type Expect struct {
	Kind   Kind     // 0: nothing may be there
	SHA256 [32]byte // of a file's content; of a symlink's target
}

// A Batch is one push. Deletes are done first (children before parents), then Puts in order
// (parents before children).
type Batch struct {
	Deletes []Delete
	Puts    []Put
	// Ready is called once when all bytes have been sent and before anything in the sandbox has
	// been changed, with what was sent. When it returns an error nothing is changed.
	Ready func(sent []Sent) error
}

// Sent is one Put or Delete of a Batch after its bytes were read.
type Sent struct {
	Path    string
	Deleted bool
	SHA256  [32]byte // of exactly the bytes that were sent; of a symlink's target
}

// PushResult is the fate of each path of a Batch.
type PushResult struct {
	Done     []Done    // applied
	Refused  []string  // left alone: the sandbox does not have what Expect says
	Changed  []string  // not sent: the file changed while it was read
	Problems []Problem // one path each; the others went on
}

// Done is a path that was applied.
type Done struct {
	Sent
	Entry Entry // the sandbox's own stat after it; zero when deleted
}

// A Problem is one path that could not be handled.
type Problem struct {
	Path string
	Err  error
}

// Limits bound what a sandbox may send. Zero fields mean the defaults.
type Limits struct {
	MaxBytes   int64 // of all content, default 2 GiB
	MaxMembers int   // default 500,000
	MaxPath    int   // bytes of one path, default 3,500
}
