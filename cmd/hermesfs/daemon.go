package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hermesfs/backends"
	"hermesfs/fs"
)

func serveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve one mount; started by daemon", ArgsUsage: "NAME", Hidden: true,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "leash"}, &cli.BoolFlag{Name: "resume"}, &cli.IntFlag{Name: "supervisor"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runServe(c.Context, serveOptions{
				name: c.Args().First(), leash: c.Bool("leash"), resume: c.Bool("resume"), supervisor: c.Int("supervisor"),
			}, e)
		},
	}
}

// serveOptions are how a supervisor starts a daemon.
type serveOptions struct {
	name       string
	leash      bool
	resume     bool // the mount of a daemon that died
	supervisor int  // its process
}

// runServe is the life of a daemon in the background. It only works as a supervisor starts it.
func runServe(ctx context.Context, o serveOptions, e *env) error {
	state, err := findStateDir(e.getenv)
	if err != nil {
		return err
	}
	p := &prepared{dir: state.mount(o.name)}
	if !p.dir.isLock(lockFD) {
		return usagef("%w", errNoKeeper)
	}
	p.lock = inheritedLock(lockFD)
	defer p.lock.Close()
	unix.CloseOnExec(framesFD)
	unix.CloseOnExec(keeperFD)
	frames := os.NewFile(framesFD, "frames")
	out := &frameWriter{w: frames}
	var leashed io.Reader // nil, not a nil *os.File
	if o.leash {
		unix.CloseOnExec(keptLeashFD)
		leashed = os.NewFile(keptLeashFD, "leash")
	}
	var d *daemon
	p.cfg, err = p.dir.config()
	if err == nil {
		p.resumed, err = p.dir.history()
	}
	if err == nil {
		d = newDaemon(p, e.daemonLog())
		d.supervisor = o.supervisor
		d.keeper, err = fs.NewKeeper(os.NewFile(keeperFD, "keeper"))
	}
	if err != nil {
		out.send(lastFrame(nil, err))
		return err
	}
	defer d.keeper.Close()
	return d.live(ctx, leashed, o.resume, out.progress, func(r mountReport, err error) {
		out.send(lastFrame(r, err))
		frames.Close()
	})
}

// runForeground is mount --foreground.
func runForeground(ctx context.Context, o mountOptions, p *prepared, e *env) error {
	d := newDaemon(p, e.daemonLog())
	bar := newProgressLine(e)
	return d.live(ctx, nil, false, bar.showAny, func(r mountReport, err error) {
		bar.clear()
		if err == nil {
			r.Warnings, r.Resumed = append(p.notes, r.Warnings...), !p.fresh
			printMount(e, o.json, r) //nolint:errcheck // a closed stdout does not end a mount
		}
	})
}

// A daemon serves one mount, from start to its sync back.
type daemon struct {
	*session
	lock    *stateLock
	was     history // of the mount before
	overlay overlay
	pusher  *pusher
	stops   chan stopRequest // unmount requests
	gone    chan struct{}    // closed when the overlay is unmounted, by whomever
	ended   chan struct{}    // closed when the daemon takes no more requests

	keeper     *fs.Keeper // nil without a supervisor
	supervisor int        // its process

	stopStart context.CancelCauseFunc // ends a start that is under way
	server    *http.Server            // nil before the mount answers
	served    chan error              // of server
}

// A stopRequest asks the daemon to unmount; it is answered on done.
type stopRequest struct {
	args     actionArgs
	progress func(any)
	done     chan stopAnswer // buffered
}

type stopAnswer struct {
	report unmountReport
	err    error
}

func newDaemon(p *prepared, log *slog.Logger) *daemon {
	return &daemon{
		session: &session{dir: p.dir, cfg: p.cfg, log: log.With("mount", p.dir.name)},
		lock:    p.lock, was: p.resumed,
		stops: make(chan stopRequest), gone: make(chan struct{}), ended: make(chan struct{}),
	}
}

