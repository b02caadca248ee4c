package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type statusOptions struct {
	name string
	json bool
}

// A statusReport is all of a mount at a glance.
type statusReport struct {
	Name       string           `json:"name"`
	State      string           `json:"state"`
	Home       string           `json:"home"`
	Mountpoint string           `json:"mountpoint"`
	Backend    string           `json:"backend"`
	Preset     string           `json:"preset"`
	Rules      []string         `json:"rules"`
	Conflict   string           `json:"conflict"`
	PID        int              `json:"pid,omitempty"`        // of the daemon
	Supervisor int              `json:"supervisor,omitempty"` // process that replaces the daemon when it dies
	Live       *bool            `json:"live,omitempty"`       // changes of the home show at once; false: after a second
	Pushed     int              `json:"pushed"`               // paths that the sandbox has
	Pending    int              `json:"pending"`              // paths of a push that runs or was cut
	Dirty      bool             `json:"dirty"`                // changed since the last push began
	Changes    int              `json:"changes"`              // paths that upper changes
	LastPush   *time.Time       `json:"last_push,omitempty"`
	LastPull   *time.Time       `json:"last_pull,omitempty"`
	LastCommit *time.Time       `json:"last_commit,omitempty"`
	Incomplete bool             `json:"incomplete"` // not everything is home yet
	Error      string           `json:"error,omitempty"`
	Problems   []syncer.Problem `json:"problems"`
}

func statusCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show the state of a mount", ArgsUsage: "NAME",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runStatus(c.Context, statusOptions{name: c.Args().First(), json: c.Bool("json")}, e)
		},
	}
}

func runStatus(ctx context.Context, o statusOptions, e *env) error {
	var r statusReport
	if err := ask(ctx, e, o.name, "status", actionArgs{}, &r); err != nil {
		return err
	}
	if o.json {
		return e.printJSON(r)
	}
	line := func(name, format string, a ...any) {
		fmt.Fprintf(e.out, "%-12s"+format+"\n", append([]any{name}, a...)...)
	}
	line("name", "%s", r.Name)
	state := r.State
	if r.PID != 0 {
		state += fmt.Sprintf(" (daemon %d)", r.PID)
	}
	line("state", "%s", state)
	line("home", "%s", quote(r.Home))
	if r.Live != nil && !*r.Live {
		line("watches", "used up: changes of the home show after a second; raise fs.inotify.max_user_watches")
	}
	line("mountpoint", "%s", quote(r.Mountpoint))
	line("backend", "%s", quote(r.Backend))
	line("pushed", "%s", count(r.Pushed, "path"))
	if r.Pending > 0 {
		line("pending", "%s of a push that runs or was cut", count(r.Pending, "path"))
	}
	if r.Dirty {
		line("dirty", "changes wait to be pushed")
	}
	line("changes", "%s not in the home", count(r.Changes, "path"))
	printTime(line, "last push", r.LastPush)
	printTime(line, "last pull", r.LastPull)
	printTime(line, "last commit", r.LastCommit)
	if r.Incomplete && r.State != stateMounted {
		line("sync back", "incomplete: run 'hermesfs sync-back %s'", r.Name)
	}
	if r.Error != "" {
		line("error", "%s", r.Error)
	}
	for _, p := range r.Problems {
		line("problem", "%s: %s", quote(p.Path), p.Message)
	}
	return nil
}

func printTime(line func(string, string, ...any), name string, t *time.Time) {
	if t != nil {
		line(name, "%s", t.Local().Format("2006-01-02 15:04:05"))
	}
}

// status reports on a session that is open as far as it can be.
func (s *session) status(ctx context.Context) (statusReport, error) {
	r := statusReport{
		Name: s.dir.name, State: s.dir.unattended(s.cfg), Home: s.cfg.Home, Mountpoint: s.cfg.Mountpoint,
		Backend: s.cfg.Backend, Preset: s.cfg.Preset, Rules: emptyNotNull(s.cfg.Rules), Conflict: s.cfg.Conflict,
	}
	s.mu.Lock()
	h := s.hist
	s.mu.Unlock()
	r.LastPush, r.LastPull, r.LastCommit = h.LastPush, h.LastPull, h.LastCommit
	r.Incomplete, r.Error, r.Problems = h.Incomplete, h.Err, emptyNotNull(h.Problems)
	var err error
	if r.Pushed, err = s.journal.CountBases(); err != nil {
		return r, err
	}
	pending, err := s.journal.Pending()
	if err != nil {
		return r, err
	}
	r.Pending = len(pending)
	if s.stack == nil {
		if err := s.openTree(); err != nil {
			r.Error = err.Error()
			return r, nil
		}
	}
	r.Changes, err = s.countChanges(ctx)
	return r, err
}
