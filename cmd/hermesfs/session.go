package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/shell"
	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
	syncer "hermesfs/sync"
)

// A session is one mount's state, open: what both the daemon and a command on a stopped mount
// work with. Its owner holds the mount's lock.
type session struct {
	dir     mountDir
	cfg     mountConfig
	log     *slog.Logger
	journal *journal.Journal
	policy  *access.Policy
	stack   *layer.Stack
	tree    *switchTree
	sandbox *shell.Sandbox // nil: none
	engine  *syncer.Engine
	options syncer.Options // of engine

	turn chan struct{} // holds one token: an action takes it, so that they take turns

	open   sync.RWMutex // read-held by what reads beside an action, write-held to close
	closed bool         // guarded by open

	mu       sync.Mutex // guards what follows
	hist     history
	progress func(any) // of the action that runs
}

// Parts of a session, each including the ones before.
type part int

const (
	partJournal part = iota
	partTree         // the layers; needs the home
	partEngine       // the sandbox is not connected before it is used
)

// openSession opens a mount's state as far as need goes. The caller closes it.
func openSession(dir mountDir, cfg mountConfig, log *slog.Logger, need part) (s *session, err error) {
	s = &session{dir: dir, cfg: cfg, log: log, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.Background(), backends.Keep))
			s = nil
		}
	}()
	if s.hist, err = dir.history(); err != nil {
		return s, err
	}
	if s.journal, err = journal.Open(dir.journal(), journal.Options{Timeout: lockWait}); err != nil {
		return s, err
	}
	if need >= partTree {
		if err = s.openTree(); err != nil {
			return s, err
		}
	}
	if need >= partEngine {
		err = s.openEngine()
	}
	return s, err
}

func (s *session) openTree() error {
	st, err := os.Stat(s.cfg.Home)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("home %s of mount %s does not exist any more: bring it back, or 'hermesfs forget %s'",
			quote(s.cfg.Home), s.dir.name, s.dir.name)
	case err != nil:
		return fmt.Errorf("home %s: %w", quote(s.cfg.Home), bare(err))
	case !st.IsDir():
		return fmt.Errorf("home %s is not a directory", quote(s.cfg.Home))
	}
	if s.policy, err = openPolicy(s.cfg, s.log); err != nil {
		return err
	}
	s.stack, err = layer.Open(layer.Options{
		Lower: s.cfg.Home, Upper: s.dir.upper(), Work: s.dir.work(), Policy: s.policy, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", s.dir.name, err)
	}
	s.tree = newSwitchTree(s.stack)
	return nil
}

// openPolicy makes the access policy of a mount. Bad entries of the home's config.yaml grant
// nothing and stop nothing.
func openPolicy(cfg mountConfig, log *slog.Logger) (*access.Policy, error) {
	o := access.Options{Preset: cfg.Preset}
	for _, text := range cfg.Rules {
		r, err := access.ParseRule(text)
		if err != nil {
			return nil, err
		}
		o.Rules = append(o.Rules, r)
	}
	b, err := os.ReadFile(filepath.Join(cfg.Home, "config.yaml"))
	switch {
	case errors.Is(err, iofs.ErrNotExist):
	case err != nil:
		log.Warn("home's config.yaml cannot be read", "error", err)
	default:
		if o.CredentialFiles, err = access.CredentialFiles(b); err != nil {
			log.Warn("home's config.yaml: credential files ignored", "error", err)
		}
	}
	return access.New(o)
}

func (s *session) openEngine() error {
	transport, err := openBackend(s.cfg.Backend)
	if err != nil {
		return err
	}
	s.options = syncer.Options{
		Name: s.dir.name, Home: s.cfg.Home, Tree: s.tree, SandboxURL: s.cfg.Backend,
		Journal: s.journal, Objects: s.dir.state.objects(), Policy: s.policy,
		Conflict: syncer.Policy(s.cfg.Conflict), AllowDeletes: s.cfg.AllowDelete, Log: s.log,
		Progress: s.report,
	}
	if transport != nil {
		meta, err := s.journal.Meta()
		if err != nil {
			return err
		}
		s.sandbox = shell.New(transport, shell.Options{Mount: s.dir.name, Probe: meta.Probe, Log: s.log})
		s.options.Sandbox = s.sandbox // only here: an interface with a nil *Sandbox is not nil
	}
	s.engine, err = syncer.New(s.options)
	return err
}

