package main

import (
	"context"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type commitOptions struct {
	name  string
	paths []string
	json  bool
}

func commitCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "commit", Usage: "take what the mount changed to the home", ArgsUsage: "NAME [PATH…]",
		Description: "Without PATH everything of level write; paths of level review only by name, each with all below it.\nPATH is relative to the home.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1, "the NAME of a mount"); err != nil {
				return err
			}
			return runCommit(c.Context, commitOptions{name: c.Args().First(), paths: c.Args().Tail(), json: c.Bool("json")}, e)
		},
	}
}

func runCommit(ctx context.Context, o commitOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	paths, err := homePaths(cfg, o.paths)
	if err != nil {
		return err
	}
	var r syncer.CommitReport
	err = ask(ctx, e, m.name, "commit", actionArgs{Paths: paths}, &r)
	warnCommit(e, m.name, r)
	return e.report(o.json, r, m.name+": "+commitText(r, cfg.Home), err)
}
