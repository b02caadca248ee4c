package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// racyWindow is more than one tick of any file system's clock: a file that was hashed so soon
// after its last change may have changed again without a trace in its stat.
const racyWindow = 100 * time.Millisecond

// errUnstable is a file that changes whenever it is read.
var errUnstable = errors.New("it changes while it is read")

// loadBases reads all of base.
func (e *Engine) loadBases() (map[string]journal.Base, error) {
	bases := map[string]journal.Base{}
	err := e.o.Journal.Bases(func(path string, b journal.Base) error {
		bases[path] = b
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return bases, nil
}

// clean says whether a file of ours still is what base has, by its stat alone. Not even a writer
// that sets the mtime back escapes the ctime.
func clean(id layer.Identity, b journal.Base) bool {
	return b.Kind == journal.File && b.Ours.Ino != 0 && ourStat(id) == b.Ours &&
		b.Ours.Ctime < b.HashedAt-int64(racyWindow)
}

// hashed is a file of ours whose content is known.
type hashed struct {
	sha256 [32]byte
	entry  layer.Entry // as it was opened, and still was when it had been read
	at     int64       // before it was opened
}

// hashOurs reads a file of the merged view. A file that changes meanwhile is read again, up to
// three times, then it is errUnstable.
func (e *Engine) hashOurs(ctx context.Context, path string) (hashed, error) {
	for range 3 {
		h := hashed{at: time.Now().UnixNano()}
		stable, err := e.hashOnce(ctx, path, &h)
		if err != nil || stable {
			return h, err
		}
	}
	return hashed{}, errUnstable
}

func (e *Engine) hashOnce(ctx context.Context, path string, h *hashed) (stable bool, err error) {
	f, entry, err := e.o.Tree.OpenFile(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, ctxReader{ctx, f}); err != nil {
		return false, err
	}
	h.entry, h.sha256 = entry, [32]byte(sum.Sum(nil))
	return isStill(int(f.Fd()), entry.Identity), nil
}

// isStill says whether an open file is what it was.
func isStill(fd int, id layer.Identity) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && layer.IdentityOf(&st) == id
}

// ctxReader ends when ctx does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// ourState is what ours has at a path, read only where stat does not clear it. entry.Kind is 0
// when there is nothing.
func (e *Engine) ourState(ctx context.Context, path string, b journal.Base) (State, hashed, error) {
	entry, err := e.o.Tree.Lstat(path)
	if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return State{}, hashed{}, nil
	}
	if err != nil {
		return State{}, hashed{}, err
	}
	h := hashed{entry: entry, sha256: b.SHA256, at: b.HashedAt}
	switch {
	case entry.Kind == layer.Other:
		return State{}, h, errSpecial
	case entry.Kind == layer.File && !clean(entry.Identity, b):
		if h, err = e.hashOurs(ctx, path); err != nil {
			return State{}, h, err
		}
	}
	return entryState(h.entry, h.sha256), h, nil
}

func entryState(e layer.Entry, sha [32]byte) State {
	return stateOf(Kind(e.Kind), sha, e.Mode, e.Target)
}

// A scan is how the merged view differs from base.
type scan struct {
	puts      []layer.Entry           // in the order of the walk
	deletes   []string                // children before parents
	forgotten []string                // in base, but access does not show them any more
	touched   map[string]journal.Base // same content, another stat
	files     int                     // of base
	gone      int                     // files of deletes
	seen      int                     // paths of the view
	problems  []Problem
}

// scan compares the merged view with base.
func (e *Engine) scan(ctx context.Context, bases map[string]journal.Base) (*scan, error) {
	s := &scan{touched: map[string]journal.Base{}}
	met := make(map[string]struct{}, len(bases))
	err := e.o.Tree.Walk(ctx, func(entry layer.Entry) error {
		if entry.Level < access.Read {
			return nil // only leads to something
		}
		s.seen++
		b, known := bases[entry.Path]
		if known {
			met[entry.Path] = struct{}{}
		}
		return e.scanEntry(ctx, s, entry, b, known)
	})
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	for path, b := range bases {
		if b.Kind == journal.File {
			s.files++
		}
		if _, ok := met[path]; ok {
			continue
		}
		if e.o.Policy.Level(path) < access.Read {
			s.forgotten = append(s.forgotten, path)
			continue
		}
		// A rename while the walk was on may have hidden it.
		if now, err := e.o.Tree.Lstat(path); err == nil && now.Kind != layer.Other {
			continue
		}
		s.deletes = append(s.deletes, path)
		if b.Kind == journal.File {
			s.gone++
		}
	}
	sortPathsDown(s.deletes)
	return s, nil
}

func (e *Engine) scanEntry(ctx context.Context, s *scan, entry layer.Entry, b journal.Base, known bool) error {
	sha := b.SHA256
	if known && entry.Kind == layer.File && b.Kind == journal.File && !clean(entry.Identity, b) {
		if entry.Size != b.Size {
			s.puts = append(s.puts, entry)
			return nil
		}
		h, err := e.hashOurs(ctx, entry.Path)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if !errors.Is(err, iofs.ErrNotExist) {
				s.problems = append(s.problems, Problem{entry.Path, err.Error()})
			}
			return nil
		}
		sha, entry = h.sha256, h.entry
		if entryState(entry, sha) == baseState(b) {
			b.Ours, b.HashedAt = ourStat(entry.Identity), h.at
			s.touched[entry.Path] = b
			return nil
		}
	}
	if !known || entryState(entry, sha) != baseState(b) {
		s.puts = append(s.puts, entry)
	}
	return nil
}
