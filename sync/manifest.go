package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hermesfs/backends"
	"hermesfs/fs/access"
	"hermesfs/journal"
)

var (
	errSpecial = errors.New("it is a fifo, a socket or a device")
	errHidden  = errors.New("the name is one of hermesfs's own")
	errName    = errors.New("not a path in the home")
)

// validPath says whether a name of the sandbox is a path in the home: no tricks, and not too long.
func validPath(path string) bool {
	if path == "" || len(path) > 3500 || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || len(name) > 255 {
			return false
		}
	}
	return true
}

// manifest calls fn for every path of the sandbox that access lets through. What it must not
// have is a problem.
func (e *Engine) manifest(ctx context.Context, fn func(backends.Entry) error) (unknown []backends.Problem, err error) {
	roots, prunePaths, pruneNames := e.o.Policy.Scope()
	scope := backends.Scope{Roots: roots, PrunePaths: prunePaths, PruneNames: pruneNames}
	var bad []backends.Problem
	unknown, err = e.o.Sandbox.Manifest(ctx, scope, func(entry backends.Entry) error {
		switch {
		case entry.Path == ".":
			return nil
		case !validPath(entry.Path):
			bad = append(bad, backends.Problem{Path: entry.Path, Err: errName})
			return nil
		case e.o.Policy.Hidden(entry.Path):
			bad = append(bad, backends.Problem{Path: entry.Path, Err: errHidden})
			return nil
		case e.o.Policy.Level(entry.Path) < access.Read:
			return nil
		}
		return fn(entry)
	})
	if errors.Is(err, backends.ErrNoHome) {
		return nil, nil // nothing is there; what that means is for the caller to ask Hello
	}
	if err != nil {
		return nil, fmt.Errorf("list the sandbox: %w", err)
	}
	return append(unknown, bad...), nil
}

// atOrBelow says whether a path is one of those in at, or below one.
func atOrBelow(at map[string]bool, path string) bool {
	if len(at) == 0 {
		return false
	}
	for ; path != "."; path = parentOf(path) {
		if at[path] {
			return true
		}
	}
	return at["."]
}

// A trust decides which stats of the sandbox tell one version of a file from the next. Where its
// stat counts whole seconds, a file changed in the last of them may change again without a trace.
type trust struct{ newest int64 }

const coarse = int64(1e9)

func newTrust(done []backends.Done) *trust {
	t := &trust{}
	for _, d := range done {
		t.see(d.Entry)
	}
	return t
}

// see takes note of what time it must be in the sandbox.
func (t *trust) see(e backends.Entry) { t.newest = max(t.newest, e.Ctime, e.Mtime) }

// entry is e, without its stat when that cannot be trusted.
func (t *trust) entry(e backends.Entry) backends.Entry {
	if e.Kind == backends.File && e.Mtime%coarse == 0 && e.Ctime%coarse == 0 && max(e.Mtime, e.Ctime) > t.newest-2*coarse {
		e.Size, e.Mtime, e.Ctime, e.Ino = 0, 0, 0, 0
	}
	return e
}

// theirMode is the mode that we take a path of the sandbox to have: without setuid, setgid and
// sticky, and never one that would lock us out ourselves.
func theirMode(e backends.Entry) uint32 {
	switch e.Kind {
	case backends.File:
		return e.Mode&permBits | 0o400
	case backends.Dir:
		return e.Mode&permBits | 0o700
	}
	return 0
}

// unchangedTheirs says whether the sandbox's stat is the one that base has.
func unchangedTheirs(b journal.Base, e backends.Entry) bool {
	if b.Kind != journal.Kind(e.Kind) {
		return false
	}
	switch e.Kind {
	case backends.File:
		// A mode set back to what it was moves the ctime alone, one set otherwise shows here.
		return b.Theirs != (journal.Stat{}) && b.Theirs == theirStat(e)
	case backends.Symlink:
		return b.Target == e.Target
	case backends.Dir:
		return b.Mode == theirMode(e)
	}
	return false
}
