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
	name    string
	sandbox bool
	json    bool
}

// A verifyProblem is one thing that is wrong with a journal.
type verifyProblem struct {
	Where   string `json:"where"` // file: the journal itself; mount and sandbox: base against what they have
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

type journalVerifyReport struct {
	Mount    string          `json:"mount"`
	Bases    int             `json:"bases"`   // paths that the journal has a base of
	Checked  int             `json:"checked"` // files whose content was compared with their base, of mount and sandbox
	Problems []verifyProblem `json:"problems"`
}

func journalVerifyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check a mount's journal", ArgsUsage: "NAME",
		Description: `Checks the file, every record, what must hold between records, and against the mount that every file which the
journal takes for unchanged has the content that it says. With --sandbox the same of the sandbox. Exit code 1 when something is wrong.
With --json {"mount","bases","checked","problems":[{"where","path","message"}…]}; where is file, mount or sandbox.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "sandbox", Usage: "also compare with what the sandbox has"}, jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runJournalVerify(c.Context, journalVerifyOptions{
				name: c.Args().First(), sandbox: c.Bool("sandbox"), json: c.Bool("json"),
			}, e)
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
	if o.sandbox && len(r.Problems) == 0 {
		var far journalVerifyReport
		if err := ask(ctx, e, m.name, "sandbox-verify", actionArgs{}, &far); err != nil {
			return err
		}
		r.Checked += far.Checked
		r.Problems = append(r.Problems, far.Problems...)
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

// sandboxVerifyLocked asks the sandbox. The caller has the turn.
func (s *session) sandboxVerifyLocked(ctx context.Context, engine *syncer.Engine) (journalVerifyReport, error) {
	r := journalVerifyReport{Mount: s.dir.name, Problems: []verifyProblem{}}
	bases, err := engine.VerifySandbox(ctx, func(p syncer.Problem) {
		r.Problems = append(r.Problems, verifyProblem{Where: "sandbox", Path: p.Path, Message: p.Message})
	})
	r.Bases, r.Checked = bases.Bases, bases.Checked
	if err != nil {
		err = sandboxError(s.cfg.Backend, err)
	}
	return r, err
}
