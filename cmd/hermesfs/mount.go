package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"hermesfs/backends"
	"hermesfs/fs/access"
	syncer "hermesfs/sync"
)

// mountOptions are the flags of mount and run.
type mountOptions struct {
	home, mountpoint string
	name             string
	backend          string
	exec             string
	preset           string
	rules            []string
	conflict         string
	onUnmount        string
	checkpoint       time.Duration
	allowDeletes     bool
	allowOther       bool
	foreground       bool
	json             bool
	ephemeral        bool
	given            func(flag string) bool // the flag stands on the command line
}

// A mountReport is what mount did.
type mountReport struct {
	Name       string                 `json:"name"`
	Home       string                 `json:"home"`
	Mountpoint string                 `json:"mountpoint"`
	Backend    string                 `json:"backend"`
	PID        int                    `json:"pid"`
	Resumed    bool                   `json:"resumed"` // an earlier mount of this name goes on
	Recovered  syncer.RecoverReport   `json:"recovered"`
	Attach     syncer.AttachReport    `json:"attach"`
	SyncBack   *syncer.SyncBackReport `json:"sync_back,omitempty"` // of the mount before, made up for
	Push       syncer.PushReport      `json:"push"`
	Warnings   []string               `json:"warnings,omitempty"`
}

func mountCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "mount a home and push it to a sandbox", ArgsUsage: "HOME MOUNTPOINT",
		Description: `Returns when the mount answers and the sandbox has the home's files. A mount of the same name and home
goes on from where it was; flags that are not given are as they were then.

Backends: ` + schemes + `.
Rules: GLOB=none|read|review|write, the last that matches wins, after the preset's.`,
		Flags: append(mountFlags(),
			&cli.BoolFlag{Name: "foreground", Usage: "stay in the foreground until unmounted"}, jsonFlag()),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, 2, "HOME and MOUNTPOINT"); err != nil {
				return err
			}
			o := parseMountFlags(c)
			o.mountpoint, o.foreground = c.Args().Get(1), c.Bool("foreground")
			return runMount(c.Context, o, e)
		},
	}
}

// mountFlags are common to mount and run.
func mountFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "backend", Usage: "`URL` of the sandbox, such as dir:PATH, ssh://USER@HOST:PORT/HOME or docker://NAME; 'mount --help' lists them all", DefaultText: "none"},
		&cli.StringFlag{Name: "exec", Usage: "with --backend command:, the `PREFIX` that runs a command in the sandbox, such as 'docker exec -i NAME'"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the mount", DefaultText: "base of MOUNTPOINT"},
		&cli.StringFlag{Name: "preset", Usage: "access preset: hermes or all", DefaultText: "hermes"},
		&cli.StringSliceFlag{Name: "rule", Usage: "access rule `GLOB=LEVEL`, may be repeated"},
		&cli.StringFlag{Name: "conflict", Usage: "who wins what both sides changed: theirs (the sandbox), ours, both or merge", DefaultText: "theirs"},
		&cli.StringFlag{Name: "on-unmount", Usage: "what becomes of the sandbox: keep, stop or terminate", DefaultText: "as the backend does"},
		&cli.DurationFlag{Name: "checkpoint", Usage: "pull every `DURATION` while mounted", DefaultText: "off"},
		&cli.BoolFlag{Name: "allow-other", Usage: "let other users of this machine use the mount"},
		allowDeletesFlag(),
	}
}

func parseMountFlags(c *cli.Context) mountOptions {
	return mountOptions{
		home: c.Args().First(), name: c.String("name"), backend: c.String("backend"), exec: c.String("exec"), preset: c.String("preset"),
		rules: c.StringSlice("rule"), conflict: c.String("conflict"), onUnmount: c.String("on-unmount"),
		checkpoint: c.Duration("checkpoint"), allowDeletes: c.Bool("allow-deletes"), allowOther: c.Bool("allow-other"),
		json: c.Bool("json"), given: c.IsSet,
	}
}

func runMount(ctx context.Context, o mountOptions, e *env) error {
	p, err := prepareMount(ctx, o, e)
	if err != nil {
		return err
	}
	defer p.lock.Close()
	if o.foreground {
		return runForeground(ctx, o, p, e)
	}
	bar := newProgressLine(e)
	d, r, err := startDaemon(ctx, e, p, false, bar.show)
	bar.clear()
	if err != nil {
		p.forgetFailed(err)
		return err
	}
	d.release()
	return printMount(e, o.json, r)
}

