package syncer

import (
	"context"
	"fmt"

	"hermesfs/backends"
	"hermesfs/fs/access"
	"hermesfs/journal"
)

// Pull brings what the sandbox changed since base into the upper layer. Faults of the transport
// are tried again, see retry; then it is an *IncompleteError, and nothing is lost. A *StopError
// asks before many deletions. What had been applied before an error stays applied.
func (e *Engine) Pull(ctx context.Context) (PullReport, error) {
	done, err := e.take(ctx)
	if err != nil {
		return PullReport{}, err
	}
	defer done()
	if e.o.Sandbox == nil {
		return PullReport{}, nil
	}
	var r PullReport
	n, err := e.retry(ctx, func(ctx context.Context) error {
		r = PullReport{}
		return e.pullOnce(ctx, &r)
	})
	r.Attempts = n
	if err != nil {
		return r, fmt.Errorf("pull: %w", err)
	}
	e.log.Info("pulled", "paths", len(r.Pulled), "deleted", len(r.Deleted), "conflicts", len(r.Conflicts), "problems", len(r.Problems), "bytes", r.Bytes)
	return r, nil
}

// pulling is one attempt of a pull.
type pulling struct {
	e       *Engine
	r       *PullReport
	bases   map[string]journal.Base
	foreign map[string]journal.Stat

	met     map[string]struct{}       // every path of the manifest
	theirs  map[string]backends.Entry // what may have changed
	dirs    map[string]backends.Entry // foreign directories
	odd     map[string]bool           // nothing is known at or below these
	missing map[string]bool           // of base
	trust   trust

	states map[string]State // of theirs, once known
	got    map[string]*fetched
	loses  map[string]bool // goes to the objects
	ours   map[string]hashed
	update journal.Update
}

func (e *Engine) pullOnce(ctx context.Context, r *PullReport) (err error) {
	if err := e.settle(ctx); err != nil {
		return err
	}
	p := &pulling{
		e: e, r: r,
		met: map[string]struct{}{}, theirs: map[string]backends.Entry{}, dirs: map[string]backends.Entry{},
		odd: map[string]bool{}, missing: map[string]bool{}, states: map[string]State{}, got: map[string]*fetched{}, loses: map[string]bool{}, ours: map[string]hashed{},
		update: journal.Update{Put: map[string]journal.Base{}},
	}
	defer p.close()
	if p.bases, err = e.loadBases(); err != nil {
		return err
	}
	if p.foreign, err = e.o.Journal.Foreign(); err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	for _, step := range []func(context.Context) error{p.list, p.judgeMissing, p.compare, p.fetch, p.apply} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return e.note(p.update)
}

func (p *pulling) close() {
	for _, f := range p.got {
		f.close()
	}
}

func (p *pulling) problem(path string, err error) {
	p.r.Problems = append(p.r.Problems, Problem{path, err.Error()})
}

// unknown says whether nothing is known of a path.
func (p *pulling) unknown(path string) bool { return atOrBelow(p.odd, path) }

// skip leaves a path and all below it as it is: nothing is known of it.
func (p *pulling) skip(path string, err error) {
	if err != nil {
		p.problem(path, err)
	}
	p.odd[path] = true
	delete(p.theirs, path)
	for q := range p.missing {
		if below(q, path) {
			delete(p.missing, q)
		}
	}
}

// list finds what may have changed, by stat.
func (p *pulling) list(ctx context.Context) error {
	p.e.progress(Progress{Phase: "manifest"})
	problems, err := p.e.manifest(ctx, func(entry backends.Entry) error {
		p.listed(entry)
		return nil
	})
	if err != nil {
		return err
	}
	for _, q := range problems {
		p.problem(q.Path, q.Err)
		p.odd[q.Path] = true
	}
	for _, path := range sortedPaths(p.theirs) {
		p.checkOdd(path, p.theirs[path])
	}
	// What is new in a foreign directory brings the directory along.
	for path := range p.theirs {
		for dir := parentOf(path); dir != "."; dir = parentOf(dir) {
			if entry, ok := p.dirs[dir]; ok {
				p.theirs[dir] = entry
				p.update.ForeignDelete = append(p.update.ForeignDelete, dir)
				delete(p.dirs, dir)
			}
		}
	}
	for path := range p.foreign {
		if _, ok := p.met[path]; !ok && !p.unknown(path) {
			p.update.ForeignDelete = append(p.update.ForeignDelete, path)
		}
	}
	return nil
}

// listed sorts one path of the manifest.
func (p *pulling) listed(entry backends.Entry) {
	p.met[entry.Path] = struct{}{}
	p.trust.see(entry)
	b, known := p.bases[entry.Path]
	if known {
		if !unchangedTheirs(b, entry) {
			p.theirs[entry.Path] = entry
		}
		return
	}
	stat, foreign := p.foreign[entry.Path]
	switch {
	case foreign && entry.Kind == backends.Dir:
		p.dirs[entry.Path] = entry
	case foreign && stat == theirStat(entry):
	default:
		p.theirs[entry.Path] = entry
	}
}

// checkOdd takes out what is never taken home.
func (p *pulling) checkOdd(path string, entry backends.Entry) {
	switch entry.Kind {
	case backends.Other:
		p.skip(path, errSpecial)
	case backends.Symlink:
		target, err := linkTarget(p.e.o.Policy, path, entry.Target)
		if err == nil && target != "." && !p.exists(target) {
			err = errLinkDangling
		}
		if err != nil {
			p.skip(path, err)
		}
	}
}

// exists says whether the sandbox has a path, or ours has it where the sandbox is not looked at.
func (p *pulling) exists(path string) bool {
	if _, ok := p.met[path]; ok {
		return true
	}
	if p.e.o.Policy.Level(path) >= access.Read && !p.unknown(path) {
		return false
	}
	_, err := p.e.o.Tree.Lstat(path)
	return err == nil
}

// judgeMissing finds what is gone from the sandbox, and stops where that looks like a fault.
func (p *pulling) judgeMissing(ctx context.Context) error {
	files, goneFiles := 0, 0
	for path, b := range p.bases {
		if b.Kind == journal.File {
			files++
		}
		if _, ok := p.met[path]; ok || p.unknown(path) || p.e.o.Policy.Level(path) < access.Read {
			continue
		}
		p.missing[path] = true
		if b.Kind == journal.File {
			goneFiles++
		}
	}
	if len(p.missing) == 0 {
		return nil
	}
	meta, err := p.e.o.Journal.Meta()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	hello, err := p.e.o.Sandbox.Hello(ctx)
	if err != nil {
		return err
	}
	if err := p.e.guardDeletes("pull", goneFiles, files, goneFiles == files); err != nil {
		return err
	}
	if !hello.Exists || meta.SandboxID == "" || hello.Marker != meta.SandboxID {
		p.e.log.Warn("the sandbox is not the one that was pushed to: nothing missing there counts as deleted", "missing", len(p.missing))
		p.r.Replaced, p.missing = true, map[string]bool{}
	}
	return nil
}