// live mounts, or resumes a mount, says so by ready (exactly once), serves until the end is asked
// for, and syncs back. Its error is of the start or of the sync back.
func (d *daemon) live(ctx context.Context, leash io.Reader, resume bool, progress func(any), ready func(mountReport, error)) error {
	defer d.shutdown() // after ended: who waits for it is answered first
	defer close(d.ended)
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.stopStart = cancel
	var r mountReport
	var err error
	if resume {
		err = d.resume(starting)
	} else {
		r, err = d.start(starting, progress)
	}
	if err != nil {
		if errors.Is(context.Cause(starting), errStopped) {
			err = failf(exitFailed, "mount %s: %w", d.dir.name, errStopped)
		}
		d.log.Error("mount failed", "error", err)
		err = errors.Join(err, d.abandon())
		ready(r, err)
		return err
	}
	d.log.Info("mounted", "home", d.cfg.Home, "mountpoint", d.cfg.Mountpoint, "backend", d.cfg.Backend)
	ready(r, nil)
	return d.serve(ctx, leash)
}

// errStopped: an unmount came before the first push was done.
var errStopped = errors.New("unmounted before the first push was done")

// shutdown ends the control socket; answers that are being written are finished.
func (d *daemon) shutdown() {
	if d.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := d.server.Shutdown(ctx)
	if serr := <-d.served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		d.log.Warn("control socket", "error", err)
	}
}

// start does everything up to the first push.
func (d *daemon) start(ctx context.Context, progress func(any)) (r mountReport, err error) {
	s, err := openSession(d.dir, d.cfg, d.log, partEngine)
	if err != nil {
		return r, err
	}
	d.session = s
	release, err := d.take(ctx, progress)
	if err != nil {
		return r, err
	}
	defer release()
	r = mountReport{
		Name: d.dir.name, Home: d.cfg.Home, Mountpoint: d.cfg.Mountpoint, Backend: d.cfg.Backend,
		PID: os.Getpid(),
	}
	if r.Recovered, err = d.engine.Recover(ctx); err != nil {
		return r, fmt.Errorf("mount %s: recover: %w", d.dir.name, err)
	}
	if r.Attach, err = d.attachLocked(ctx); err != nil {
		return r, err
	}
	if d.was.Incomplete {
		d.makeUp(ctx, &r)
	}
	d.remember(func(h *history, _ *time.Time) { h.Incomplete = true })
	if err = d.openOverlay(fs.Mount); err != nil {
		return r, err
	}
	// From here on others may ask: for the status, and to give up.
	if err = d.serveControl(); err != nil {
		return r, err
	}
	r.Push, err = d.pushLocked(ctx)
	return r, err
}

// openOverlay mounts or resumes the overlay and has the rest work through it.
func (d *daemon) openOverlay(open func(string, fs.Options) (*fs.Overlay, error)) error {
	d.pusher = newPusher()
	ov, err := open(d.cfg.Mountpoint, fs.Options{
		Stack: d.stack, Name: d.dir.name, AllowOther: d.cfg.AllowOther, Log: d.log, Changed: d.pusher.changed,
		Keeper: d.keeper,
	})
	if err != nil {
		return mountError(d.cfg, err)
	}
	d.overlay = ov
	d.tree.use(d.overlay)
	d.serving = true
	go func() {
		d.overlay.Wait()
		close(d.gone)
	}()
	return nil
}

// makeUp does the sync back that the mount before did not come to. When it fails again it stays
// to be done.
func (d *daemon) makeUp(ctx context.Context, r *mountReport) {
	sb, err := d.syncBackLocked(ctx, d.engine)
	r.SyncBack = &sb
	if err != nil {
		d.log.Warn("sync back of the mount before", "error", err)
		r.Warnings = append(r.Warnings, "sync back of the mount before: "+err.Error())
	}
}

func mountError(cfg mountConfig, err error) error {
	return fmt.Errorf("mount at %s: %w", quote(cfg.Mountpoint), err)
}

