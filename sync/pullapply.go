package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// apply takes the plan to the upper layer, and base to what the sandbox has.
func (p *pulling) apply(ctx context.Context) error {
	plan, err := p.plan(ctx)
	if err != nil {
		return err
	}
	if err := p.fetchMore(ctx, plan); err != nil {
		return err
	}
	failed := map[string]bool{}
	for i, a := range plan {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.e.progress(Progress{Phase: "apply", Path: a.Path, Done: i, Total: len(plan)})
		if err := p.one(a); err != nil {
			if fatal(err) {
				return err
			}
			p.problem(a.Path, err)
			failed[a.Path] = true
		}
	}
	if err := p.e.fail("pull-applied"); err != nil {
		return err
	}
	p.move(failed)
	return nil
}

func sortPlanned(plan []planned) {
	slices.SortStableFunc(plan, func(a, b planned) int { return compareActions(a.Action, b.Action) })
}

// fatal says whether the next path would fail the same way.
func fatal(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// one applies one action to the upper layer.
func (p *pulling) one(a planned) error {
	if a.wasOpen && !a.deferred {
		if err := p.conflict(a); err != nil {
			return err
		}
	}
	if a.Clash == EditDelete {
		p.r.Kept = append(p.r.Kept, a.Path)
		p.log(a.Path, "kept", "deleted on one side, changed on the other")
	}
	if !a.ChangesOurs() {
		return nil
	}
	// What a local process did since the plan was made must not be lost.
	now, err := p.e.o.Tree.Lstat(a.Path)
	if err != nil && !gone(err) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	was := p.ours[a.Path].entry
	if now.Kind != was.Kind || now.Kind != layer.Dir && now.Identity != was.Identity {
		return errMeanwhile
	}
	if a.Want.Kind == Absent {
		return p.remove(a)
	}
	return p.put(a)
}

func (p *pulling) remove(a planned) error {
	err := p.e.o.Tree.Remove(a.Path, p.origin(a.Path))
	if errors.Is(err, unix.ENOTEMPTY) {
		return nil // what the sandbox is not shown lives in it
	}
	if err == nil || gone(err) {
		p.r.Deleted = append(p.r.Deleted, a.Path)
		p.log(a.Path, "pulled", "deleted")
		return nil
	}
	return err
}

func (p *pulling) put(a planned) error {
	q := layer.Put{
		Path: a.Path, Kind: layer.Kind(a.Want.Kind), Mode: a.Want.Mode, Target: a.Want.Target, Origin: p.origin(a.Path),
	}
	if a.Want.Kind == File {
		var err error
		if q.Mtime = p.mtime(a.Path); a.Want.sameContent(a.Ours) {
			// Only the mode is new; the content is ours already.
			q.Staged, q.Mtime, err = p.e.restage(a.Path)
		} else {
			q.Staged, err = p.content(a.Path, a.Want)
		}
		if err != nil {
			return err
		}
		defer q.Staged.Abort()
	}
	if a.Ours.Kind == Dir && a.Want.Kind != Dir {
		// It was emptied before; a directory is not replaced.
		if err := p.e.o.Tree.Remove(a.Path, q.Origin); err != nil && !gone(err) {
			return err
		}
	}
	if err := p.e.o.Tree.Put(q); err != nil {
		return err
	}
	p.r.Pulled = append(p.r.Pulled, a.Path)
	p.log(a.Path, "pulled", a.Want.Kind.String())
	if p.e.o.Policy.Level(a.Path) == access.Read {
		p.r.ReadOnly = append(p.r.ReadOnly, a.Path)
	}
	return nil
}

// content takes the staged content of a path.
func (p *pulling) content(path string, want State) (*layer.Staged, error) {
	f := p.got[path]
	if f == nil || f.staged == nil || f.sha256 != want.SHA256 {
		return nil, errMeanwhile
	}
	st := f.staged
	f.staged = nil
	return st, nil
}

// mtime is the sandbox's, to the nanosecond where its stat has it, and not from the far future.
func (p *pulling) mtime(path string) int64 {
	t := p.theirs[path].Mtime
	if f := p.got[path]; f != nil && (t == 0 || f.entry.Mtime/coarse != t/coarse) {
		t = f.entry.Mtime
	}
	return min(max(t, 1), time.Now().Add(24*time.Hour).UnixNano())
}

// restage copies a file of ours, to give it another mode.
func (e *Engine) restage(path string) (*layer.Staged, int64, error) {
	f, entry, err := e.o.Tree.OpenFile(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	st, err := e.o.Tree.Stage()
	if err != nil {
		return nil, 0, err
	}
	if _, err := f.WriteTo(st); err != nil || !isStill(int(f.Fd()), entry.Identity) {
		st.Abort()
		return nil, 0, errors.Join(err, errMeanwhile)
	}
	return st, entry.Mtime, nil
}

// origin is what the upper layer's version of a path is based on: what was pushed, so that what
// the home's owner did since shows at the commit.
func (p *pulling) origin(path string) *layer.Origin {
	b, ok := p.bases[path]
	if !ok {
		return &layer.Origin{}
	}
	o := &layer.Origin{Kind: layer.Kind(b.Kind), Mode: b.Mode, SHA256: b.SHA256, Identity: layer.Identity(b.Ours)}
	if Kind(b.Kind) == Symlink {
		o.SHA256 = baseState(b).expect().SHA256
	}
	return o
}

// conflict keeps the version that loses and says so.
func (p *pulling) conflict(a planned) error {
	c := Conflict{Path: a.Path, Kind: string(a.Clash), Where: "upper", Winner: string(Theirs)}
	loser := a.Ours
	if a.policy == Ours || a.policy == Both {
		c.Winner, loser = string(Ours), a.Theirs
	}
	if a.Path != a.Root && (loser.Kind == Absent || loser == a.Base && a.policy != Both || loser.Kind == Dir && a.policy != Both) {
		return nil
	}
	var err error
	switch {
	case a.Clash == ModeClash:
	case c.Winner == string(Theirs) && loser.Kind == File:
		c.Preimage, err = p.keepOurs(a.Path)
	case a.policy == Both:
		c.Beside, err = p.beside(a)
	case c.Winner == string(Ours) && loser.Kind == File:
		if f := p.got[a.Path]; f != nil {
			c.Preimage = ObjectName(f.object)
		}
	}
	if err != nil {
		return fmt.Errorf("keep the version that loses: %w", err)
	}
	p.r.Conflicts = append(p.r.Conflicts, c)
	p.e.warnConflict(c)
	p.log(a.Path, "conflict", c.describe())
	return nil
}

func (p *pulling) keepOurs(path string) (string, error) {
	f, _, err := p.e.o.Tree.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := p.e.objects.Put(f)
	return ObjectName(sum), err
}

// beside writes the sandbox's version next to ours.
func (p *pulling) beside(a planned) (string, error) {
	root, err := p.freeName(besideName(a.Root, p.e.o.Name))
	if err != nil {
		return "", err
	}
	q := layer.Put{
		Path: root + a.Path[len(a.Root):], Kind: layer.Kind(a.Theirs.Kind), Mode: a.Theirs.Mode,
		Target: a.Theirs.Target, Origin: &layer.Origin{},
	}
	if a.Theirs.Kind == File {
		if q.Staged, err = p.content(a.Path, a.Theirs); err != nil {
			return "", err
		}
		defer q.Staged.Abort()
		q.Mtime = p.mtime(a.Path)
	}
	return q.Path, p.e.o.Tree.Put(q)
}

// freeName answers a path that nothing has, or that this pull has made a directory.
func (p *pulling) freeName(path string) (string, error) {
	for i := 1; i < 1000; i++ {
		try := path
		if i > 1 {
			try = fmt.Sprintf("%s.%d", path, i)
		}
		e, err := p.e.o.Tree.Lstat(try)
		if gone(err) || err == nil && e.Kind == layer.Dir && e.Upper {
			return try, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("no free name like %q", path)
}

func (p *pulling) log(path, what, detail string) {
	p.update.Events = append(p.update.Events, journal.Event{At: p.e.clock.Now(), Path: path, What: what, Detail: detail})
}

// move takes base to what the sandbox has at every path that was looked at: ours is that, or a
// successor of it.
func (p *pulling) move(failed map[string]bool) {
	for path := range p.missing {
		if !failed[path] {
			p.update.Delete = append(p.update.Delete, path)
		}
	}
	for path, entry := range p.theirs {
		s, known := p.states[path]
		if !known || failed[path] || p.unknown(path) {
			continue
		}
		old := p.bases[path]
		b := journal.Base{
			Kind: journal.Kind(s.Kind), SHA256: s.SHA256, Size: entry.Size, Mode: s.Mode, Mtime: entry.Mtime, Target: s.Target,
			Generation: old.Generation, PushedAt: old.PushedAt, Theirs: theirStat(p.trust.entry(entry)),
		}
		if f := p.got[path]; f != nil {
			b.Size = f.size
		}
		if s.Kind == File {
			b.Ours, b.HashedAt = p.ourStat(path, s, old)
		}
		p.update.Put[path] = b
		if _, ok := p.foreign[path]; ok {
			p.update.ForeignDelete = append(p.update.ForeignDelete, path)
		}
	}
}

// ourStat is the stat of our version of a path, if that is what the sandbox has.
func (p *pulling) ourStat(path string, theirs State, old journal.Base) (journal.Stat, int64) {
	h, known := p.ours[path]
	if known && h.entry.Kind == layer.File && h.sha256 == theirs.SHA256 {
		if now, err := p.e.o.Tree.Lstat(path); err == nil && now.Identity == h.entry.Identity {
			return ourStat(h.entry.Identity), h.at
		}
	}
	// It was put there just now, so the next push hashes it once more, which finds what a local
	// process may have done to it since.
	return journal.Stat{}, 0
}
