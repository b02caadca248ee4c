package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
	serving bool           // mounted: the sandbox goes on; changed only by who has the turn

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
	if err := s.nameJournal(); err != nil {
		return err
	}
	transport, err := openBackend(s.cfg.Backend, s.backendUser())
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

// nameJournal writes down once whose journal it is. The random identity keeps the temporary names of
// two mounts of one name, with state directories of their own, apart in a home that both commit to.
func (s *session) nameJournal() error {
	meta, err := s.journal.Meta()
	if err != nil || meta.MountID != "" {
		return err
	}
	return s.journal.UpdateMeta(func(m *journal.Meta) {
		m.Mount, m.MountID, m.Home, m.CreatedAt = s.dir.name, rand.Text()[:12], s.cfg.Home, time.Now()
	})
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
