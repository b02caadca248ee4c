package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hermesfs/backends"
	"hermesfs/fs"
	syncer "hermesfs/sync"
)

// errStillMounted: the mount could not be ended and goes on.
var errStillMounted = errors.New("still mounted")

// An unmountReport is what unmount did.
type unmountReport struct {
	Name       string                `json:"name"`
	Home       string                `json:"home"`
	Mountpoint string                `json:"mountpoint"`
	Backend    string                `json:"backend"`
	Users      []user                `json:"users,omitempty"` // that kept it busy
	SyncBack   syncer.SyncBackReport `json:"sync_back"`
}

// requestStop hands an unmount request to the daemon's main loop and waits for the answer.
// Once it was taken the client may go: the sync back is finished without it.
func (d *daemon) requestStop(ctx context.Context, args actionArgs, progress func(any)) (unmountReport, error) {
	d.stopStart(errStopped) // a start that is over does not notice
	r := stopRequest{args: args, progress: progress, done: make(chan stopAnswer, 1)}
	select {
	case d.stops <- r:
	case <-d.ended: // given up, or another request came first
		return d.unmountReport(), nil
	case <-ctx.Done():
		return unmountReport{}, context.Cause(ctx)
	}
	a := <-r.done
	return a.report, a.err
}

func (d *daemon) unmountReport() unmountReport {
	return unmountReport{
		Name: d.dir.name, Home: d.cfg.Home, Mountpoint: d.cfg.Mountpoint, Backend: d.cfg.Backend,
	}
}

// stop unmounts and syncs back. It returns errStillMounted when the mount is busy: then nothing
// was changed and the daemon goes on. Everything else is the end.
func (d *daemon) stop(r stopRequest) (unmountReport, error) {
	report := d.unmountReport()
	// Whatever asked for the end, what follows is finished.
	ctx := context.Background()
	release, err := d.take(ctx, r.progress)
	if err != nil {
		return report, err
	}
	defer release()
	if report.Users, err = d.takeOff(r.args.Force); err != nil {
		return report, err
	}
	d.serving = false
	engine, err := d.engineFor(r.args)
	if err == nil {
		report.SyncBack, err = d.syncBackLocked(ctx, engine)
	}
	if err != nil {
		d.log.Error("sync back", "error", err)
		err = fmt.Errorf("%s is unmounted, but: %w", d.dir.name, err)
	}
	// The sandbox ends only after its changes are home.
	if cerr := d.session.close(ctx, d.disposition(r.args, err)); cerr != nil {
		d.log.Warn("close", "error", cerr)
		if err == nil {
			err = failf(exitIncomplete, "%s is unmounted and synced back, but: %w", d.dir.name, cerr)
		}
	}
	d.log.Info("unmounted", "pulled", len(report.SyncBack.Pull.Pulled), "committed", len(report.SyncBack.Commit.Applied))
	return report, err
}

// takeOff unmounts the overlay. With force a busy one is detached: who uses it goes on until
// the daemon ends.
func (d *daemon) takeOff(force bool) ([]user, error) {
	select {
	case <-d.gone:
		d.tree.use(d.stack)
		return nil, nil
	default:
	}
	at, err := mountAt(d.cfg.Mountpoint)
	if err != nil {
		return nil, errors.Join(errStillMounted, err)
	}
	if at == nil || !at.ours() {
		// Detached from outside, and still in use: to wait for its users could be for ever.
		d.log.Warn("was detached from outside")
		return nil, nil
	}
	err = d.overlay.Unmount()
	if err == nil {
		d.tree.use(d.stack)
		return nil, nil
	}
	if !errors.Is(err, fs.ErrBusy) {
		select {
		case <-d.gone: // from outside, at the same moment
			d.tree.use(d.stack)
			return nil, nil
		default:
		}
	}
	users := usersOf(at)
	if !force {
		return users, busyError(d.dir.name, d.cfg.Mountpoint, users, err)
	}
	d.log.Warn("busy, detached", "users", usersText(users))
	if err := d.overlay.Detach(); err != nil {
		return users, errors.Join(errStillMounted, fmt.Errorf("detach %s: %w", quote(d.cfg.Mountpoint), err))
	}
	// The overlay still serves who has it open, so it stays the only writer of upper.
	return users, nil
}

func busyError(name, point string, users []user, err error) error {
	if !errors.Is(err, fs.ErrBusy) {
		return &exitError{code: exitFailed, err: errors.Join(errStillMounted, fmt.Errorf("unmount %s: %w", quote(point), err))}
	}
	who := "a process that is not visible to this user"
	if len(users) > 0 {
		who = usersText(users)
	}
	return &exitError{code: exitFailed, err: &stillMounted{
		msg: fmt.Sprintf("%s is busy, nothing was changed: in use by %s: end them, or 'hermesfs unmount --force %s'", quote(point), who, name),
	}}
}

// stillMounted is errStillMounted with its own message.
type stillMounted struct{ msg string }

// Error is the message.
func (e *stillMounted) Error() string { return e.msg }

// Is makes it errStillMounted.
func (e *stillMounted) Is(target error) bool { return target == errStillMounted }

func usersText(users []user) string {
	var parts []string
	for i, u := range users {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("%d more", len(users)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s (%d, %s)", quote(u.Command), u.PID, u.How))
	}
	return strings.Join(parts, ", ")
}

// disposition says what becomes of the sandbox. It is kept while it has what is not home.
func (d *daemon) disposition(args actionArgs, err error) backends.Disposition {
	switch {
	case err != nil:
		return backends.Keep
	case args.OnUnmount != "":
		return backends.Disposition(args.OnUnmount)
	}
	return backends.Disposition(d.cfg.OnUnmount)
}
