package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"hermesfs/fs/access"
	syncer "hermesfs/sync"
)

type diffOptions struct {
	name  string
	paths []string
	json  bool
}

// A diffReport is what diff prints with --json.
type diffReport struct {
	Changes []syncer.DiffEntry `json:"changes"`
}

func diffCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "list where the mount differs from the home", ArgsUsage: "NAME [PATH…]",
		Description: `One path a line: A added, M modified, D deleted, X mode changed, T type changed; "!" after it when the home
changed too; then the level, where it is not write. PATH is relative to the home and stands for all below it.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1, "the NAME of a mount"); err != nil {
				return err
			}
			return runDiff(c.Context, diffOptions{name: c.Args().First(), paths: c.Args().Tail(), json: c.Bool("json")}, e)
		},
	}
}

func runDiff(ctx context.Context, o diffOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	paths, err := homePaths(cfg, o.paths)
	if err != nil {
		return err
	}
	var r diffReport
	if err := ask(ctx, e, m.name, "diff", actionArgs{Paths: paths}, &r); err != nil {
		return err
	}
	if o.json {
		return e.printJSON(r)
	}
	for _, d := range r.Changes {
		mark, note := changeLetter(d.Change), ""
		if d.HomeChanged {
			mark += "!"
		}
		path := quote(d.Path)
		if d.Kind == "directory" {
			path += "/"
		}
		if d.Level != access.Write {
			note = "  (" + d.Level.String() + ")"
		}
		fmt.Fprintf(e.out, "%-2s %s%s\n", mark, path, note)
	}
	return nil
}

func changeLetter(change string) string {
	switch change {
	case "created":
		return "A"
	case "modified":
		return "M"
	case "deleted":
		return "D"
	case "chmod":
		return "X"
	case "type":
		return "T"
	}
	return "?"
}
