package main

import (
	"context"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type discardOptions struct {
	name  string
	paths []string
	json  bool
}

func discardCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "discard", Usage: "forget what the mount changed: the home's version shows again", ArgsUsage: "NAME PATH…",
		Description: "PATH is relative to the home and stands for all below it.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, -1, "the NAME of a mount and at least one PATH"); err != nil {
				return err
			}
			return runDiscard(c.Context, discardOptions{name: c.Args().First(), paths: c.Args().Tail(), json: c.Bool("json")}, e)
		},
	}
}

func runDiscard(ctx context.Context, o discardOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	paths, err := homePaths(cfg, o.paths)
	if err != nil {
		return err
	}
	var r syncer.DiscardReport
	err = ask(ctx, e, m.name, "discard", actionArgs{Paths: paths}, &r)
	warnProblems(e, m.name, r.Problems)
	if err == nil && len(r.Problems) > 0 {
		err = failf(exitIncomplete, "%s could not be discarded", count(len(r.Problems), "path"))
	}
	return e.report(o.json, r, m.name+": discarded "+count(len(r.Discarded), "path"), err)
}
