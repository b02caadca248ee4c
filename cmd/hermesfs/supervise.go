package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"hermesfs/fs"
)

// maxTakeovers is how many daemons of one mount may die within a minute before it is given up.
const maxTakeovers = 10

func daemonCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "daemon", Usage: "hold one mount and start who serves it; started by mount", ArgsUsage: "NAME", Hidden: true,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "leash"}},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runSupervisor(c.Context, c.Args().First(), c.Bool("leash"), e)
		},
	}
}

// A supervisor holds the mount of a daemon and starts another daemon when that one dies: accesses
// to the mount wait meanwhile. It does little, so that it lives.
type supervisor struct {
	exe    string
	dir    mountDir
	leash  *os.File // nil without
	log    *slog.Logger
	holder fs.Holder
}

// runSupervisor is the life of a mount in the background. It only works as startDaemon starts it.
func runSupervisor(ctx context.Context, name string, leash bool, e *env) error {
	state, err := findStateDir(e.getenv)
	if err != nil {
		return err
	}
	s := &supervisor{exe: e.exe, dir: state.mount(name), log: e.daemonLog().With("mount", name)}
	if !s.dir.isLock(lockFD) {
		return usagef("daemon is started by 'hermesfs mount'")
	}
	defer s.holder.Close()
	for _, fd := range []int{framesFD, lockFD, leashFD} {
		if fd != leashFD || leash {
			unix.CloseOnExec(fd)
		}
	}
	if leash {
		s.leash = os.NewFile(leashFD, "leash")
	}
	frames := os.NewFile(framesFD, "frames")
	ended, ready, err := s.serve(ctx, frames, false)
	frames.Close()
	var deaths []time.Time
	for err == nil && ready && died(ended) && s.holder.Held() {
		s.log.Error("daemon died, another takes the mount over", "how", ended.String())
		deaths = slices.DeleteFunc(append(deaths, time.Now()), func(t time.Time) bool { return time.Since(t) > time.Minute })
		if len(deaths) > maxTakeovers {
			s.log.Error("daemons die again and again, the mount is given up")
			break
		}
		ended, _, err = s.serve(ctx, nil, true)
	}
	if err != nil {
		return err
	}
	return &exitError{code: max(ended.ExitCode(), -ended.ExitCode())}
}

// died says that a daemon did not end by itself: it was killed, or its program broke (a panic of
// Go's exits with 2).
func died(p *os.ProcessState) bool { return !p.Exited() || p.ExitCode() == 2 }

// serve runs one daemon to its end. Frames of its start go to frames; ready says that the mount
// was ready.
func (s *supervisor) serve(ctx context.Context, frames io.Writer, resume bool) (ended *os.ProcessState, ready bool, err error) {
	out, child, err := os.Pipe()
	if err != nil {
		return nil, false, err
	}
	defer out.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		child.Close()
		return nil, false, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "keeper")
	args := []string{"serve", "--supervisor", strconv.Itoa(os.Getpid())}
	files := []*os.File{framesFD - 3: child, lockFD - 3: os.NewFile(lockFD, "lock"), keeperFD - 3: theirs}
	if s.leash != nil {
		args, files = append(args, "--leash"), append(files, s.leash)
	}
	if resume {
		args = append(args, "--resume")
	}
	cmd := exec.Command(s.exe, append(args, s.dir.name)...)
	cmd.Args[0] = "hermesfs"
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = files
	err = cmd.Start()
	child.Close()
	theirs.Close()
	if err != nil {
		ours.Close()
		return nil, false, err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) }) //nolint:errcheck // it ended
	defer stop()
	go func() {
		if err := s.holder.Serve(ours, resume); err != nil {
			s.log.Error("keeper", "error", err)
		}
	}()
	ready = relay(out, frames)
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return nil, ready, err
	}
	return cmd.ProcessState, ready, nil
}

// relay passes the frames of a start on until they end, and says whether it went well.
func relay(from io.Reader, to io.Writer) (ready bool) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		var f frame
		if json.Unmarshal(bytes.TrimSpace(line), &f) == nil && f.Done {
			ready = f.Error == "" && f.Exit == exitOK
		}
		if to != nil && len(line) > 0 {
			if _, err := to.Write(line); err != nil {
				to = nil // nobody listens any more
			}
		}
		if err != nil {
			return ready
		}
	}
}

// resume goes on with the mount of a daemon that died. Who uses it waits until the overlay serves;
// the rest of the start is made up for after that, and what fails of it is tried again.
func (d *daemon) resume(ctx context.Context) error {
	s, err := openSession(d.dir, d.cfg, d.log, partEngine)
	if err != nil {
		return err
	}
	d.session = s
	release, err := d.take(ctx, nil)
	if err != nil {
		return err
	}
	defer release()
	d.remember(func(h *history, _ *time.Time) { h.Incomplete = true })
	if err := d.openOverlay(fs.Resume); err != nil {
		return err
	}
	if err := d.serveControl(); err != nil {
		return err
	}
	if _, err := d.engine.Recover(ctx); err != nil {
		return err
	}
	if _, err := d.attachLocked(ctx); err != nil {
		d.log.Warn("sandbox", "error", err)
	}
	return nil
}

// errNoKeeper is for who starts serve by hand.
var errNoKeeper = errors.New("serve is started by 'hermesfs daemon'")