// report hands the engine's progress to the action that runs.
func (s *session) report(p syncer.Progress) {
	s.mu.Lock()
	fn := s.progress
	s.mu.Unlock()
	if fn != nil {
		fn(p)
	}
}

// close ends the connection, if there is one, and closes what is open. The caller has the turn.
func (s *session) close(ctx context.Context, d backends.Disposition) error {
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	var errs []error
	if s.sandbox != nil {
		if err := s.sandbox.Close(ctx, d); err != nil {
			errs = append(errs, sandboxError(s.cfg.Backend, err))
		}
	}
	if s.stack != nil {
		errs = append(errs, s.stack.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	return errors.Join(errs...)
}

// take waits for the session's turn; the caller calls what it returns.
func (s *session) take(ctx context.Context, progress func(any)) (release func(), err error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.watchProgress(progress)
	release = func() {
		s.watchProgress(nil)
		s.turn <- struct{}{}
	}
	done, err := s.read()
	if err != nil {
		release()
		return nil, err
	}
	done() // close waits for the turn
	return release, nil
}

func (s *session) watchProgress(progress func(any)) {
	s.mu.Lock()
	s.progress = progress
	s.mu.Unlock()
}

// read keeps the session open until the caller calls what it returns.
func (s *session) read() (done func(), err error) {
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return nil, fmt.Errorf("mount %s was unmounted meanwhile", s.dir.name)
	}
	return s.open.RUnlock, nil
}

// actionArgs are the arguments of any action.
type actionArgs struct {
	Paths        []string `json:"paths,omitempty"`
	AllowDeletes bool     `json:"allow_deletes,omitempty"`
	Force        bool     `json:"force,omitempty"`      // unmount
	OnUnmount    string   `json:"on_unmount,omitempty"` // unmount
}

// needs says which part of a session an action works with.
func needs(action string) part {
	switch action {
	case "journal-list", "status":
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

// reading is an action that only reads, which the journal and the layers allow beside whatever
// runs; nil for others.
func (s *session) reading(action string) func(context.Context, actionArgs) (any, error) {
	switch action {
	case "status":
		return func(ctx context.Context, _ actionArgs) (any, error) { return s.status(ctx) }
	case "journal-list":
		return func(context.Context, actionArgs) (any, error) { return s.journalList() }
	case "journal-show":
		return func(ctx context.Context, a actionArgs) (any, error) { return s.journalShow(ctx, a.Paths) }
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
		err = fmt.Errorf("push to %s: %w", quote(s.cfg.Backend), err)
	}
	s.remember(func(h *history, now *time.Time) {
		h.note(r.Problems, err)
		if err == nil {
			h.LastPush = now
		}
	})
	return r, err
}

func (s *session) pullLocked(ctx context.Context, engine *syncer.Engine) (syncer.PullReport, error) {
	r, err := engine.Pull(ctx)
	if err != nil {
		err = s.hint(fmt.Errorf("pull from %s: %w", quote(s.cfg.Backend), err))
	}
	s.remember(func(h *history, now *time.Time) {
		h.note(r.Problems, err)
		if err == nil {
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
		err = failf(exitIncomplete, "commit to %s: %s could not be written and stay in the mount's upper layer: try again with 'hermesfs sync-back %s'",
			quote(s.cfg.Home), count(len(r.Problems), "path"), s.dir.name)
	} else if err != nil {
		err = fmt.Errorf("commit to %s: %w", quote(s.cfg.Home), err)
	}
	s.remember(func(h *history, now *time.Time) {
		h.note(r.Problems, err)
		if err == nil || len(r.Applied) > 0 {
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
		h.Incomplete = err != nil
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
