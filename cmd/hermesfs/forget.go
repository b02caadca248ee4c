package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"hermesfs/backends"
	"hermesfs/fs/layer"
)

type forgetOptions struct {
	name  string
	force bool
	json  bool
}

// A forgetReport is what forget removed.
type forgetReport struct {
	Name    string `json:"name"`
	Changes int    `json:"changes"` // paths of the upper layer that went with it
}

func forgetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "forget", Usage: "remove the state of an unmounted mount", ArgsUsage: "NAME",
		Description: "The home and the sandbox stay as they are. Stops to ask (exit 4) when changes would be lost that are not in the home.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "also when changes are lost"}, jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runForget(c.Context, forgetOptions{
				name: c.Args().First(), force: c.Bool("force"), json: c.Bool("json"),
			}, e)
		},
	}
}

func runForget(ctx context.Context, o forgetOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil && !(o.force && validName(o.name) == nil && m.name != "") {
		return err
	}
	c, lock, err := m.reach(ctx)
	if err != nil {
		return err
	}
	if c != nil {
		return fmt.Errorf("%s is mounted at %s: 'hermesfs unmount %s' first", m.name, quote(cfg.Mountpoint), m.name)
	}
	defer lock.Close()
	r := forgetReport{Name: m.name}
	if r.Changes, err = m.mayForget(ctx, e, cfg, o.force); err != nil {
		return err
	}
	if m.unattended(cfg) == stateDead {
		if err := detach(cfg.Mountpoint); err != nil {
			return fmt.Errorf("dead mount at %s cannot be taken away: %w", quote(cfg.Mountpoint), err)
		}
	}
	if err := m.remove(); err != nil {
		return err
	}
	if o.json {
		return e.printJSON(r)
	}
	_, err = fmt.Fprintf(e.out, "%s: forgotten\n", m.name)
	return err
}

// mayForget says whether nothing is lost with a mount's state, and how much is.
func (m mountDir) mayForget(ctx context.Context, e *env, cfg mountConfig, force bool) (int, error) {
	n, err := m.countChanges(ctx, e, cfg)
	if force {
		return n, nil
	}
	if err != nil {
		return 0, failf(exitAsk, "%s cannot be looked into (%w): 'hermesfs forget --force %s' removes it unseen", m.name, err, m.name)
	}
	if n > 0 {
		return 0, failf(exitAsk, "%s has %s that %s not in the home: see 'hermesfs diff %s'; 'hermesfs forget --force %s' drops %s",
			m.name, count(n, "change"), number(n, "is", "are"), m.name, m.name, number(n, "it", "them"))
	}
	h, err := m.history()
	if err == nil && h.Incomplete && cfg.Backend != noBackend {
		return 0, failf(exitAsk, "%s may have changes in the sandbox %s that are not in the home: 'hermesfs sync-back %s', or 'hermesfs forget --force %s'",
			m.name, quote(cfg.Backend), m.name, m.name)
	}
	return n, nil
}

func (m mountDir) countChanges(ctx context.Context, e *env, cfg mountConfig) (n int, err error) {
	s, err := openSession(m, cfg, commandLog(e), partTree)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close(ctx, backends.Keep)) }()
	return s.countChanges(ctx)
}

// countChanges counts what upper changes.
func (s *session) countChanges(ctx context.Context) (n int, err error) {
	err = s.tree.Changes(ctx, func(c layer.Change) error {
		// A directory that upper has for the sake of what is in it is no change.
		if c.Kind != layer.Dir || c.Origin.Kind != layer.Dir {
			n++
		}
		return nil
	})
	return n, err
}

// remove deletes a mount's state. The caller holds its lock.
func (m mountDir) remove() error {
	// Renamed first: no reader sees half of it, and a removal that is cut leaves no mount behind.
	gone, err := os.MkdirTemp(m.state.mounts(), ".forgotten-")
	if err != nil {
		return err
	}
	if err := os.Rename(m.path(), filepath.Join(gone, m.name)); err != nil {
		return errors.Join(fmt.Errorf("forget %s: %w", m.name, err), os.Remove(gone))
	}
	if err := removeAll(gone); err != nil {
		return fmt.Errorf("forget %s: %w", m.name, err)
	}
	return nil
}

// removeAll also removes directories whose modes forbid it, as a sandbox may have made them.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error { //nolint:errcheck // RemoveAll tells
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700) //nolint:errcheck // RemoveAll tells
		}
		return nil
	})
	return os.RemoveAll(dir)
}
