// Package syncer carries changes between the merged view of a mount, its sandbox and its home.
//
// Everything is decided by Reconcile, a pure three-way merge, and then carried out: Push sends the
// merged view to the sandbox, Pull brings the sandbox's changes into the upper layer (base is the
// journal's), Commit takes the upper layer to the home (base is each path's origin).
//
// Invariants. The journal's base of a path is a version that the sandbox had and that ours is
// equal to or a successor of; it moves only after the fact. What a push is about to do is pending
// first, so that a push that was cut is never read back as an edit of the sandbox. A commit's plan
// is in the journal before the home is touched, the staged files are durable before one of them
// gets its name, and what they replace is an object before the commit ends. Nothing is inferred
// from the absence of a path unless the manifest that lacks it was complete.
//
// After a crash: a push is settled by the next Push or Pull (settle.go), a pull is repeated, a
// commit is finished by Recover, which Commit calls itself.
//
// One Engine runs one operation at a time; others wait for their turn.
package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"hermesfs/backends"
	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// Tree is the merged view of a mount; *layer.Stack and, while mounted, *fs.Overlay are it.
type Tree interface {
	Walk(ctx context.Context, fn func(layer.Entry) error) error
	Lstat(path string) (layer.Entry, error)
	OpenFile(path string) (*os.File, layer.Entry, error)
	Changes(ctx context.Context, fn func(layer.Change) error) error
	Stage() (*layer.Staged, error)
	Put(p layer.Put) error
	Remove(path string, origin *layer.Origin) error
	Drop(path string, was layer.Identity) error
}

// Sandbox is the far copy of the home; *shell.Sandbox is it.
type Sandbox interface {
	Hello(ctx context.Context) (backends.Hello, error)
	Claim(ctx context.Context, id string) error
	Manifest(ctx context.Context, scope backends.Scope, fn func(backends.Entry) error) ([]backends.Problem, error)
	Hash(ctx context.Context, paths []string) (map[string][32]byte, error)
	Push(ctx context.Context, b *backends.Batch) (*backends.PushResult, error)
	Fetch(ctx context.Context, paths []string, lim backends.Limits, fn func(backends.Entry, io.Reader) error) ([]backends.Problem, error)
}

// Clock is time as the engine sees it.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or until ctx is done; then it returns ctx's cause.
	Sleep(ctx context.Context, d time.Duration) error
}

// Policy says who wins a conflict.
type Policy string

// The conflict policies. Whatever loses is kept as an object and reported.
const (
	Theirs Policy = "theirs" // the sandbox's version is applied: last write wins
	Ours   Policy = "ours"   // the home's version stays
	Both   Policy = "both"   // the home's stays, the sandbox's is written beside it as NAME.sandbox-MOUNT.EXT
	Merge  Policy = "merge"  // three-way text merge where the base is at hand, else as Theirs
)

// ParsePolicy reads the name of a policy; "" is Theirs.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case "":
		return Theirs, nil
	case Theirs, Ours, Both, Merge:
		return p, nil
	}
	return "", fmt.Errorf("conflict policy %q: want theirs, ours, both or merge", s)
}

// Options of New. Name, Home, Tree, Journal, Objects and Policy are needed.
type Options struct {
	Name         string // of the mount
	Home         string // the lower directory
	Tree         Tree
	Sandbox      Sandbox // nil: no sandbox; Attach, Push and Pull do nothing
	SandboxURL   string
	Journal      *journal.Journal
	Objects      string // directory of the preimages, made when missing
	Policy       *access.Policy
	Conflict     Policy // default Theirs
	AllowDeletes bool   // go on where a *StopError would stop
	MaxBytes     int64  // of one pull's content, default 2 GiB
	// Deadline bounds one Pull over all its attempts, 0 is none.
	Deadline time.Duration
	Clock    Clock          // nil is the machine's
	Log      *slog.Logger   // nil discards
	Progress func(Progress) // nil for none; called from the goroutine that runs the operation
	// Fail is called at each named point around a durable step (see FailPoints); an error stops
	// the operation there. For tests only.
	Fail func(point string) error
}

// Validate says what is missing or wrong.
func (o *Options) Validate() error {
	switch {
	case o.Home == "":
		return errors.New("sync options: no home")
	case o.Tree == nil:
		return errors.New("sync options: no tree")
	case o.Journal == nil:
		return errors.New("sync options: no journal")
	case o.Objects == "":
		return errors.New("sync options: no objects directory")
	case o.Policy == nil:
		return errors.New("sync options: no access policy")
	case o.MaxBytes < 0:
		return errors.New("sync options: negative byte limit")
	}
	_, err := ParsePolicy(string(o.Conflict))
	return err
}

// An Engine syncs one mount. It is safe for concurrent use: operations take turns.
type Engine struct {
	o       Options
	clock   Clock
	log     *slog.Logger
	objects *Objects
	turn    chan struct{} // holds one token; who has it runs

	noExchange bool // for tests: as if the home's file system could not exchange names

	// rebased is what the home got by a commit of this process, for paths of upper that changed
	// while it ran: their origin in upper is older. Guarded by turn.
	rebased map[string]layer.Origin
}

// New makes an Engine. It touches nothing but the objects directory.
func New(o Options) (*Engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	e := &Engine{o: o, clock: o.Clock, log: o.Log, turn: make(chan struct{}, 1), rebased: map[string]layer.Origin{}}
	if e.o.Conflict == "" {
		e.o.Conflict = Theirs
	}
	if e.clock == nil {
		e.clock = systemClock{}
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if e.objects, err = OpenObjects(o.Objects); err != nil {
		return nil, err
	}
	e.turn <- struct{}{}
	return e, nil
}

// take waits for the engine's turn; the caller calls the function it returns when done.
func (e *Engine) take(ctx context.Context) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case <-e.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release, err := e.objects.share(ctx)
	if err != nil {
		e.turn <- struct{}{}
		return nil, err
	}
	return func() {
		release()
		e.turn <- struct{}{}
	}, nil
}

func (e *Engine) fail(point string) error {
	if e.o.Fail == nil {
		return nil
	}
	return e.o.Fail(point)
}

func (e *Engine) progress(p Progress) {
	if e.o.Progress != nil {
		e.o.Progress(p)
	}
}

// SyncBack pulls, then commits: what unmount does. When the pull is incomplete nothing is committed.
func (e *Engine) SyncBack(ctx context.Context) (SyncBackReport, error) {
	var r SyncBackReport
	var err error
	if r.Pull, err = e.Pull(ctx); err != nil {
		return r, err
	}
	r.Commit, err = e.Commit(ctx, CommitOptions{})
	return r, err
}
