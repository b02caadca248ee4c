package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"hermesfs/backends"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// pushRounds is how often a file that changes while it is sent is tried.
const pushRounds = 3

// Push brings the sandbox what changed in the merged view since base: when it returns without an
// error, everything that was written before the call is there, but for what the report names. On
// an error nothing was promoted to base; what may have arrived is settled by the next operation.
// A path that the sandbox changed since base is refused and left for the next pull.
func (e *Engine) Push(ctx context.Context) (PushReport, error) {
	done, err := e.take(ctx)
	if err != nil {
		return PushReport{}, err
	}
	defer done()
	if e.o.Sandbox == nil {
		return PushReport{}, nil
	}
	var r PushReport
	if err := e.settle(ctx); err != nil {
		return r, fmt.Errorf("push: %w", err)
	}
	for round := 1; ; round++ {
		again, err := e.pushRound(ctx, &r)
		if err != nil {
			return r, fmt.Errorf("push: %w", err)
		}
		if len(again) == 0 {
			return r, nil
		}
		if round == pushRounds {
			for _, path := range again {
				r.Problems = append(r.Problems, Problem{path, errUnstable.Error()})
			}
			return r, nil
		}
	}
}

// pushRound scans and sends once. It answers what changed while it was sent.
func (e *Engine) pushRound(ctx context.Context, r *PushReport) (again []string, err error) {
	bases, err := e.loadBases()
	if err != nil {
		return nil, err
	}
	s, err := e.scan(ctx, bases)
	if err != nil {
		return nil, err
	}
	r.Problems = append(r.Problems, s.problems...)
	if err := e.guardDeletes("push", s.gone, s.files, s.seen == 0); err != nil {
		return nil, err
	}
	if s.puts, err = e.meetForeign(ctx, s.puts, bases, r); err != nil {
		return nil, err
	}
	if len(s.puts) == 0 && len(s.deletes) == 0 {
		return nil, e.note(journal.Update{Put: s.touched, Delete: s.forgotten})
	}
	p := &pushing{e: e, bases: bases, scan: s, sending: map[string]*sending{}}
	if p.generation, err = e.nextGeneration(); err != nil {
		return nil, err
	}
	result, err := e.o.Sandbox.Push(ctx, p.batch(ctx))
	if err != nil {
		return nil, err
	}
	if err := e.fail("push-sent"); err != nil {
		return nil, err
	}
	return p.promote(result, r)
}

