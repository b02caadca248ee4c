package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"hermesfs/backends"
	syncer "hermesfs/sync"
)

type recoverOptions struct {
	name string // "": every mount
	json bool
}

// A recovered mount.
type recovered struct {
	Name      string               `json:"name"`
	Before    string               `json:"before"` // its state
	Remounted bool                 `json:"remounted"`
	Commit    syncer.RecoverReport `json:"commit"` // an interrupted commit that was finished
	Error     string               `json:"error,omitempty"`
}

func recoverCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "repair dead mounts and finish interrupted commits", ArgsUsage: "[NAME]",
		Description: "A mount whose daemon died is taken away and mounted again as it was; on a stopped one an interrupted commit is finished.\nWithout NAME all mounts are looked at.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1, ""); err != nil {
				return err
			}
			return runRecover(c.Context, recoverOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runRecover(ctx context.Context, o recoverOptions, e *env) error {
	var dirs []mountDir
	if o.name != "" {
		m, _, err := find(e, o.name)
		if err != nil {
			return err
		}
		dirs = append(dirs, m)
	} else {
		state, err := findStateDir(e.getenv)
		if err != nil {
			return err
		}
		if dirs, err = state.list(); err != nil {
			return err
		}
	}
	all := []recovered{}
	var errs []error
	for _, m := range dirs {
		r, err := recoverMount(ctx, e, m)
		if err != nil {
			r.Error = err.Error()
			errs = append(errs, fmt.Errorf("recover %s: %w", m.name, err))
		}
		all = append(all, r)
	}
	if o.json {
		errs = append(errs, e.printJSON(struct {
			Mounts []recovered `json:"mounts"`
		}{all}))
		return errors.Join(errs...)
	}
	for _, r := range all {
		if r.Error == "" {
			fmt.Fprintf(e.out, "%s: %s\n", r.Name, r.text())
		}
	}
	return errors.Join(errs...)
}

func (r recovered) text() string {
	text := "nothing to recover"
	switch {
	case r.Remounted:
		text = "was dead, mounted again"
	case r.Before == stateMounted:
		text = "runs"
	}
	if n := len(r.Commit.Commits); n > 0 {
		text = fmt.Sprintf("finished %s that had been interrupted", count(n, "commit"))
	}
	return text
}

func recoverMount(ctx context.Context, e *env, m mountDir) (recovered, error) {
	r := recovered{Name: m.name, Before: stateStopped}
	cfg, err := m.config()
	if err != nil {
		return r, err
	}
	c, lock, err := m.reach(ctx)
	if err != nil {
		return r, err
	}
	if c != nil {
		r.Before = stateMounted
		return r, nil
	}
	defer lock.Close()
	if r.Before = m.unattended(cfg); r.Before == stateDead {
		return r, remount(ctx, e, m, cfg, lock, &r)
	}
	s, err := openSession(m, cfg, commandLog(e), partEngine)
	if err != nil {
		return r, err
	}
	r.Commit, err = s.engine.Recover(ctx)
	return r, errors.Join(err, s.close(context.WithoutCancel(ctx), backends.Keep))
}

// remount takes a dead mount away and mounts it again as it was.
func remount(ctx context.Context, e *env, m mountDir, cfg mountConfig, lock *stateLock, r *recovered) error {
	if err := detach(cfg.Mountpoint); err != nil {
		return fmt.Errorf("dead mount at %s cannot be taken away: %w", quote(cfg.Mountpoint), err)
	}
	p := &prepared{dir: m, cfg: cfg, lock: lock}
	d, report, err := startDaemon(ctx, e, p, false, nil)
	if err != nil {
		return err
	}
	d.release()
	r.Remounted, r.Commit = true, report.Recovered
	return nil
}
