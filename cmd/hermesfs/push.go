package main

import (
	"context"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type pushOptions struct {
	name string
	json bool
}

func pushCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "push", Usage: "send what changed to the sandbox; it has everything when this returns", ArgsUsage: "NAME",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runPush(c.Context, pushOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runPush(ctx context.Context, o pushOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	var r syncer.PushReport
	if err := ask(ctx, e, m.name, "push", actionArgs{}, &r); err != nil {
		return err
	}
	warnProblems(e, m.name, r.Problems)
	for _, p := range r.Refused {
		e.say("%s: left alone: %s changed in the sandbox, the next pull sees to it", m.name, quote(p))
	}
	return e.report(o.json, r, m.name+": "+pushText(r, cfg.Backend), nil)
}
