package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"hermesfs/journal"
)

func journalCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "journal", Usage: "show what mount and sandbox last agreed on",
		Subcommands: []*cli.Command{
			journalListCommand(e), journalShowCommand(e), journalLogCommand(e),
			journalVerifyCommand(e), journalExportCommand(e),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return unknownCommand(c, c.Command.Subcommands)
			}
			return usagef("journal needs a command, list, show, log, verify or export: see 'hermesfs journal --help'")
		},
	}
}

type journalListOptions struct {
	name string
	json bool
}

// A journalEntry is the base of one path. Modes are octal, times UTC.
type journalEntry struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"` // base64; only of a path that is not UTF-8
	SHA256    string `json:"sha256"`               // of a file's content; "" for a directory, of the target for a symlink
	Size      int64  `json:"size"`
	Mode      string `json:"mode"`
	Mtime     string `json:"mtime"`
	PushedAt  string `json:"pushed_at"`
}

type journalListReport struct {
	Entries []journalEntry `json:"entries"`
}

func journalListCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the base of every path", ArgsUsage: "NAME",
		Description: `With --json {"entries":[{"path","sha256","size","mode","mtime","pushed_at"}…]}, sorted by path: mode is octal ("0644"),
times are RFC 3339 with nanoseconds, UTC; a path that is not UTF-8 has its bytes in "path_bytes", base64.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runJournalList(c.Context, journalListOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runJournalList(ctx context.Context, o journalListOptions, e *env) error {
	var r journalListReport
	if err := ask(ctx, e, o.name, "journal-list", actionArgs{}, &r); err != nil {
		return err
	}
	if o.json {
		return e.printJSON(r)
	}
	w := tabwriter.NewWriter(e.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SHA256\tSIZE\tMODE\tPUSHED\tPATH")
	for _, j := range r.Entries {
		path := j.Path
		if j.PathBytes != nil {
			path = string(j.PathBytes)
		}
		sum := j.SHA256
		if sum == "" {
			sum = "-"
		}
		fmt.Fprintf(w, "%.12s\t%d\t%s\t%.19sZ\t%s\n", sum, j.Size, j.Mode, j.PushedAt, quote(path))
	}
	return w.Flush()
}

func (s *session) journalList() (journalListReport, error) {
	r := journalListReport{Entries: []journalEntry{}}
	err := s.journal.Bases(func(path string, b journal.Base) error {
		r.Entries = append(r.Entries, entryOf(path, b))
		return nil
	})
	return r, err
}

func entryOf(path string, b journal.Base) journalEntry {
	j := journalEntry{
		Path: path, Size: b.Size, Mode: modeText(b.Mode), Mtime: timeText(b.Mtime), PushedAt: timeText(b.PushedAt),
	}
	if !utf8.ValidString(path) {
		j.PathBytes = []byte(path)
	}
	if b.Kind == journal.Dir {
		j.Size = 0 // what a directory takes on disk means nothing elsewhere
	}
	if b.SHA256 != [32]byte{} {
		j.SHA256 = hex.EncodeToString(b.SHA256[:])
	}
	return j
}

func modeText(mode uint32) string { return fmt.Sprintf("%04o", mode&0o7777) }

// timeText is a time in nanoseconds since the epoch, as reports have it.
func timeText(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
