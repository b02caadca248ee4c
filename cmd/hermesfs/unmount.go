package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"hermesfs/backends"
	syncer "hermesfs/sync"
)

type unmountOptions struct {
	name string
	args actionArgs
	json bool
}

func unmountCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "unmount", Aliases: []string{"umount"}, ArgsUsage: "NAME",
		Usage: "unmount, and bring home what the sandbox changed",
		Description: `Pulls, commits to the home, then ends the connection. A busy mount is left as it is, and the message says who uses it.
Ends with 3 when the sandbox could not be reached: then it is unmounted and everything is kept for 'hermesfs sync-back'.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "unmount although processes use it"},
			allowDeletesFlag(),
			&cli.StringFlag{Name: "on-unmount", Usage: "what becomes of the sandbox: keep, stop or terminate", DefaultText: "as mount said"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			o := unmountOptions{name: c.Args().First(), json: c.Bool("json"), args: actionArgs{
				Force: c.Bool("force"), AllowDeletes: c.Bool("allow-deletes"), OnUnmount: c.String("on-unmount"),
			}}
			if err := validDisposition(o.args.OnUnmount); err != nil {
				return err
			}
			return runUnmount(c.Context, o, e)
		},
	}
}

func runUnmount(ctx context.Context, o unmountOptions, e *env) error {
	r, err := unmount(ctx, e, o.name, o.args)
	if r.Name == "" { // nothing was done
		return err
	}
	warnSyncBack(e, r.Name, r.SyncBack)
	if len(r.Users) > 0 {
		e.say("%s: warning: was in use by %s", r.Name, usersText(r.Users))
	}
	return e.report(o.json, r, r.Name+": unmounted; "+syncBackText(r.SyncBack, r.Home), err)
}

// unmount ends a mount, also one whose daemon died. The report's name is empty when nothing was
// done.
func unmount(ctx context.Context, e *env, name string, args actionArgs) (r unmountReport, err error) {
	m, cfg, err := find(e, name)
	if err != nil {
		return r, err
	}
	c, lock, err := m.reach(ctx)
	if err != nil {
		return r, err
	}
	if c == nil {
		defer lock.Close()
		return unmountDead(ctx, e, m, cfg, args)
	}
	bar := newProgressLine(e)
	raw, err := c.do(ctx, "unmount", args, bar.show)
	bar.clear()
	if ctx.Err() != nil {
		e.say("%s: the daemon finishes the sync back by itself: see 'hermesfs status %s'", m.name, m.name)
		return r, context.Cause(ctx)
	}
	if len(raw) > 0 {
		err = errors.Join(err, json.Unmarshal(raw, &r))
	}
	if errors.Is(err, errStillMounted) || codeOf(err) == exitFailed {
		r.Name = ""
		return r, err
	}
	m.awaitEnd(ctx)
	return r, err
}

// awaitEnd waits until the daemon has ended, so that the next command finds the mount free.
func (m mountDir) awaitEnd(ctx context.Context) {
	if l, err := m.lock(ctx, 10*time.Second, nil); err == nil {
		l.Close()
	}
}

// unmountDead does for a mount without daemon what its daemon would have done.
func unmountDead(ctx context.Context, e *env, m mountDir, cfg mountConfig, args actionArgs) (r unmountReport, err error) {
	if m.unattended(cfg) != stateDead {
		h, herr := m.history()
		if herr == nil && h.Incomplete {
			return r, fmt.Errorf("%s is not mounted, but its sync back is incomplete: 'hermesfs sync-back %s'", m.name, m.name)
		}
		return r, fmt.Errorf("%s is not mounted", m.name)
	}
	if err := detach(cfg.Mountpoint); err != nil {
		return r, fmt.Errorf("dead mount at %s cannot be taken away: %w", quote(cfg.Mountpoint), err)
	}
	e.say("%s: the daemon had died; the mount is taken away and synced back", m.name)
	r = unmountReport{Name: m.name, Home: cfg.Home, Mountpoint: cfg.Mountpoint, Backend: cfg.Backend}
	s, err := openSession(m, cfg, commandLog(e), partEngine)
	if err != nil {
		return r, failf(exitIncomplete, "%s is unmounted, but: %w", m.name, err)
	}
	if _, err = s.engine.Recover(ctx); err == nil {
		var engine *syncer.Engine
		if engine, err = s.engineFor(args); err == nil {
			r.SyncBack, err = s.syncBackLocked(ctx, engine)
		}
	}
	keep := backends.Disposition(args.OnUnmount)
	if keep == backends.Default {
		keep = backends.Disposition(cfg.OnUnmount)
	}
	if err != nil {
		keep = backends.Keep
	}
	return r, errors.Join(err, s.close(context.WithoutCancel(ctx), keep))
}
