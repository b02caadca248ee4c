package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// leaveUpper drops from upper what the home has now, children before parents. What changed in
// upper meanwhile stays, based on what the home has.
func (c *committing) leaveUpper(ctx context.Context, jobs []*job) error {
	planned := map[string]layer.Kind{}
	var leave []*job
	for _, j := range jobs {
		switch {
		case j.src != j.Path: // put beside: upper may hide it as yet
			planned[j.Path] = 0
		case j.change.Path == j.Path && j.step.Result != "problem":
			planned[j.Path] = j.change.Kind
			leave = append(leave, j)
		}
	}
	keep := map[string]bool{} // directories with something below that stays in upper
	err := c.e.o.Tree.Changes(ctx, func(ch layer.Change) error {
		if was, ok := planned[ch.Path]; !ok || (was == 0) != (ch.Kind == 0) {
			for dir := parentOf(ch.Path); dir != "." && !keep[dir]; dir = parentOf(dir) {
				keep[dir] = true
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list changes: %w", err)
	}
	slices.SortFunc(leave, func(a, b *job) int { return comparePaths(b.Path, a.Path) })
	for _, j := range leave {
		if err := c.settleOurs(j); err != nil {
			c.r.Problems = append(c.r.Problems, Problem{j.Path, err.Error()})
			continue
		}
		if keep[j.Path] && j.host.Kind != Absent {
			continue
		}
		was := j.change.Identity
		if j.change.Kind == 0 {
			was = layer.Identity{}
		}
		switch err := c.e.o.Tree.Drop(j.Path, was); {
		case err == nil:
			delete(c.e.rebased, j.Path)
		case errors.Is(err, layer.ErrChanged):
			c.rebase(j)
		default:
			c.r.Problems = append(c.r.Problems, Problem{j.Path, err.Error()})
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.e.note(journal.Update{Events: c.events}); err != nil {
		return err
	}
	return c.e.fail("commit-dropped")
}

// settleOurs reports a path at which the home's version stays.
func (c *committing) settleOurs(j *job) error {
	if j.ChangesOurs() {
		return nil
	}
	if j.Clash == EditDelete {
		c.kept(j)
	}
	if j.wasOpen {
		return c.oursWon(j)
	}
	return nil
}

// oursWon reports a conflict that the home's version won, and keeps the other.
func (c *committing) oursWon(j *job) error {
	conflict := Conflict{Path: j.Path, Kind: string(j.Clash), Where: "home", Winner: string(Ours)}
	switch {
	case j.Path != j.Root && j.Theirs.Kind == Absent:
		return nil
	case j.policy == Both:
		conflict.Beside = j.beside
	case j.Theirs.Kind == File:
		f, _, err := c.e.o.Tree.OpenFile(j.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum, _, err := c.e.objects.Put(f)
		if err != nil {
			return err
		}
		conflict.Preimage = ObjectName(sum)
	}
	c.conflict(j, conflict)
	return nil
}

// conflict reports a conflict and notes it in the log.
func (c *committing) conflict(j *job, conflict Conflict) {
	if c.kind == kindRestore {
		conflict.Winner = Restored
	}
	c.r.Conflicts = append(c.r.Conflicts, conflict)
	c.e.warnConflict(conflict)
	c.log(j.Path, "conflict", conflict.describe())
}

func (c *committing) log(path, what, detail string) {
	c.events = append(c.events, journal.Event{At: c.e.clock.Now(), Path: path, What: what, Detail: detail})
}

func (c *committing) kept(j *job) {
	c.r.Kept = append(c.r.Kept, j.Path)
	c.e.log.Info("deleted on one side and changed on the other: the change stays", "path", j.Path)
}

// rebase remembers what the home has, for a path that changed in upper while it was committed.
func (c *committing) rebase(j *job) {
	host, err := c.h.lstat(j.Path)
	if err != nil {
		return
	}
	o := layer.Origin{Kind: layer.Kind(host.Kind), Mode: host.Mode, Identity: host.ID}
	if j.Want.Kind == File && j.step.SHA256 != [32]byte{} {
		o.SHA256 = j.step.SHA256
	}
	c.e.rebased[j.Path] = o
}