// forgetFailed removes the state of a new mount that failed before the sandbox was met, so that
// nothing of it is left. The log stays where the error refers to it.
func (p *prepared) forgetFailed(why error) {
	h, err := p.dir.history()
	if err != nil || !p.fresh || h.Incomplete || errors.Is(why, errNoAnswer) {
		return
	}
	if lock, err := p.dir.tryLock(); err == nil {
		defer lock.Close()
		p.dir.remove() //nolint:errcheck // then list shows it, stopped
	}
}

// printMount is the one line that says where the mount is and what the sandbox got.
func printMount(e *env, asJSON bool, r mountReport) error {
	for _, w := range r.Warnings {
		e.say("%s: warning: %s", r.Name, w)
	}
	if asJSON {
		return e.printJSON(r)
	}
	warnProblems(e, r.Name, r.Push.Problems)
	warnProblems(e, r.Name, r.Attach.Problems)
	to := "no sandbox"
	if r.Backend != noBackend {
		to = fmt.Sprintf("pushed %s, %s to %s", count(len(r.Push.Pushed), "path"), bytesText(r.Push.Bytes), quote(r.Backend))
		if n := len(r.Push.Deleted); n > 0 {
			to += fmt.Sprintf(", deleted %d", n)
		}
	}
	_, err := fmt.Fprintf(e.out, "%s: %s mounted at %s; %s\n", r.Name, quote(r.Home), quote(r.Mountpoint), to)
	return err
}

// A prepared mount has been checked; its lock is held and its config written.
type prepared struct {
	dir     mountDir
	cfg     mountConfig
	lock    *stateLock
	fresh   bool     // there was no state of this name
	resumed history  // of the mount before
	notes   []string // for the user
}

// prepareMount checks everything that can be checked before something starts, and takes the
// name.
func prepareMount(ctx context.Context, o mountOptions, e *env) (p *prepared, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	state, err := findStateDir(e.getenv)
	if err != nil {
		return nil, err
	}
	home, err := resolveHome(o.home)
	if err != nil {
		return nil, err
	}
	point, err := resolveMountpoint(o.mountpoint)
	if err != nil {
		return nil, err
	}
	if err := checkApart(home, point, state); err != nil {
		return nil, err
	}
	if !point.dead {
		if err := checkFree(o.mountpoint, point, state.mountedAt); err != nil {
			return nil, err
		}
	}
	if err := checkFUSE(); err != nil {
		return nil, err
	}
	name := o.name
	if name == "" {
		name = filepath.Base(point.path)
		if validName(name) != nil {
			return nil, fmt.Errorf("the mountpoint's name %s cannot be the name of a mount: give one with --name", quote(name))
		}
	}
	if err := state.create(); err != nil {
		return nil, err
	}
	return takeName(ctx, o, state.mount(name), home, point)
}

// validate looks at the flags alone.
func (o *mountOptions) validate() error {
	if o.name != "" {
		if err := validName(o.name); err != nil {
			return usagef("--name: %w", err)
		}
	}
	if o.exec != "" || o.given != nil && o.given("exec") {
		url, err := withExec(o.backend, o.exec)
		if err != nil {
			return usagef("--exec: %w", err)
		}
		o.backend = url
	}
	if _, err := openBackend(o.backend, backendUser{}); err != nil {
		return usagef("--backend: %w", err)
	}
	for _, r := range o.rules {
		if _, err := access.ParseRule(r); err != nil {
			return usagef("--rule: %w", err)
		}
	}
	if _, err := access.New(access.Options{Preset: o.preset}); err != nil {
		return usagef("--preset: %w", err)
	}
	if _, err := syncer.ParsePolicy(o.conflict); err != nil {
		return usagef("--conflict: %w", err)
	}
	if err := validDisposition(o.onUnmount); err != nil {
		return err
	}
	if o.checkpoint < 0 || o.checkpoint > 0 && o.checkpoint < time.Second {
		return usagef("--checkpoint %s: want a second or more, such as 90s or 10m", o.checkpoint)
	}
	return nil
}

