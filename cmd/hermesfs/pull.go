package main

import (
	"context"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type pullOptions struct {
	name string
	args actionArgs
	json bool
}

func pullCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "pull", Usage: "bring what the sandbox changed into the mount, not yet into the home", ArgsUsage: "NAME",
		Flags: []cli.Flag{allowDeletesFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runPull(c.Context, pullOptions{
				name: c.Args().First(), json: c.Bool("json"), args: actionArgs{AllowDeletes: c.Bool("allow-deletes")},
			}, e)
		},
	}
}

func runPull(ctx context.Context, o pullOptions, e *env) error {
	m, _, err := find(e, o.name)
	if err != nil {
		return err
	}
	var r syncer.PullReport
	err = ask(ctx, e, m.name, "pull", o.args, &r)
	warnPull(e, m.name, r)
	return e.report(o.json, r, m.name+": "+pullText(r), err)
}
