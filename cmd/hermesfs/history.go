package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type historyOptions struct {
	name string // "": every mount
	json bool
}

// A pastCommit is a commit of a mount.
type pastCommit struct {
	Mount string `json:"mount"`
	syncer.PastCommit
}

type historyReport struct {
	Commits []pastCommit `json:"commits"`
}

func historyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "list the commits to the home", ArgsUsage: "[NAME]",
		Description: `Newest first: of one mount, or without NAME of all. A commit is named by its mount and number, as in 'hermesfs restore NAME SEQ'.
With --json {"commits":[{"mount","seq","kind","started_at","ended_at","steps","applied","conflicts","problems"}…]}; kind is commit
or restore, ended_at is null while a commit runs or when it was interrupted.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1, ""); err != nil {
				return err
			}
			return runHistory(c.Context, historyOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runHistory(ctx context.Context, o historyOptions, e *env) error {
	all := historyReport{Commits: []pastCommit{}}
	failed := askEach(ctx, e, o.name, "history", func(m mountDir, r historyReport) {
		all.Commits = append(all.Commits, r.Commits...)
	})
	slices.SortStableFunc(all.Commits, func(a, b pastCommit) int { return b.StartedAt.Compare(a.StartedAt) })
	if o.json {
		return errors.Join(failed, e.printJSON(all))
	}
	if len(all.Commits) == 0 {
		return failed
	}
	w := tabwriter.NewWriter(e.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MOUNT\tSEQ\tTIME\tKIND\tSTEPS\tCONFLICTS\tPROBLEMS")
	for _, c := range all.Commits {
		kind := c.Kind
		if c.EndedAt == nil {
			kind += " (open)"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%d\n", c.Mount, c.Seq, c.StartedAt.Format(time.RFC3339), kind, c.Steps, c.Conflicts, c.Problems)
	}
	return errors.Join(failed, w.Flush())
}

// askEach has an action done on one mount, or on all, and calls fn with what each reports. A mount
// that fails does not keep the others from being asked.
func askEach[T any](ctx context.Context, e *env, name, action string, fn func(mountDir, T)) error {
	var dirs []mountDir
	if name != "" {
		m, _, err := find(e, name)
		if err != nil {
			return err
		}
		dirs = []mountDir{m}
	} else {
		state, err := findStateDir(e.getenv)
		if err != nil {
			return err
		}
		if dirs, err = state.list(); err != nil {
			return err
		}
	}
	var errs []error
	for _, m := range dirs {
		var r T
		if err := ask(ctx, e, m.name, action, actionArgs{}, &r); err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", action, m.name, err))
			continue
		}
		fn(m, r)
	}
	return errors.Join(errs...)
}

func (s *session) history() (historyReport, error) {
	r := historyReport{Commits: []pastCommit{}}
	commits, err := syncer.History(s.journal)
	for _, c := range commits {
		r.Commits = append(r.Commits, pastCommit{s.dir.name, c})
	}
	return r, err
}
