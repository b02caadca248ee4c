package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hermesfs/journal"
	syncer "hermesfs/sync"
)

// actionArgs are the arguments of any action.
type actionArgs struct {
	Paths        []string `json:"paths,omitempty"`
	AllowDeletes bool     `json:"allow_deletes,omitempty"`
	Force        bool     `json:"force,omitempty"`      // unmount
	OnUnmount    string   `json:"on_unmount,omitempty"` // unmount
	Seq          uint64   `json:"seq,omitempty"`        // restore: the commit
	Seqs         []uint64 `json:"seqs,omitempty"`       // forget-commits
	Object       string   `json:"object,omitempty"`     // restore: a version in place of that
}

// needs says which part of a session an action works with.
func needs(action string) part {
	switch action {
	case "journal-list", "journal-log", "history", "conflicts", "objects", "forget-commits", "status":
		return partJournal
	case "journal-show":
		return partTree
	}
	return partEngine
}

// perform runs one action, see actor.
func (s *session) perform(ctx context.Context, action string, raw json.RawMessage, progress func(any)) (any, error) {
	var args actionArgs
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, usagef("arguments of %s: %w", action, err)
		}
	}
	if action == "journal-export" {
		return struct{}{}, s.journalExport(progress)
	}
	if fn := s.reading(action); fn != nil {
		done, err := s.read()
		if err != nil {
			return nil, err
		}
		defer done()
		return fn(ctx, args)
	}
	release, err := s.take(ctx, progress)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.performLocked(ctx, action, args)
}

// reading is an action that only reads, or that the journal and the layers allow beside whatever
// runs; nil for others.
func (s *session) reading(action string) func(context.Context, actionArgs) (any, error) {
	switch action {
	case "status":
		return func(ctx context.Context, _ actionArgs) (any, error) { return s.status(ctx) }
	case "journal-list":
		return func(context.Context, actionArgs) (any, error) { return s.journalList() }
	case "journal-show":
		return func(ctx context.Context, a actionArgs) (any, error) { return s.journalShow(ctx, a.Paths) }
	case "history":
		return func(context.Context, actionArgs) (any, error) { return s.history() }
	case "conflicts":
		return func(context.Context, actionArgs) (any, error) { return s.conflicts() }
	case "objects":
		return func(context.Context, actionArgs) (any, error) { return s.objectUses() }
	case "forget-commits":
		// It takes no turn: whoever has it may wait for the prune that asks this.
		return func(_ context.Context, a actionArgs) (any, error) {
			return struct{}{}, s.journal.ForgetCommits(a.Seqs...)
		}
	case "journal-log":
		return func(_ context.Context, a actionArgs) (any, error) { return s.journalLog(a.Paths) }
	case "journal-verify":
		return func(ctx context.Context, _ actionArgs) (any, error) { return s.journalVerify(ctx) }
	}
	return nil
}

// performLocked runs an action that takes turns. The caller has the turn.
func (s *session) performLocked(ctx context.Context, action string, args actionArgs) (any, error) {
	engine, err := s.engineFor(args)
	if err != nil {
		return nil, err
	}
	switch action {
	case "push":
		return s.pushLocked(ctx)
	case "pull":
		return s.pullLocked(ctx, engine)
	case "commit":
		r, err := engine.Commit(ctx, syncer.CommitOptions{Paths: args.Paths})
		return r, s.committed(r, err)
	case "sync-back":
		return s.syncBackLocked(ctx, engine)
	case "diff":
		entries, err := engine.Diff(ctx, args.Paths)
		return diffReport{Changes: emptyNotNull(entries)}, err
	case "discard":
		r, err := engine.Discard(ctx, args.Paths)
		return r, err
	case "sandbox-verify":
		return s.sandboxVerifyLocked(ctx, engine)
	case "restore":
		return s.restoreLocked(ctx, engine, args)
	case "recover":
		r, err := engine.Recover(ctx)
		return r, err
	}
	return nil, errNoAction
}

// engineFor is the session's engine, or one that goes on where that would ask.
func (s *session) engineFor(args actionArgs) (*syncer.Engine, error) {
	if !args.AllowDeletes || s.options.AllowDeletes {
		return s.engine, nil
	}
	o := s.options
	o.AllowDeletes = true
	return syncer.New(o)
}

