package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func runCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "mount, run a command with HERMES_HOME set to the mount, unmount", ArgsUsage: "HOME -- COMMAND…",
		Description: `Ends with the code of the command, 128+n when signal n ended it; with 3 or 4 only when the command succeeded
and the sync back did not. Signals go to the command. HERMESFS_NAME is the name of the mount.
Without --name the state is removed afterwards, unless changes are in it that did not go home.`,
		Flags: append(mountFlags(), jsonFlag()),
		Action: func(c *cli.Context) error {
			before, command, ok := cutAt(c.Args().Slice(), "--")
			switch {
			case !ok || len(command) == 0:
				return usagef("run needs HOME, then -- and a command: see 'hermesfs run --help'")
			case len(before) != 1:
				return usagef("run needs one HOME before the --: see 'hermesfs run --help'")
			}
			o := parseMountFlags(c)
			o.home = before[0]
			return runRun(c.Context, o, command, e)
		},
	}
}

func runRun(ctx context.Context, o mountOptions, command []string, e *env) error {
	program, err := lookCommand(command[0])
	if err != nil {
		return err
	}
	point, err := os.MkdirTemp("", "hermesfs-run-")
	if err != nil {
		return err
	}
	defer os.Remove(point) // fails on what is still mounted, as it should
	o.mountpoint = point
	if o.name == "" {
		o.name, o.ephemeral = "run-"+filepath.Base(point)[len("hermesfs-run-"):], true
	}
	p, err := prepareMount(ctx, o, e)
	if err != nil {
		return err
	}
	defer p.lock.Close()
	bar := newProgressLine(e)
	d, report, err := startDaemon(ctx, e, p, true, bar.show)
	bar.clear()
	if err != nil {
		p.forgetFailed(err)
		return err
	}
	for _, w := range report.Warnings {
		e.say("%s: warning: %s", p.dir.name, w)
	}
	warnProblems(e, p.dir.name, report.Push.Problems)
	code, err := runChild(e, program, command, p)
	if uerr := endRun(e, p, d); uerr != nil {
		if err == nil && code == 0 {
			return uerr
		}
		e.say("%s", uerr)
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// lookCommand finds the command before anything is mounted for it.
func lookCommand(name string) (string, error) {
	p, err := exec.LookPath(name)
	switch {
	case err == nil || errors.Is(err, exec.ErrDot):
		return p, nil
	case errors.Is(err, iofs.ErrPermission):
		return "", failf(exitNotRunning, "command %s cannot be run: %w", quote(name), bare(errors.Unwrap(err)))
	}
	return "", failf(exitNotFound, "command %s not found", quote(name))
}

// runChild runs the command and passes signals on to it.
func runChild(e *env, program string, command []string, p *prepared) (code int, err error) {
	cmd := exec.Command(program, command[1:]...)
	cmd.Args[0] = command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.in, e.out, e.err
	cmd.Env = append(os.Environ(), "HERMES_HOME="+p.cfg.Mountpoint, "HERMESFS_NAME="+p.dir.name)
	forward := func(sig os.Signal) {
		if cmd.Process != nil && !fromTerminal(sig) {
			cmd.Process.Signal(sig) //nolint:errcheck // it ended
		}
	}
	started := make(chan struct{})
	restore := e.sigs.divert(func(sig os.Signal) {
		<-started
		forward(sig)
	})
	defer restore()
	err = cmd.Start()
	close(started)
	if err != nil {
		return 0, failf(exitNotRunning, "command %s cannot be run: %w", quote(command[0]), bare(err))
	}
	more := make(chan os.Signal, 8)
	signal.Notify(more, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range more {
			forward(sig)
		}
	}()
	err = cmd.Wait()
	signal.Stop(more)
	close(more)
	<-done
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return 0, fmt.Errorf("command %s: %w", quote(command[0]), err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitSignal + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// fromTerminal says whether the terminal sent a signal to the command too, so that passing it
// on would double it.
func fromTerminal(sig os.Signal) bool {
	if sig != syscall.SIGINT && sig != syscall.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// endRun unmounts and syncs back, although something that the command left behind may use the
// mount, and removes the state where nothing is in it.
func endRun(e *env, p *prepared, d *daemonProcess) error {
	restore := e.sigs.divert(func(os.Signal) {
		e.say("heard; the sync back is finished first")
	})
	defer restore()
	ctx := context.Background()
	r, err := unmount(ctx, e, p.dir.name, actionArgs{})
	for deadline := time.Now().Add(2 * time.Second); r.Name == "" && err != nil && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond) // a process that is just ending
		r, err = unmount(ctx, e, p.dir.name, actionArgs{})
	}
	if r.Name == "" && err != nil {
		e.say("%s: warning: %s", p.dir.name, err)
		r, err = unmount(ctx, e, p.dir.name, actionArgs{Force: true})
	}
	d.leash.Close()
	d.cmd.Wait() //nolint:errcheck // its answer said how it ended
	warnSyncBack(e, p.dir.name, r.SyncBack)
	if err != nil || !p.cfg.Ephemeral {
		return err
	}
	return p.forgetRun(ctx, e)
}

// forgetRun removes the state that run made, when nothing is lost with it.
func (p *prepared) forgetRun(ctx context.Context, e *env) error {
	lock, err := p.dir.lock(ctx, lockWait, nil)
	if err != nil {
		return err
	}
	defer lock.Close()
	n, err := p.dir.countChanges(ctx, e, p.cfg)
	if err != nil {
		return err
	}
	if n > 0 {
		e.say("%s: kept %s that did not go home: see 'hermesfs diff %s'; 'hermesfs forget --force %s' drops %s",
			p.dir.name, count(n, "change"), p.dir.name, p.dir.name, number(n, "it", "them"))
		return nil
	}
	return p.dir.remove()
}