// note writes an update that has something in it.
func (e *Engine) note(u journal.Update) error {
	if len(u.Put)+len(u.Delete)+len(u.Foreign)+len(u.ForeignDelete)+len(u.Events) == 0 && !u.ClearPending {
		return nil
	}
	if err := e.o.Journal.Apply(u); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

func (e *Engine) nextGeneration() (n uint64, err error) {
	err = e.o.Journal.UpdateMeta(func(m *journal.Meta) {
		m.Generation++
		n = m.Generation
	})
	if err != nil {
		err = fmt.Errorf("write journal: %w", err)
	}
	return n, err
}

// guardDeletes stops where more would be deleted than anybody is likely to want.
func (e *Engine) guardDeletes(op string, gone, files int, emptied bool) error {
	stop := &StopError{Op: op, Flag: "--allow-deletes", Deletes: gone, Of: files}
	switch {
	case e.o.AllowDeletes:
		return nil
	case emptied && gone == files && files > 1:
		stop.Err = ErrRootEmptied
	case gone > 25 && gone > files/2:
		stop.Err = ErrMassDelete
	default:
		return nil
	}
	return stop
}

// pushing is one round of a push.
type pushing struct {
	e          *Engine
	bases      map[string]journal.Base
	scan       *scan
	sending    map[string]*sending
	generation uint64
}

// sending is one Put that is being read.
type sending struct {
	entry  layer.Entry
	at     int64 // before it was opened
	opened layer.Entry
	stable bool // it was the same before and after it was read
}

func (p *pushing) batch(ctx context.Context) *backends.Batch {
	b := &backends.Batch{Ready: p.ready}
	for _, path := range p.scan.deletes {
		b.Deletes = append(b.Deletes, backends.Delete{Path: path, Expect: baseState(p.bases[path]).expect()})
	}
	for _, entry := range p.scan.puts {
		s := &sending{entry: entry, stable: entry.Kind != layer.File}
		p.sending[entry.Path] = s
		b.Puts = append(b.Puts, backends.Put{
			Path: entry.Path, Kind: backends.Kind(entry.Kind), Mode: entry.Mode & permBits,
			Mtime: time.Unix(0, entry.Mtime), Size: entry.Size, Target: entry.Target,
			Expect: baseState(p.bases[entry.Path]).expect(),
			Open:   func() (io.ReadCloser, error) { return p.open(ctx, s) },
		})
	}
	return b
}

func (p *pushing) open(ctx context.Context, s *sending) (io.ReadCloser, error) {
	s.at = time.Now().UnixNano()
	f, entry, err := p.e.o.Tree.OpenFile(s.entry.Path)
	if err != nil {
		return nil, err
	}
	s.opened = entry
	return &sentFile{ctxReader{ctx, f}, f, s}, nil
}

// sentFile notices whether its file changed while it was read.
type sentFile struct {
	ctxReader
	f *os.File
	s *sending
}

func (f *sentFile) Close() error {
	f.s.stable = isStill(int(f.f.Fd()), f.s.opened.Identity)
	return f.f.Close()
}

// ready makes what was sent pending.
func (p *pushing) ready(sent []backends.Sent) error {
	pending := make(map[string]*journal.Base, len(sent))
	for _, s := range sent {
		if s.Deleted {
			pending[s.Path] = nil
		} else if b, ok := p.base(s, backends.Entry{}); ok {
			pending[s.Path] = &b
		}
	}
	if err := p.e.fail("push-pending"); err != nil {
		return err
	}
	if err := p.e.o.Journal.SetPending(pending); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return p.e.fail("push-ready")
}

// base is the record of a path that was sent.
func (p *pushing) base(sent backends.Sent, theirs backends.Entry) (journal.Base, bool) {
	s := p.sending[sent.Path]
	if s == nil {
		return journal.Base{}, false
	}
	b := journal.Base{
		Kind: journal.Kind(s.entry.Kind), Size: s.entry.Size, Mode: s.entry.Mode & permBits,
		Mtime: s.entry.Mtime, Target: s.entry.Target, Generation: p.generation,
		PushedAt: p.e.clock.Now().UnixNano(), Theirs: theirStat(theirs),
	}
	if s.entry.Kind == layer.File {
		b.SHA256 = sent.SHA256
	}
	// A file that changed under the read: what was sent is what the sandbox has, but it is not
	// known to be what ours has.
	if s.stable && s.entry.Kind == layer.File {
		b.Ours, b.HashedAt = ourStat(s.opened.Identity), s.at
	}
	return b, true
}

// promote moves base to what was done.
func (p *pushing) promote(result *backends.PushResult, r *PushReport) (again []string, err error) {
	u := journal.Update{Put: p.scan.touched, Delete: p.scan.forgotten, ClearPending: true}
	log := func(path, what, detail string) {
		u.Events = append(u.Events, journal.Event{At: p.e.clock.Now(), Path: path, What: what, Detail: detail})
	}
	trust := newTrust(result.Done)
	for _, d := range result.Done {
		if d.Deleted {
			u.Delete = append(u.Delete, d.Path)
			r.Deleted = append(r.Deleted, d.Path)
			log(d.Path, "deleted", "")
			continue
		}
		b, ok := p.base(d.Sent, trust.entry(d.Entry))
		if !ok {
			return nil, fmt.Errorf("the sandbox answered for %q, which was not sent", d.Path)
		}
		u.Put[d.Path] = b
		log(d.Path, "pushed", "")
		if !p.sending[d.Path].stable {
			again = append(again, d.Path)
			continue
		}
		r.Pushed = append(r.Pushed, d.Path)
		if b.Kind == journal.File {
			r.Bytes += b.Size
		}
	}
	for _, path := range result.Refused {
		// Whatever stands there, the next pull looks at it, even if its stat is the old one.
		if b, ok := p.bases[path]; ok {
			b.Theirs = journal.Stat{}
			u.Put[path] = b
		}
		r.Refused = append(r.Refused, path)
		log(path, "refused", "the sandbox changed it")
	}
	for _, q := range result.Problems {
		if !errors.Is(q.Err, os.ErrNotExist) { // gone since the scan: the next one sees to it
			r.Problems = append(r.Problems, Problem{q.Path, q.Err.Error()})
		}
	}
	if err := p.e.note(u); err != nil {
		return nil, err
	}
	again = append(again, result.Changed...)
	slices.Sort(again)
	p.e.log.Info("pushed", "paths", len(r.Pushed), "deleted", len(r.Deleted), "refused", len(r.Refused), "bytes", r.Bytes)
	return slices.Compact(again), nil
}

// sortPathsDown sorts children before parents.
func sortPathsDown(paths []string) {
	slices.SortFunc(paths, func(a, b string) int { return comparePaths(b, a) })
}

func sortedPaths[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), comparePaths)
}
