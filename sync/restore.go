package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// The kinds of commits in the journal.
const (
	kindCommit  = "commit"
	kindRestore = "restore"
)

// Restored is the winner of a conflict in a restore: what the home got since loses, and is kept.
const Restored = "restored"

var (
	errNoObject  = errors.New("what stood there before is not kept any more")
	errBadObject = errors.New("the object that has what stood there before is damaged")
	errNotDir    = errors.New("the home has something else where its directory was")
	errModeOnly  = errors.New("only its mode was changed, and the home has no such file any more")
)

// Restore brings back what commit seq replaced or removed in the home, and takes away what it
// created: all of it, or what is at or below paths. It is itself a commit, with the same guarantees,
// and can be restored. What the home has at a path and the commit did not write there is a
// conflict: the restored version wins, the home's is kept. What the commit created and the home
// changed since stays. Where the mount's upper layer has a path, the mount goes on to show that.
// A commit that does not exist is journal.ErrNotFound, a path that it did not change a
// *NotInCommitError; then nothing is done.
func (e *Engine) Restore(ctx context.Context, seq uint64, paths []string) (RestoreReport, error) {
	return e.restoring(ctx, func(*home) ([]wish, error) { return e.wishesOf(seq, paths) }, seq)
}

// RestoreObject puts the version of a file that an object has at a path of the home, as Restore does.
func (e *Engine) RestoreObject(ctx context.Context, object [32]byte, path string) (RestoreReport, error) {
	return e.restoring(ctx, func(h *home) ([]wish, error) {
		f, err := e.objects.Open(object)
		if err != nil {
			return nil, fmt.Errorf("object %s: %w", ObjectName(object), errNoObject)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return nil, err
		}
		host, err := h.lstat(path)
		if err != nil {
			return nil, err
		}
		w := wish{path: path, base: beforeOf(host), want: journal.Before{
			Kind: journal.File, Mode: 0o644, Mtime: st.ModTime().UnixNano(), Object: object, Size: st.Size(),
		}}
		if host.Kind == File {
			w.want.Mode = host.Mode
		}
		return []wish{w}, nil
	}, 0)
}

func (e *Engine) restoring(ctx context.Context, wishes func(*home) ([]wish, error), of uint64) (r RestoreReport, err error) {
	done, err := e.take(ctx)
	if err != nil {
		return r, err
	}
	defer done()
	r.Of = of
	if err := e.restore(ctx, wishes, &r); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	return r, nil
}

func (e *Engine) restore(ctx context.Context, wishes func(*home) ([]wish, error), r *RestoreReport) error {
	h, err := openHome(e.o.Home)
	if err != nil {
		return err
	}
	defer h.Close()
	h.noExchange = e.noExchange
	lock, err := e.lock(ctx, h)
	if err != nil {
		return err
	}
	defer lock.Close()
	if r.Recovered, _, err = e.finishOpen(ctx, h); err != nil {
		return err
	}
	list, err := wishes(h)
	if err != nil {
		return err
	}
	return e.restoreLocked(ctx, h, list, &r.CommitReport)
}

// A wish is what a path of the home shall have again.
type wish struct {
	path string
	base journal.Before // what the home should have now; else it changed since
	sha  [32]byte       // of base, when it is a file and that is known
	want journal.Before
	mode bool // only the mode
}

