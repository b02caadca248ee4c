package main

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"hermesfs/journal"
)

type journalLogOptions struct {
	name, path string // path "": all
	json       bool
}

// A pathEvent is one thing that happened to a path.
type pathEvent struct {
	At        string `json:"at"`
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"` // base64; only of a path that is not UTF-8
	What      string `json:"what"`
	Detail    string `json:"detail,omitempty"`
}

type journalLogReport struct {
	Events []pathEvent `json:"events"`
}

func journalLogCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "log", Usage: "list what happened, of one path or of all", ArgsUsage: "NAME [PATH]",
		Description: `Oldest first. WHAT is pushed, deleted, pulled, committed, restored, conflict, kept, discarded and the like.
With --json {"events":[{"at","path","what","detail"}…]}; a path that is not UTF-8 has its bytes in "path_bytes", base64.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2, "the NAME of a mount"); err != nil {
				return err
			}
			return runJournalLog(c.Context, journalLogOptions{
				name: c.Args().First(), path: c.Args().Get(1), json: c.Bool("json"),
			}, e)
		},
	}
}

func runJournalLog(ctx context.Context, o journalLogOptions, e *env) error {
	m, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	var args actionArgs
	if o.path != "" {
		if args.Paths, err = homePaths(cfg, []string{o.path}); err != nil {
			return err
		}
	}
	var r journalLogReport
	if err := ask(ctx, e, m.name, "journal-log", args, &r); err != nil {
		return err
	}
	if o.json {
		return e.printJSON(r)
	}
	for _, ev := range r.Events {
		path := ev.Path
		if ev.PathBytes != nil {
			path = string(ev.PathBytes)
		}
		line := fmt.Sprintf("%.19sZ %-9s %s", ev.At, ev.What, quote(path))
		if ev.Detail != "" {
			line += "  " + ev.Detail
		}
		if _, err := fmt.Fprintln(e.out, line); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) journalLog(paths []string) (journalLogReport, error) {
	r := journalLogReport{Events: []pathEvent{}}
	path := ""
	if len(paths) > 0 {
		path = paths[0]
	}
	err := s.journal.Log(path, func(ev journal.Event) error {
		p := pathEvent{At: ev.At.UTC().Format(time.RFC3339Nano), Path: ev.Path, What: ev.What, Detail: ev.Detail}
		if !utf8.ValidString(ev.Path) {
			p.PathBytes = []byte(ev.Path)
		}
		r.Events = append(r.Events, p)
		return nil
	})
	return r, err
}
