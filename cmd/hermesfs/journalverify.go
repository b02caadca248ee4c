package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"hermesfs/journal"
	syncer "hermesfs/sync"
)

type journalVerifyOptions struct {
	name string
	json bool
}

// A verifyProblem is one thing that is wrong with a journal.
type verifyProblem struct {
	Where   string `json:"where"` // file: the journal itself; mount: base against what the mount shows
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

type journalVerifyReport struct {
	Mount    string          `json:"mount"`
	Bases    int             `json:"bases"`   // paths that the journal has a base of
	Checked  int             `json:"checked"` // files of the mount whose content was compared with their base
	Problems []verifyProblem `json:"problems"`
}

func journalVerifyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check a mount's journal", ArgsUsage: "NAME",
		Description: `Checks the file, every record, what must hold between records, and against the mount that every file which the
journal takes for unchanged has the content that it says. Exit code 1 when something is wrong.`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runJournalVerify(c.Context, journalVerifyOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runJournalVerify(ctx context.Context, o journalVerifyOptions, e *env) error {
	m, _, err := find(e, o.name)
	if err != nil {
		return err
	}
	r := journalVerifyReport{Mount: m.name}
	err = ask(ctx, e, m.name, "journal-verify", actionArgs{}, &r)
	if errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrFormat) {
		// So damaged that it is not even opened.
		r.Problems = []verifyProblem{{Where: "file", Message: err.Error()}}
	} else if err != nil {
		return err
	}
	if o.json {
		err = e.printJSON(r)
	} else {
		for _, p := range r.Problems {
			if p.Path != "" {
				p.Message = quote(p.Path) + ": " + p.Message
			}
			fmt.Fprintf(e.out, "%s: %s\n", p.Where, p.Message)
		}
		_, err = fmt.Fprintf(e.out, "%s: %s, %s compared, %s\n", m.name,
			count(r.Bases, "path"), count(r.Checked, "file"), count(len(r.Problems), "problem"))
	}
	if len(r.Problems) > 0 {
		return errors.Join(failf(exitFailed, "the journal of %s has %s", m.name, count(len(r.Problems), "problem")), err)
	}
	return err
}

func (s *session) journalVerify(ctx context.Context) (journalVerifyReport, error) {
	r := journalVerifyReport{Mount: s.dir.name, Problems: []verifyProblem{}}
	err := s.journal.Verify(func(problem string) {
		r.Problems = append(r.Problems, verifyProblem{Where: "file", Message: problem})
	})
	if err != nil || len(r.Problems) > 0 {
		return r, err
	}
	bases, err := s.engine.VerifyBases(ctx, func(p syncer.Problem) {
		r.Problems = append(r.Problems, verifyProblem{Where: "mount", Path: p.Path, Message: p.Message})
	})
	r.Bases, r.Checked = bases.Bases, bases.Checked
	return r, err
}
