package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"hermesfs/backends"
)

var (
	errChanged  = errors.New("it changed while it was packed")
	errNoRead   = errors.New("the file cannot be read")
	errSearch   = errors.New("a directory above it cannot be searched")
	errFifo     = errors.New("it is a fifo, a socket or a device")
	errUnasked  = errors.New("the sandbox sent a path that was not asked for")
	errNotFile  = errors.New("the sandbox sent it as something other than a plain file")
	errHardLink = errors.New("the sandbox sent it as a hard link")
	errNotSent  = errors.New("the sandbox did not send it")
)

const (
	defaultMaxBytes   = 2 << 30
	defaultMaxMembers = 500_000
	defaultMaxPath    = 3_500

	maxPacks      = 4    // attempts to pack what can be packed
	maxStrangers  = 1000 // problems of paths that were not asked for
	maxMemberCost = 4096 // what an archive may have around a file, its path apart
	dropTimeout   = 30 * time.Second
	abortTimeout  = time.Second
)

func withDefaults(lim backends.Limits) backends.Limits {
	if lim.MaxBytes <= 0 {
		lim.MaxBytes = defaultMaxBytes
	}
	if lim.MaxMembers <= 0 {
		lim.MaxMembers = defaultMaxMembers
	}
	if lim.MaxPath <= 0 {
		lim.MaxPath = defaultMaxPath
	}
	return lim
}

// Fetch calls fn for each of paths that is there: directories and symlinks first, with a nil
// reader, then files while the archive streams in. What is missing is not called for; what cannot
// be had, or changed while it was packed, is a problem. The reader is good until fn returns. Only
// when Fetch returned a nil error was the archive complete and its digest right. Where the sandbox
// sends a path twice fn is called twice, and the last call counts.
//
// An error of fn ends Fetch and is returned. A connection that breaks within the archive is taken
// up again where it broke, as long as that makes progress.
func (s *Sandbox) Fetch(ctx context.Context, paths []string, lim backends.Limits, fn func(backends.Entry, io.Reader) error) ([]backends.Problem, error) {
	t, err := s.needTools(ctx)
	if err != nil {
		return nil, err
	}
	f := &fetcher{s: s, t: t, lim: withDefaults(lim), fn: fn, failed: map[string]bool{}}
	for _, path := range paths {
		if path != "." && (!validPath(path, f.lim.MaxPath) || path == ownDir || strings.HasPrefix(path, ownDir+"/")) {
			f.problem(path, errPath)
			continue
		}
		f.want = append(f.want, path)
	}
	if len(f.want) > f.lim.MaxMembers {
		return nil, fmt.Errorf("fetch: %w", &backends.LimitError{What: "members", Max: int64(f.lim.MaxMembers)})
	}
	for tries := 0; len(f.want) > 0; {
		packed, err := f.once(ctx)
		if err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
		if tries++; !packed && tries == maxPacks {
			return nil, &backends.TransportError{Op: "fetch", Err: fmt.Errorf("files change each time they are packed: %.200s", f.messages)}
		}
	}
	return f.problems, nil
}

// A fetcher is one Fetch.
type fetcher struct {
	s   *Sandbox
	t   tools
	lim backends.Limits
	fn  func(backends.Entry, io.Reader) error

	want     []string // still to be fetched
	one      bool     // each in an archive of its own: no hard links between them
	messages string   // what tar said last

	problems  []backends.Problem
	failed    map[string]bool // paths that have a problem
	strangers int
	members   int
	bytes     int64
}

// problem notes one, the first of each path.
func (f *fetcher) problem(path string, err error) {
	if f.failed[path] {
		return
	}
	f.failed[path] = true
	f.problems = append(f.problems, backends.Problem{Path: path, Err: err})
}

// once packs what is wanted and takes it in. It leaves in want what is to be tried again; packed
// is false when tar could not pack at all, and those who are to blame are no longer in want.
func (f *fetcher) once(ctx context.Context) (packed bool, err error) {
	d := newDownload(f)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		err := d.run(ctx)
		d.pw.CloseWithError(err) // io.EOF when nil
		done <- err
	}()
	var inErr error
	select {
	case <-d.ready:
	case err := <-done: // maybe all of it: a spool may be empty
		done <- err
	}
	if d.spooled {
		inErr = f.takeIn(d)
	}
	if inErr != nil {
		cancel(inErr)
	}
	d.pr.CloseWithError(errStopped)
	runErr := <-done
	if d.leaves {
		f.s.drop(ctx, d.id)
	}
	switch {
	case inErr != nil && !errors.Is(inErr, errCut):
		return false, inErr
	case runErr != nil:
		return false, runErr
	case inErr != nil:
		return false, &backends.TransportError{Op: "fetch", Err: inErr}
	case !d.spooled:
		return false, f.blame(d)
	}
	return true, nil
}

// blame takes out of want what tar could not pack: what changed, and what it names.
func (f *fetcher) blame(d *download) error {
	f.messages = d.messages
	blamed := map[string]error{}
	for path := range d.before {
		if d.changed(path) {
			blamed[path] = errChanged
		}
	}
	asked := func(path string) bool { _, ok := d.before[path]; return ok }
	for line := range strings.Lines(d.messages) {
		path, reason, ok := tarMessage(strings.TrimSuffix(line, "\n"), asked)
		if ok && blamed[path] == nil {
			blamed[path] = errors.New(strings.ToLower(reason))
		}
	}
	if len(blamed) == 0 {
		return &backends.ScriptError{Op: "tar", Code: max(1, d.status), Stderr: tail(d.messages)}
	}
	var rest []string
	for _, path := range f.want {
		switch {
		case blamed[path] != nil:
			f.problem(path, blamed[path])
		case !f.failed[path]:
			rest = append(rest, path)
		}
	}
	f.want = rest
	return nil
}

// tarMessage reads what tar says of a path that was asked for: "tar: PATH: REASON", with escapes
// for what is not ASCII, or "tar: can't open 'PATH': REASON".
func tarMessage(line string, asked func(string) bool) (path, reason string, ok bool) {
	rest, ok := strings.CutPrefix(line, "tar: ")
	if !ok {
		return "", "", false
	}
	for i := range rest {
		name, reason, ok := strings.Cut(rest[i:], ": ")
		if i > 0 {
			if rest[i-1] != '\'' && rest[i-1] != ' ' || !strings.HasPrefix(rest[i:], "./") {
				continue
			}
		}
		for ok {
			path := strings.TrimPrefix(unescape(strings.TrimSuffix(name, "'")), "./")
			if asked(path) {
				return path, reason, true
			}
			var more string
			more, reason, ok = strings.Cut(reason, ": ")
			name += ": " + more
		}
	}
	return "", "", false
}

func tail(s string) string { return s[max(0, len(s)-backends.MaxStderr):] }

// drop removes a temporary directory, as well as it can: the next Claim would.
func (s *Sandbox) drop(ctx context.Context, id string) {
	timeout := dropTimeout
	if ctx.Err() != nil {
		timeout = abortTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := s.call(ctx, &verb{name: "drop", id: id, body: empty}); err != nil {
		s.log.Debug("temporary directory stays in the sandbox", "error", err)
	}
}