// attachLocked meets the sandbox and keeps what was learnt of it for the next connection.
func (s *session) attachLocked(ctx context.Context) (syncer.AttachReport, error) {
	r, err := s.engine.Attach(ctx)
	if err != nil {
		return r, sandboxError(s.cfg.Backend, err)
	}
	if r.Probe == "" {
		return r, nil
	}
	meta, err := s.journal.Meta()
	if err == nil && meta.Probe != r.Probe {
		err = s.journal.UpdateMeta(func(m *journal.Meta) { m.Probe = r.Probe })
	}
	return r, err
}

func (s *session) pushLocked(ctx context.Context) (syncer.PushReport, error) {
	r, err := s.engine.Push(ctx)
	if err != nil {
		err = sandboxError(s.cfg.Backend, err)
	}
	s.remember(func(h *history, now *time.Time) {
		h.note(r.Problems, err)
		if err == nil && s.sandbox != nil {
			h.LastPush = now
		}
	})
	return r, err
}

func (s *session) pullLocked(ctx context.Context, engine *syncer.Engine) (syncer.PullReport, error) {
	r, err := engine.Pull(ctx)
	if err != nil {
		err = s.hint(sandboxError(s.cfg.Backend, err))
	}
	s.remember(func(h *history, now *time.Time) {
		h.note(r.Problems, err)
		if err == nil && s.sandbox != nil {
			h.LastPull = now
		}
	})
	return r, err
}

// hint says what to type after a sync back that did not come through.
func (s *session) hint(err error) error {
	if errors.Is(err, syncer.ErrIncomplete) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: everything is kept, try again with 'hermesfs sync-back %s'", err, s.dir.name)
	}
	var stop *syncer.StopError
	if errors.As(err, &stop) {
		return fmt.Errorf("%w: 'hermesfs sync-back %s %s'", err, stop.Flag, s.dir.name)
	}
	return err
}

// committed remembers a commit. Paths that could not be written make a sync back incomplete.
func (s *session) committed(r syncer.CommitReport, err error) error {
	if err == nil && len(r.Problems) > 0 {
		err = failf(exitIncomplete, "home %s: commit: %s could not be written and %s in the mount's upper layer: try again with 'hermesfs sync-back %s'",
			quote(s.cfg.Home), count(len(r.Problems), "path"), number(len(r.Problems), "stays", "stay"), s.dir.name)
	} else if err != nil {
		err = fmt.Errorf("home %s: %w", quote(s.cfg.Home), err)
	}
	s.remember(func(h *history, now *time.Time) {
		h.note(r.Problems, err)
		if len(r.Applied) > 0 {
			h.LastCommit = now
		}
	})
	return err
}

func (s *session) syncBackLocked(ctx context.Context, engine *syncer.Engine) (r syncer.SyncBackReport, err error) {
	if r.Pull, err = s.pullLocked(ctx, engine); err != nil {
		return r, err
	}
	r.Commit, err = engine.Commit(ctx, syncer.CommitOptions{})
	err = s.committed(r.Commit, err)
	s.remember(func(h *history, _ *time.Time) {
		h.Incomplete = err != nil || s.serving
		h.note(slices.Concat(r.Pull.Problems, r.Commit.Problems), err)
	})
	return r, err
}

// remember changes the mount's history and writes it. That it cannot be written is no reason
// to fail what was done.
func (s *session) remember(fn func(h *history, now *time.Time)) {
	now := time.Now().UTC()
	s.mu.Lock()
	fn(&s.hist, &now)
	h := s.hist
	s.mu.Unlock()
	if err := s.dir.setHistory(h); err != nil {
		s.log.Warn("history not written", "error", err)
	}
}

// note replaces what the last action came to.
func (h *history) note(p []syncer.Problem, err error) {
	if errors.Is(err, context.Canceled) || errors.As(err, new(*signalError)) {
		return // that was asked for, and says nothing
	}
	h.Err, h.Problems = "", p
	if err != nil {
		h.Err = err.Error()
	}
}

// emptyNotNull makes JSON show [] for none.
func emptyNotNull[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}