func validDisposition(s string) error {
	switch backends.Disposition(s) {
	case backends.Default, backends.Keep, backends.Stop, backends.Terminate:
		return nil
	}
	return usagef("--on-unmount %s: want keep, stop or terminate", quote(s))
}

// mountedAt names the mount of ours that is at a path, "" when none is known.
func (s stateDir) mountedAt(path string) string {
	m, _, _ := s.at(path)
	return m.name
}

// takeName locks a mount's name, refuses what does not fit the state it has, takes a dead mount
// away and writes the config.
func takeName(ctx context.Context, o mountOptions, m mountDir, home string, point mountpoint) (p *prepared, err error) {
	old, err := m.config()
	p = &prepared{dir: m, fresh: errors.Is(err, iofs.ErrNotExist)}
	if err != nil && !p.fresh {
		return nil, err
	}
	if err := ensureDir(m.path()); err != nil {
		return nil, err
	}
	lock, err := m.lock(ctx, lockWait, func() error {
		c, err := m.connect(ctx)
		if err != nil {
			return nil
		}
		c.http.CloseIdleConnections()
		return fmt.Errorf("name %s is in use: %s is mounted at %s: give this one another with --name",
			m.name, quote(old.Home), quote(old.Mountpoint))
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	p.lock = lock
	if !p.fresh && old.Home != home {
		return nil, fmt.Errorf("name %s belongs to the home %s: give this one another with --name, or 'hermesfs forget %s'",
			m.name, quote(old.Home), m.name)
	}
	if p.resumed, err = m.history(); err != nil {
		return nil, err
	}
	p.cfg = o.config(old, home, point.path)
	if !p.fresh && p.resumed.Incomplete && p.cfg.Backend != old.Backend {
		return nil, fmt.Errorf("mount %s: its sync back from %s is incomplete: 'hermesfs sync-back %s' first, or give this mount another --name",
			m.name, quote(old.Backend), m.name)
	}
	if err := p.repair(point, old); err != nil {
		return nil, err
	}
	return p, m.setConfig(p.cfg)
}

// repair takes dead mounts away: of where this name was mounted before, and of the mountpoint.
func (p *prepared) repair(point mountpoint, old mountConfig) error {
	if old.Mountpoint != "" && old.Mountpoint != point.path && p.dir.unattended(old) == stateDead {
		if err := detach(old.Mountpoint); err != nil {
			p.notes = append(p.notes, fmt.Sprintf("the dead mount at %s could not be taken away: %v", quote(old.Mountpoint), err))
		}
	}
	if !point.dead {
		return nil
	}
	other := p.dir.state.mountedAt(point.path)
	if err := detach(point.path); err != nil {
		return fmt.Errorf("dead mount at %s cannot be taken away: %w: try 'fusermount3 -uz %s'",
			quote(point.path), err, shellQuote(point.path))
	}
	if other != "" && other != p.dir.name {
		p.notes = append(p.notes, fmt.Sprintf("the mount %s was here and died; its changes are kept: 'hermesfs sync-back %s'", other, other))
	}
	return checkFree(point.path, mountpoint{path: point.path}, p.dir.state.mountedAt)
}

// config is what a mount is to be: what the flags say, else what it was, else the defaults.
func (o *mountOptions) config(old mountConfig, home, point string) mountConfig {
	c := old
	c.Home, c.Mountpoint, c.Ephemeral = home, point, o.ephemeral
	if c.CreatedAt.IsZero() {
		c.CreatedAt = time.Now().UTC()
		c.Backend, c.Preset, c.Conflict = noBackend, "hermes", string(syncer.Theirs)
	}
	set := func(flag string, fn func()) {
		if o.given != nil && o.given(flag) {
			fn()
		}
	}
	set("backend", func() {
		c.Backend = o.backend
		if c.Backend == "" {
			c.Backend = noBackend
		}
	})
	set("preset", func() { c.Preset = o.preset })
	set("rule", func() { c.Rules = o.rules })
	set("conflict", func() { c.Conflict = o.conflict })
	set("on-unmount", func() { c.OnUnmount = o.onUnmount })
	set("checkpoint", func() { c.Checkpoint = duration(o.checkpoint) })
	set("allow-other", func() { c.AllowOther = o.allowOther })
	// Never remembered: a yes is for one time.
	c.AllowDelete = o.allowDeletes
	return c
}
