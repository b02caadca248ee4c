package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
	syncer "hermesfs/sync"
)

type journalShowOptions struct {
	name, path string
	json       bool
}

// A journalShowReport is everything known of one path.
type journalShowReport struct {
	Path    string            `json:"path"`
	Level   access.Level      `json:"level"`
	Base    *journalBase      `json:"base"`    // what both sides last agreed on, null for nothing
	Pending *pendingEntry     `json:"pending"` // of a push that was cut
	Foreign bool              `json:"foreign"` // stood in the sandbox before the first push
	Merged  *fileState        `json:"merged"`  // what the mount shows
	Home    *fileState        `json:"home"`    // what the home has
	Change  *syncer.DiffEntry `json:"change"`  // how the two differ
	Log     []logEntry        `json:"log"`
}

// A journalBase is the base of a path with what list leaves out.
type journalBase struct {
	journalEntry
	Kind       string `json:"kind"`
	Target     string `json:"target,omitempty"`
	Generation uint64 `json:"generation"`
}

// A pendingEntry is what a push that was cut was about to do.
type pendingEntry struct {
	Delete bool         `json:"delete"`
	Put    *journalBase `json:"put,omitempty"`
}

// A fileState is a path of one side.
type fileState struct {
	Kind   string `json:"kind"`
	Size   int64  `json:"size"`
	Mode   string `json:"mode"`
	Mtime  string `json:"mtime"`
	Target string `json:"target,omitempty"`
	Upper  bool   `json:"upper"` // stands in the upper layer
}

// A logEntry is one thing that happened to a path.
type logEntry struct {
	At     string `json:"at"`
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
}

func journalShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show everything known of one path", ArgsUsage: "NAME PATH",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, 2, "the NAME of a mount and a PATH"); err != nil {
				return err
			}
			return runJournalShow(c.Context, journalShowOptions{
				name: c.Args().First(), path: c.Args().Get(1), json: c.Bool("json"),
			}, e)
		},
	}
}

func runJournalShow(ctx context.Context, o journalShowOptions, e *env) error {
	_, cfg, err := find(e, o.name)
	if err != nil {
		return err
	}
	paths, err := homePaths(cfg, []string{o.path})
	if err != nil {
		return err
	}
	var r journalShowReport
	if err := ask(ctx, e, o.name, "journal-show", actionArgs{Paths: paths}, &r); err != nil {
		return err
	}
	if o.json {
		return e.printJSON(r)
	}
	line := func(name, format string, a ...any) {
		fmt.Fprintf(e.out, "%-9s"+format+"\n", append([]any{name}, a...)...)
	}
	line("path", "%s", quote(r.Path))
	line("level", "%s", r.Level)
	line("base", "%s", r.Base.text())
	if r.Pending != nil {
		if r.Pending.Delete {
			line("pending", "delete")
		} else {
			line("pending", "%s", r.Pending.Put.text())
		}
	}
	if r.Foreign {
		line("foreign", "stood in the sandbox before the first push")
	}
	line("mount", "%s", r.Merged.text())
	line("home", "%s", r.Home.text())
	if r.Change != nil {
		line("change", "%s", r.Change.Change)
	}
	for _, l := range r.Log {
		line("log", "%.19sZ %s %s", l.At, l.What, l.Detail)
	}
	return nil
}

func (b *journalBase) text() string {
	if b == nil {
		return "none"
	}
	text := fmt.Sprintf("%s %s, %d bytes, sha256 %s, pushed %.19sZ", b.Kind, b.Mode, b.Size, b.SHA256, b.PushedAt)
	if b.Target != "" {
		text += " -> " + quote(b.Target)
	}
	return text
}

func (f *fileState) text() string {
	if f == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%s %s, %d bytes, %.19sZ", f.Kind, f.Mode, f.Size, f.Mtime)
	if f.Target != "" {
		text += " -> " + quote(f.Target)
	}
	if f.Upper {
		text += ", in upper"
	}
	return text
}

