package syncer

import (
	"context"
	"fmt"
	"slices"

	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// Discard drops what the upper layer changes at or below paths, so that the home's version shows
// again; the next Push gives it to the sandbox as well. Should one of the paths have no change,
// nothing is dropped: a *NoChangeError.
func (e *Engine) Discard(ctx context.Context, paths []string) (DiscardReport, error) {
	done, err := e.take(ctx)
	if err != nil {
		return DiscardReport{}, err
	}
	defer done()
	var changes []layer.Change
	hit := map[string]bool{}
	err = e.o.Tree.Changes(ctx, func(c layer.Change) error {
		for _, n := range paths {
			if n == c.Path || below(c.Path, n) {
				hit[n] = true
				changes = append(changes, c)
				break
			}
		}
		return nil
	})
	if err != nil {
		return DiscardReport{}, fmt.Errorf("discard: %w", err)
	}
	var nothing []string
	for _, n := range paths {
		if !hit[n] {
			nothing = append(nothing, n)
		}
	}
	if len(nothing) > 0 {
		return DiscardReport{}, fmt.Errorf("discard: %w", &NoChangeError{Paths: nothing})
	}
	slices.SortFunc(changes, func(a, b layer.Change) int { return comparePaths(b.Path, a.Path) })
	var r DiscardReport
	var u journal.Update
	for _, c := range changes {
		was := c.Identity
		if c.Kind == 0 {
			was = layer.Identity{}
		}
		if err := e.o.Tree.Drop(c.Path, was); err != nil {
			r.Problems = append(r.Problems, Problem{c.Path, err.Error()})
			continue
		}
		delete(e.rebased, c.Path)
		r.Discarded = append(r.Discarded, c.Path)
		u.Events = append(u.Events, journal.Event{At: e.clock.Now(), Path: c.Path, What: "discarded"})
	}
	slices.Reverse(r.Discarded)
	if err := e.note(u); err != nil {
		return r, fmt.Errorf("discard: %w", err)
	}
	return r, nil
}