// abandon takes back what start did. The sandbox stays as it is, and what the upper layer has
// stays for the next mount.
func (d *daemon) abandon() error {
	var errs []error
	if d.overlay != nil {
		d.tree.use(d.stack)
		if err := d.overlay.Unmount(); err != nil {
			d.log.Warn("unmount", "error", err)
			errs = append(errs, d.overlay.Detach())
		}
	}
	if d.engine == nil {
		return errors.Join(errs...)
	}
	release, err := d.take(context.Background(), nil)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer release()
	bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(append(errs, d.close(bounded, backends.Keep))...)
}

// serveControl starts the control socket.
func (d *daemon) serveControl() error {
	l, err := d.dir.listen()
	if err != nil {
		return err
	}
	d.server = &http.Server{Handler: controlHandler(d), ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn)}
	d.served = make(chan error, 1)
	go func() { d.served <- d.server.Serve(l) }()
	return nil
}

// serve runs the background work until the end is asked for: by a request, a signal, the end of
// the leash or an unmount from outside. Then it syncs back.
func (d *daemon) serve(ctx context.Context, leash io.Reader) error {
	onLeash := leashEnd(leash)
	for {
		request := d.untilStop(ctx, onLeash)
		report, err := d.stop(request)
		request.done <- stopAnswer{report, err}
		if !errors.Is(err, errStillMounted) {
			return err
		}
	}
}

// untilStop works in the background until the mount is to end.
func (d *daemon) untilStop(ctx context.Context, leash <-chan struct{}) stopRequest {
	if d.pusher.dirty() {
		d.pusher.changed() // a push that the last attempt to stop cut short
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error { d.pusher.run(work, d.backgroundPush); return nil })
	g.Go(func() error { d.checkpoints(work); return nil })
	defer g.Wait() //nolint:errcheck // they have none
	defer cancel()
	end := func(why string) stopRequest {
		d.log.Info("unmounting", "reason", why)
		return stopRequest{args: actionArgs{Force: true}, progress: func(any) {}, done: make(chan stopAnswer, 1)}
	}
	select {
	case r := <-d.stops:
		return r
	case <-ctx.Done():
		return end(context.Cause(ctx).Error())
	case <-d.gone:
		return end("unmounted from outside")
	case <-leash:
		return end("the process that mounted ended")
	}
}

// leashEnd is closed when the other end of the leash is; never without one.
func leashEnd(leash io.Reader) <-chan struct{} {
	if leash == nil {
		return nil
	}
	ch := make(chan struct{})
	go func() {
		defer close(ch)
		io.Copy(io.Discard, leash) //nolint:errcheck // its end is all that counts
	}()
	return ch
}

// perform adds to the session's actions what only a daemon does.
func (d *daemon) perform(ctx context.Context, action string, raw json.RawMessage, progress func(any)) (any, error) {
	switch action {
	case "unmount":
		var args actionArgs
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, usagef("arguments of unmount: %w", err)
		}
		return d.requestStop(ctx, args, progress)
	case "status":
		r, err := d.status(ctx)
		r.State, r.PID, r.Supervisor, r.Dirty = stateMounted, os.Getpid(), d.supervisor, d.pusher.dirty()
		live := d.overlay.Live()
		r.Live = &live
		return r, err
	}
	return d.session.perform(ctx, action, raw, progress)
}

// backgroundPush pushes what changed; errors are for the log and the status.
func (d *daemon) backgroundPush(ctx context.Context) error {
	release, err := d.take(ctx, nil)
	if err != nil {
		return err
	}
	defer release()
	_, err = d.pushLocked(ctx) // the engine logs what it did
	if err != nil && ctx.Err() == nil {
		d.log.Warn("push", "error", err)
	}
	return err
}

// checkpoints pulls from time to time.
func (d *daemon) checkpoints(ctx context.Context) {
	every := time.Duration(d.cfg.Checkpoint)
	if every <= 0 || d.sandbox == nil {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		release, err := d.take(ctx, nil)
		if err != nil {
			return
		}
		_, err = d.pullLocked(ctx, d.engine)
		release()
		if err != nil && ctx.Err() == nil {
			d.log.Warn("checkpoint", "error", err)
		}
	}
}