// journalShow gathers what is known of a path. It is an error when nothing is.
func (s *session) journalShow(ctx context.Context, paths []string) (r journalShowReport, err error) {
	if len(paths) != 1 {
		return r, usagef("journal show wants one path")
	}
	path := paths[0]
	r = journalShowReport{Path: path, Level: s.policy.Level(path), Log: []logEntry{}}
	base, found, err := s.journal.Base(path)
	if err != nil {
		return r, err
	}
	if found {
		r.Base = baseOf(path, base)
	}
	pending, err := s.journal.Pending()
	if err != nil {
		return r, err
	}
	if p, ok := pending[path]; ok {
		r.Pending = &pendingEntry{Delete: p == nil}
		if p != nil {
			r.Pending.Put = baseOf(path, *p)
		}
	}
	foreign, err := s.journal.Foreign()
	if err != nil {
		return r, err
	}
	_, r.Foreign = foreign[path]
	err = s.journal.Log(path, func(ev journal.Event) error {
		r.Log = append(r.Log, logEntry{At: ev.At.UTC().Format(time.RFC3339Nano), What: ev.What, Detail: ev.Detail})
		return nil
	})
	if err != nil {
		return r, err
	}
	if err := s.showLayers(ctx, path, &r); err != nil {
		return r, err
	}
	if r.Base == nil && r.Pending == nil && !r.Foreign && r.Merged == nil && r.Home == nil && len(r.Log) == 0 {
		return r, fmt.Errorf("nothing is known of %s in mount %s: %w", quote(path), s.dir.name, journal.ErrNotFound)
	}
	return r, nil
}

// showLayers adds what the mount and the home have at a path.
func (s *session) showLayers(ctx context.Context, path string, r *journalShowReport) error {
	switch entry, err := s.tree.Lstat(path); {
	case err == nil:
		r.Merged = &fileState{
			Kind: kindText(uint8(entry.Kind)), Size: entry.Size, Mode: modeText(entry.Mode),
			Mtime: timeText(entry.Mtime), Target: entry.Target, Upper: entry.Upper,
		}
	case !errors.Is(err, iofs.ErrNotExist):
		return err
	}
	if r.Level == access.None {
		return nil // what is hidden from the sandbox is not looked at
	}
	var err error
	if r.Home, err = homeState(s.cfg.Home, path); err != nil {
		return err
	}
	if s.engine != nil {
		changes, err := s.engine.Diff(ctx, []string{path})
		if err != nil {
			return err
		}
		for _, c := range changes {
			if c.Path == path {
				r.Change = &c
			}
		}
	}
	return nil
}

// homeState looks at a path of the home, never through a symlink that leaves it.
func homeState(home, path string) (*fileState, error) {
	root, err := os.OpenRoot(home)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := root.Lstat(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := &fileState{
		Kind: "other", Size: st.Size(), Mode: modeText(uint32(st.Mode().Perm())), Mtime: timeText(st.ModTime().UnixNano()),
	}
	switch {
	case st.Mode().IsRegular():
		f.Kind = "file"
	case st.IsDir():
		f.Kind = "directory"
	case st.Mode()&iofs.ModeSymlink != 0:
		f.Kind = "symlink"
		f.Target, err = root.Readlink(path)
	}
	return f, err
}

func baseOf(path string, b journal.Base) *journalBase {
	return &journalBase{
		journalEntry: entryOf(path, b), Kind: kindText(uint8(b.Kind)), Target: b.Target, Generation: b.Generation,
	}
}

// kindText names a kind of the journal's or the layers', which have the same numbers.
func kindText(k uint8) string {
	switch k {
	case uint8(layer.File):
		return "file"
	case uint8(layer.Dir):
		return "directory"
	case uint8(layer.Symlink):
		return "symlink"
	}
	return "other"
}
