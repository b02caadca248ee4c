package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// The descriptors that a supervisor and a daemon are born with, after stdio.
const (
	framesFD = 3 // frames of the start go out here
	lockFD   = 4 // the mount's lock, held
	leashFD  = 5 // of a supervisor, with --leash: its end is the parent's, and the order to unmount

	keeperFD    = 5 // of a daemon: the supervisor, see fs.Keeper
	keptLeashFD = 6 // of a daemon: leashFD
)

// maxLog is when a daemon's log is put aside as daemon.log.1.
const maxLog = 8 << 20

// A daemonProcess is a daemon that this process started.
type daemonProcess struct {
	cmd   *exec.Cmd
	leash *os.File // nil without
}

// release lets the daemon live on.
func (d *daemonProcess) release() { d.cmd.Process.Release() } //nolint:errcheck // it only frees

// startDaemon starts the daemon of a prepared mount in a session of its own and waits until the
// mount answers and the first push is done. When that fails nothing is mounted.
func startDaemon(ctx context.Context, e *env, p *prepared, leash bool, progress func(json.RawMessage)) (*daemonProcess, mountReport, error) {
	var r mountReport
	d, frames, err := p.spawn(e, leash)
	if err != nil {
		return nil, r, fmt.Errorf("start the daemon of %s: %w", p.dir.name, err)
	}
	defer frames.Close()
	// The daemon has the lock now, by its own descriptor.
	p.lock.Close()
	// Ctrl-C reaches only this process: pass it on, and wait for the daemon to clean up.
	stop := context.AfterFunc(ctx, func() { d.cmd.Process.Signal(syscall.SIGTERM) }) //nolint:errcheck // it ended
	raw, err := readFrames(frames, progress)
	stop()
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err == nil {
		r.Warnings, r.Resumed = append(p.notes, r.Warnings...), !p.fresh
		return d, r, nil
	}
	if d.leash != nil {
		d.leash.Close()
	}
	d.cmd.Wait() //nolint:errcheck // ProcessState tells
	if errors.Is(err, errNoAnswer) {
		err = fmt.Errorf("%w: the daemon of %s ended before the mount was ready (%s)%s: see %s",
			errNoAnswer, p.dir.name, d.cmd.ProcessState, lastLine(p.dir.log()), quote(p.dir.log()))
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, r, err
}

func (p *prepared) spawn(e *env, leash bool) (*daemonProcess, *os.File, error) {
	log, err := openLog(p.dir.log())
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	frames, child, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer child.Close()
	args := []string{"daemon", p.dir.name}
	files := []*os.File{framesFD - 3: child, lockFD - 3: p.lock.f}
	d := &daemonProcess{}
	if leash {
		var far *os.File
		if far, d.leash, err = os.Pipe(); err != nil {
			frames.Close()
			return nil, nil, err
		}
		defer far.Close()
		args, files = []string{"daemon", "--leash", p.dir.name}, append(files, far)
	}
	d.cmd = exec.Command(e.exe, args...)
	d.cmd.Args[0] = "hermesfs"
	d.cmd.Dir = "/" // it holds no directory of the user's
	d.cmd.Env = append(os.Environ(), "HERMESFS_STATE_DIR="+string(p.dir.state))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.ExtraFiles = files
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.cmd.Start(); err != nil {
		frames.Close()
		if d.leash != nil {
			d.leash.Close()
		}
		return nil, nil, err
	}
	return d, frames, nil
}

// openLog opens a daemon's log for appending; a large one is put aside first.
func openLog(path string) (*os.File, error) {
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// lastLine quotes the end of a log for a message.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > 4096 {
		f.Seek(-4096, io.SeekEnd) //nolint:errcheck // then the last line is found from the start
	}
	b, _ := io.ReadAll(f)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if last := lines[len(lines)-1]; len(last) > 0 {
		return ": " + quote(string(last))
	}
	return ""
}
