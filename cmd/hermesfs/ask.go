package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"hermesfs/backends"
)

// find returns the mount that a NAME argument stands for: its name, or its mountpoint.
func find(e *env, arg string) (mountDir, mountConfig, error) {
	state, err := findStateDir(e.getenv)
	if err != nil {
		return mountDir{}, mountConfig{}, err
	}
	if validName(arg) == nil {
		m := state.mount(arg)
		cfg, err := m.config()
		if !errors.Is(err, iofs.ErrNotExist) {
			return m, cfg, err
		}
	}
	dirs, err := state.list()
	if err != nil {
		return mountDir{}, mountConfig{}, err
	}
	if m, cfg, ok := state.at(resolvedOr(arg)); ok {
		return m, cfg, nil
	}
	names := []string{}
	for _, m := range dirs {
		names = append(names, m.name)
	}
	return mountDir{}, mountConfig{}, noSuchMount(arg, names)
}

// at finds the mount at a resolved mountpoint: the one that is there, else the first that was.
func (s stateDir) at(path string) (found mountDir, cfg mountConfig, ok bool) {
	there, _ := mountAt(path)
	dirs, _ := s.list()
	for _, m := range dirs {
		c, err := m.config()
		if err != nil || c.Mountpoint != path {
			continue
		}
		if there != nil && there.name == m.name {
			return m, c, true
		}
		if !ok {
			found, cfg, ok = m, c, true
		}
	}
	return found, cfg, ok
}

func noSuchMount(arg string, names []string) error {
	switch {
	case len(names) == 0:
		return fmt.Errorf("no mount %s: there are none", quote(arg))
	case len(names) > 8:
		return fmt.Errorf("no mount %s: see 'hermesfs list'", quote(arg))
	}
	return fmt.Errorf("no mount %s: there is %s", quote(arg), strings.Join(names, ", "))
}

// resolvedOr is the absolute path without symlinks, as far as it can be found out. The last
// component is not looked at when it cannot be: it may be a dead mount.
func resolvedOr(arg string) string {
	abs, err := filepath.Abs(arg)
	if err != nil {
		return arg
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(parent, filepath.Base(abs))
	}
	return abs
}

// ask has an action done on a mount, by its daemon when one runs, else here. result, when not
// nil, receives what the action reports, also beside an error.
func ask(ctx context.Context, e *env, name, action string, args actionArgs, result any) error {
	m, _, err := find(e, name)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	c, lock, err := m.reach(ctx)
	switch {
	case err != nil:
		return err
	case c != nil:
		bar := newProgressLine(e)
		raw, err = c.do(ctx, action, args, bar.show)
		bar.clear()
	default:
		defer lock.Close()
		raw, err = performHere(ctx, e, m, action, args)
	}
	if len(raw) > 0 && result != nil {
		err = errors.Join(err, json.Unmarshal(raw, result))
	}
	return err
}

// reach connects to the daemon of a mount, or takes the mount's lock where none runs.
func (m mountDir) reach(ctx context.Context) (*client, *stateLock, error) {
	if c, err := m.connect(ctx); err == nil {
		return c, nil, nil
	}
	var c *client
	lock, err := m.lock(ctx, lockWait, func() error {
		var err error
		if c, err = m.connect(ctx); err == nil {
			return errDaemonUp
		}
		return nil
	})
	if errors.Is(err, errDaemonUp) {
		return c, nil, nil
	}
	return nil, lock, err
}

var errDaemonUp = errors.New("its daemon runs")

// performHere does an action in this process. The caller holds the lock.
func performHere(ctx context.Context, e *env, m mountDir, action string, args actionArgs) (raw json.RawMessage, err error) {
	cfg, err := m.config() // under the lock: it may have changed
	if err != nil {
		return nil, err
	}
	s, err := openSession(m, cfg, commandLog(e), needs(action))
	if err != nil {
		return nil, err
	}
	defer func() {
		// The connection goes, whatever becomes of the command.
		err = errors.Join(err, s.close(context.WithoutCancel(ctx), backends.Keep))
	}()
	in, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	bar := newProgressLine(e)
	result, err := s.perform(ctx, action, in, bar.showAny)
	bar.clear()
	out, merr := json.Marshal(result)
	return out, errors.Join(err, merr)
}

// ensureDir is os.MkdirAll for the state's own directories.
func ensureDir(path string) error { return os.MkdirAll(path, 0o700) }
