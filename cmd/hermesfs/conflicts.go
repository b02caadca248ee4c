package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type conflictsOptions struct {
	name string // "": every mount
	json bool
}

// A pastConflict is a conflict of a mount.
type pastConflict struct {
	Mount string `json:"mount"`
	syncer.PastConflict
	Restore string `json:"restore,omitempty"` // the command that brings the version that lost back; none: it is not kept
}

type conflictsReport struct {
	Conflicts []pastConflict `json:"conflicts"`
}

func conflictsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "conflicts", Usage: "list the conflicts that were decided, and how to get the other version back", ArgsUsage: "[NAME]",
		Description: `Newest first: of one mount, or without NAME of all.
With --json {"conflicts":[{"mount","at","seq","path","kind","where","winner","preimage","beside","restore"}…]}; seq is the commit
that replaced the version that lost, where is home, upper (a pull) or sandbox (the first push), winner is theirs (the sandbox),
ours or restored, preimage the object that has the other version, restore the command that brings it back.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1, ""); err != nil {
				return err
			}
			return runConflicts(c.Context, conflictsOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runConflicts(ctx context.Context, o conflictsOptions, e *env) error {
	all := conflictsReport{Conflicts: []pastConflict{}}
	failed := askEach(ctx, e, o.name, "conflicts", func(_ mountDir, r conflictsReport) {
		all.Conflicts = append(all.Conflicts, r.Conflicts...)
	})
	slices.SortStableFunc(all.Conflicts, func(a, b pastConflict) int { return b.At.Compare(a.At) })
	if o.json {
		return errors.Join(failed, e.printJSON(all))
	}
	for _, c := range all.Conflicts {
		fmt.Fprintf(e.out, "%s %s: %s (%s), %s won\n", c.At.Format(time.RFC3339), c.Mount, quote(c.Path), c.Kind, winnerText(c.Winner))
		switch {
		case c.Beside != "":
			fmt.Fprintf(e.out, "    the other: %s\n", quote(c.Beside))
		case c.Restore != "":
			fmt.Fprintf(e.out, "    the other: %s\n", c.Restore)
		case c.Preimage != "":
			fmt.Fprintln(e.out, "    the other is not kept any more")
		}
	}
	return failed
}

func (s *session) conflicts() (conflictsReport, error) {
	r := conflictsReport{Conflicts: []pastConflict{}}
	objects, err := syncer.OpenObjects(s.dir.state.objects())
	if err != nil {
		return r, err
	}
	past, err := syncer.Conflicts(s.journal)
	for _, c := range past {
		p := pastConflict{Mount: s.dir.name, PastConflict: c}
		object, named := syncer.ParseObject(c.Preimage)
		switch {
		case named && !objects.Has(object):
		case c.Seq != 0 && c.Winner != string(syncer.Ours):
			p.Restore = fmt.Sprintf("hermesfs restore %s %d %s", s.dir.name, c.Seq, shellQuote(c.Path))
		case named:
			p.Restore = fmt.Sprintf("hermesfs restore %s %s %s", s.dir.name, c.Preimage, shellQuote(c.Path))
		}
		r.Conflicts = append(r.Conflicts, p)
	}
	return r, err
}
