package syncer

import (
	"context"
	"errors"
	"fmt"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
)

// policyFor is who wins a conflict found by a pull: what the sandbox may only read is ours.
func (e *Engine) policyFor(path string) Policy {
	if e.o.Policy.Level(path) == access.Read {
		return Ours
	}
	if e.o.Conflict == Merge {
		return Theirs // no text bases are kept yet
	}
	return e.o.Conflict
}

// defers says whether a conflict is left to the commit: ours is the home's own version, which the
// upper layer may hide without losing it.
func (p *pulling) defers(path string, h hashed) bool {
	return h.entry.Kind != 0 && !h.entry.Upper && p.e.o.Policy.Level(path) >= access.Review
}

// trees gathers what Reconcile must see: what may have changed, the directories above it, and all
// that is below a path that is a directory for one and not for another.
func (p *pulling) trees(ctx context.Context) (base, ours, theirs States, err error) {
	base, ours, theirs = States{}, States{}, States{}
	add := func(path string) error {
		if _, done := base[path]; done {
			return nil
		}
		if p.e.o.Policy.Level(path) < access.Read { // it only leads somewhere
			base[path], ours[path], theirs[path] = dirOnly, dirOnly, dirOnly
			return nil
		}
		o, h, err := p.e.ourState(ctx, path, p.bases[path])
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			p.skip(path, err)
			return nil
		}
		p.ours[path] = h
		base[path], ours[path], theirs[path] = baseState(p.bases[path]), o, p.theirState(path)
		return nil
	}
	for _, paths := range [][]string{sortedPaths(p.theirs), sortedPaths(p.missing)} {
		for _, path := range paths {
			for ; path != "."; path = parentOf(path) {
				if err := add(path); err != nil {
					return nil, nil, nil, err
				}
			}
		}
	}
	if err := p.addBelow(ctx, base, ours, theirs, add); err != nil {
		return nil, nil, nil, err
	}
	for path := range base { // what turned out odd on the way
		if p.unknown(path) {
			delete(base, path)
			delete(ours, path)
			delete(theirs, path)
		}
	}
	return base, ours, theirs, nil
}

var dirOnly = State{Kind: Dir, Mode: 0o755}

// theirState is what the sandbox has at a path.
func (p *pulling) theirState(path string) State {
	if s, ok := p.states[path]; ok {
		return s
	}
	if p.missing[path] {
		return State{}
	}
	return baseState(p.bases[path])
}

// addBelow adds all that is below directories that are none for another side.
func (p *pulling) addBelow(ctx context.Context, base, ours, theirs States, add func(string) error) error {
	mixed := map[string]bool{}
	for path := range base {
		if mixedDir(base[path], ours[path], theirs[path]) {
			mixed[path] = true
		}
	}
	if len(mixed) == 0 {
		return nil
	}
	for path := range p.bases {
		if atOrBelow(mixed, path) {
			if err := add(path); err != nil {
				return err
			}
		}
	}
	err := p.e.o.Tree.Walk(ctx, func(entry layer.Entry) error {
		if entry.Level >= access.Read && atOrBelow(mixed, entry.Path) {
			return add(entry.Path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	return nil
}

// plan decides every path. A clash whose loser is only in the home is not one yet: the commit
// finds it, with both versions in hand.
func (p *pulling) plan(ctx context.Context) ([]planned, error) {
	base, ours, theirs, err := p.trees(ctx)
	if err != nil {
		return nil, err
	}
	actions := Reconcile(base, ours, theirs)
	inUpper := map[string]bool{} // roots of clashes with something of the upper layer
	for _, a := range actions {
		if h := p.ours[a.Path]; a.Open && h.entry.Kind != 0 && !p.defers(a.Path, h) {
			inUpper[a.Root] = true
		}
	}
	out := make([]planned, 0, len(actions))
	for _, a := range actions {
		q := planned{Action: a, policy: p.e.policyFor(a.Root)}
		if a.Open && !inUpper[a.Root] {
			q.policy, q.deferred = Theirs, true
		}
		q.wasOpen, q.Action = a.Open, a.Resolve(q.policy)
		out = append(out, q)
	}
	sortPlanned(out)
	return out, nil
}

// planned is an Action with who decided it.
type planned struct {
	Action
	policy   Policy
	wasOpen  bool
	deferred bool
}

var errMeanwhile = errors.New("it changed while the pull was applied; the next pull sees to it")
