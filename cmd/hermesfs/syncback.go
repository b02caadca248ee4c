package main

import (
	"context"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type syncBackOptions struct {
	name string
	args actionArgs
	json bool
}

func syncBackCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "sync-back", Usage: "pull, then commit to the home; mounted or not", ArgsUsage: "NAME",
		Flags: []cli.Flag{allowDeletesFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runSyncBack(c.Context, syncBackOptions{
				name: c.Args().First(), json: c.Bool("json"), args: actionArgs{AllowDeletes: c.Bool("allow-deletes")},
			}, e)
		},
	}
}

func runSyncBack(ctx context.Context, o syncBackOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	var r syncer.SyncBackReport
	err = ask(ctx, e, m.name, "sync-back", o.args, &r)
	warnSyncBack(e, m.name, r)
	return e.report(o.json, r, m.name+": "+syncBackText(r, cfg.Home), err)
}