// wishesOf reads what a commit did.
func (e *Engine) wishesOf(seq uint64, paths []string) ([]wish, error) {
	all, named, hit := map[string]wish{}, map[string]bool{}, map[string]bool{}
	err := e.o.Journal.Steps(seq, func(_ int, s journal.Step) error {
		if s.Result != "applied" {
			return nil
		}
		all[s.Path] = wish{
			path: s.Path, want: s.Before, sha: s.SHA256, mode: s.Op == "chmod",
			base: journal.Before{Kind: s.Kind, Mode: s.Mode, Mtime: s.Mtime, Target: s.Target},
		}
		if len(paths) == 0 {
			named[s.Path] = true
		}
		for _, p := range paths {
			if p == s.Path || below(s.Path, p) {
				named[s.Path], hit[p] = true, true
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var none []string
	for _, p := range paths {
		if !hit[p] {
			none = append(none, p)
		}
	}
	if len(none) > 0 {
		return nil, &NotInCommitError{Seq: seq, Paths: none}
	}
	var list []wish
	for path := range named {
		list = append(list, all[path])
		// The directories it stood in come back as they were.
		for dir := parentOf(path); dir != "." && all[path].want.Kind != 0; dir = parentOf(dir) {
			if w, ok := all[dir]; ok && w.want.Kind == journal.Dir && !named[dir] {
				list = append(list, w)
			}
		}
	}
	return list, nil
}

// wishesLeft reads what an interrupted restore has not done, after its steps were recovered.
func (e *Engine) wishesLeft(seq uint64) (list []wish, err error) {
	err = e.o.Journal.Steps(seq, func(_ int, s journal.Step) error {
		if s.Result == "applied" || s.Result == "problem" || s.Result == "skipped" && s.Message != messageInterrupted {
			return nil
		}
		list = append(list, wish{
			path: s.Path, base: s.Before, mode: s.Op == "chmod",
			want: journal.Before{Kind: s.Kind, Mode: s.Mode, Mtime: s.Mtime, Object: s.Object, Target: s.Target},
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return list, nil
}

// restoreLocked carries wishes out as a commit. The caller holds the home's lock.
func (e *Engine) restoreLocked(ctx context.Context, h *home, list []wish, r *CommitReport) error {
	p := &restorePlan{
		e: e, h: h, r: r, wishes: map[string]wish{}, hosts: map[string]hostFile{},
		base: States{}, ours: States{}, theirs: States{},
	}
	for _, w := range list {
		p.wishes[w.path] = w
	}
	for i, path := range sortedPaths(p.wishes) {
		e.progress(Progress{Phase: "scan", Path: path, Done: i, Total: len(p.wishes)})
		err := p.look(ctx, p.wishes[path])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			p.drop(path, err)
		}
	}
	jobs := p.jobs()
	if len(jobs) == 0 {
		return nil
	}
	// From here on there is no way back, only forward.
	ctx = context.WithoutCancel(ctx)
	c := &committing{e: e, h: h, r: r, kind: kindRestore, jobs: jobs, open: map[int]journal.Step{}, patience: openLooks}
	if err := c.run(ctx); err != nil {
		if _, _, rerr := e.recoverLocked(ctx, h, false); rerr != nil {
			e.log.Error("a restore stays open until the next commit", "seq", c.seq, "error", rerr.Error())
		}
		return err
	}
	return e.note(journal.Update{Events: c.events})
}

// restorePlan finds out what a restore has to do: base is what the commit wrote, ours the home,
// theirs what stood there before.
type restorePlan struct {
	e      *Engine
	h      *home
	r      *CommitReport
	wishes map[string]wish
	hosts  map[string]hostFile
	base   States
	ours   States
	theirs States
}

func (p *restorePlan) drop(path string, err error) {
	p.r.Problems = append(p.r.Problems, Problem{path, err.Error()})
	delete(p.wishes, path)
	delete(p.base, path)
	delete(p.ours, path)
	delete(p.theirs, path)
}

// look finds the three states of one path.
func (p *restorePlan) look(ctx context.Context, w wish) error {
	host, err := p.h.lstat(w.path)
	if err != nil {
		return err
	}
	if host.Kind == otherKind {
		return errSpecial
	}
	var ours, theirs [32]byte
	if host.Kind == File {
		if ours, err = p.h.sha256(ctx, w.path, host); err != nil {
			return err
		}
	}
	if w.want.Kind == journal.File {
		switch {
		case w.want.Object != [32]byte{}:
			if theirs, err = p.e.objects.sha256(ctx, w.want.Object); err != nil {
				return err
			}
		case !w.mode:
			return errNoObject
		case host.Kind != File:
			return errModeOnly
		default:
			theirs = ours
		}
	}
	p.hosts[w.path] = host
	p.base[w.path] = stateOf(Kind(w.base.Kind), baseSum(w, host, ours), w.base.Mode, w.base.Target)
	p.ours[w.path] = stateOf(host.Kind, ours, host.Mode, host.Target)
	p.theirs[w.path] = stateOf(Kind(w.want.Kind), theirs, w.want.Mode, w.want.Target)
	if w.want.Kind != 0 {
		return p.parents(w.path)
	}
	return nil
}

// baseSum is the hash of what the home should have, or one that nothing has.
func baseSum(w wish, host hostFile, ours [32]byte) [32]byte {
	switch {
	case w.base.Kind != journal.File:
		return [32]byte{}
	case w.sha != [32]byte{}:
		return w.sha
	case w.mode, host.Kind == File && host.ID.Mtime == w.base.Mtime && host.ID.Size == w.base.Size:
		return ours
	}
	return unreadBase
}

// parents takes in the directories above what comes back: they are made where the home has none. What
// stands in their place since is not the commit's to take away.
func (p *restorePlan) parents(path string) error {
	hosts := map[string]hostFile{}
	for dir := parentOf(path); dir != "."; dir = parentOf(dir) {
		_, known := p.hosts[dir]
		_, wished := p.wishes[dir] // looked at by itself, before what is in it
		if known || wished {
			break
		}
		host, err := p.h.lstat(dir)
		if err != nil {
			return err
		}
		if host.Kind != Absent && host.Kind != Dir {
			return fmt.Errorf("%w: %q", errNotDir, dir)
		}
		hosts[dir] = host
	}
	for dir, host := range hosts {
		p.hosts[dir] = host
		if host.Kind == Absent {
			p.theirs[dir] = State{Kind: Dir, Mode: 0o755}
			continue
		}
		s := stateOf(Dir, [32]byte{}, host.Mode, "")
		p.base[dir], p.ours[dir], p.theirs[dir] = s, s, s
	}
	return nil
}

// jobs decides every path.
func (p *restorePlan) jobs() []*job {
	actions := Reconcile(p.base, p.ours, p.theirs)
	open := map[string]bool{}
	for _, a := range actions {
		open[a.Path] = a.Open
	}
	var todo []*job
	acts := map[string]bool{}
	for _, a := range resolveAll(actions, Theirs) {
		if !a.ChangesOurs() {
			if a.Clash == EditDelete {
				acts[a.Path] = true
				p.r.Kept = append(p.r.Kept, a.Path)
			}
			continue
		}
		acts[a.Path] = true
		w := p.wishes[a.Path]
		j := &job{
			Action: a, src: a.Path, host: p.hosts[a.Path], policy: Theirs, wasOpen: open[a.Path],
			object: w.want.Object,
		}
		j.change.Path, j.change.Mtime = a.Path, w.want.Mtime
		todo = append(todo, j)
	}
	for _, path := range sortedPaths(p.wishes) {
		if !acts[path] {
			p.r.Equal = append(p.r.Equal, path)
		}
	}
	return todo
}

// source opens what a job stages: of the merged view, or an object.
func (c *committing) source(j *job) (io.ReadCloser, layer.Identity, func(layer.Identity) bool, error) {
	if c.kind != kindRestore {
		f, entry, err := c.e.o.Tree.OpenFile(j.src)
		if err != nil {
			return nil, layer.Identity{}, nil, err
		}
		return f, entry.Identity, func(id layer.Identity) bool { return isStill(int(f.Fd()), id) }, nil
	}
	f, err := c.e.objects.Open(j.object)
	if err != nil {
		return nil, layer.Identity{}, nil, err
	}
	return f, layer.Identity{Mtime: j.change.Mtime}, func(layer.Identity) bool { return true }, nil
}

// sha256 is the SHA-256 of an object, whose own name is checked with it.
func (o *Objects) sha256(ctx context.Context, object [32]byte) (sum [32]byte, err error) {
	f, err := o.Open(object)
	if errors.Is(err, iofs.ErrNotExist) {
		return sum, errNoObject
	}
	if err != nil {
		return sum, err
	}
	defer f.Close()
	sum, name, err := bothSums(ctxReader{ctx, f})
	if err != nil {
		return sum, err
	}
	if name != object {
		return sum, errBadObject
	}
	return sum, nil
}
