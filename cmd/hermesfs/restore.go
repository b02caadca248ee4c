package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type restoreOptions struct {
	name    string
	version string // number of a commit, or an object
	paths   []string
	json    bool
}

func restoreCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "bring back what a commit replaced in the home", ArgsUsage: "NAME SEQ|OBJECT [PATH…]",
		Description: `SEQ is the number of a commit, as 'hermesfs history NAME' lists them: everything that it changed, or what is at or below
each PATH, is made as it was before. OBJECT is a version as 'hermesfs conflicts NAME' lists them, and is written to the one PATH.
A restore is a commit itself, and restoring that one takes it back. What the home got since the commit loses and is kept, with
a warning; a file that the commit created and that was changed since stays.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, -1, "the NAME of a mount and the number of a commit"); err != nil {
				return err
			}
			return runRestore(c.Context, restoreOptions{
				name: c.Args().First(), version: c.Args().Get(1), paths: c.Args().Slice()[2:], json: c.Bool("json"),
			}, e)
		},
	}
}

func runRestore(ctx context.Context, o restoreOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	args := actionArgs{}
	if args.Paths, err = homePaths(cfg, o.paths); err != nil {
		return err
	}
	if _, ok := syncer.ParseObject(o.version); ok {
		args.Object = o.version
		if len(args.Paths) != 1 || args.Paths[0] == "." {
			return usagef("restore of an object needs the one PATH to write it to: see 'hermesfs restore --help'")
		}
	} else if args.Seq, err = strconv.ParseUint(o.version, 10, 64); err != nil || args.Seq == 0 {
		return usagef("%s is neither the number of a commit nor an object: see 'hermesfs history %s'", quote(o.version), m.name)
	}
	var r syncer.RestoreReport
	err = ask(ctx, e, m.name, "restore", args, &r)
	warnCommit(e, m.name, r.CommitReport)
	return e.report(o.json, r, m.name+": "+restoreText(r, cfg.Home), err)
}

func restoreText(r syncer.RestoreReport, home string) string {
	if len(r.Applied) == 0 {
		return "nothing to restore in " + quote(home)
	}
	return fmt.Sprintf("restored %s in %s (commit %d)", count(len(r.Applied), "path"), quote(home), r.Seq)
}

func (s *session) restoreLocked(ctx context.Context, engine *syncer.Engine, args actionArgs) (r syncer.RestoreReport, err error) {
	if object, ok := syncer.ParseObject(args.Object); ok && len(args.Paths) == 1 {
		r, err = engine.RestoreObject(ctx, object, args.Paths[0])
	} else {
		r, err = engine.Restore(ctx, args.Seq, args.Paths)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("home %s: %w", quote(s.cfg.Home), err)
	case len(r.Problems) > 0:
		err = failf(exitIncomplete, "home %s: %s could not be restored", quote(s.cfg.Home), count(len(r.Problems), "path"))
	}
	s.remember(func(h *history, now *time.Time) {
		if len(r.Applied) > 0 {
			h.LastCommit = now
		}
	})
	return r, err
}
