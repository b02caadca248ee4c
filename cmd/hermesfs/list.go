package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

type listOptions struct{ json bool }

// The states of a mount.
const (
	stateMounted = "mounted" // its daemon runs
	stateStopped = "stopped" // unmounted, its state is kept
	stateDead    = "dead"    // its daemon died, the mount is still in the mount table
)

// A listEntry is one mount as list shows it.
type listEntry struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	Home       string `json:"home"`
	Mountpoint string `json:"mountpoint"`
	Backend    string `json:"backend"`
	Error      string `json:"error,omitempty"` // its state cannot be read
}

func listCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the mounts that have state on this machine",
		Description: "NAME STATE HOME MOUNTPOINT BACKEND, one mount a line. STATE is mounted, stopped or dead (its daemon died; 'hermesfs recover NAME' repairs it).",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0, ""); err != nil {
				return err
			}
			return runList(c.Context, listOptions{json: c.Bool("json")}, e)
		},
	}
}

func runList(_ context.Context, o listOptions, e *env) error {
	state, err := findStateDir(e.getenv)
	if err != nil {
		return err
	}
	dirs, err := state.list()
	if err != nil {
		return err
	}
	entries := []listEntry{}
	for _, m := range dirs {
		cfg, err := m.config()
		l := listEntry{
			Name: m.name, State: m.condition(cfg), Home: cfg.Home,
			Mountpoint: cfg.Mountpoint, Backend: cfg.Backend,
		}
		if err != nil {
			l.Error = err.Error()
		}
		entries = append(entries, l)
	}
	if o.json {
		return e.printJSON(struct {
			Mounts []listEntry `json:"mounts"`
		}{entries})
	}
	w := tabwriter.NewWriter(e.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tHOME\tMOUNTPOINT\tBACKEND")
	for _, l := range entries {
		if l.Error != "" {
			e.say("%s", l.Error)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.State, quote(l.Home), quote(l.Mountpoint), quote(l.Backend))
	}
	return w.Flush()
}
