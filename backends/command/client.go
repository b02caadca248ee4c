package command

import (
	"context"
	"errors"
	"io"
	"os"
	osexec "os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A cancelled script may clean up for so long once it has been told to end, and the program,
	// if it still runs, for so long after that.
	cleanGrace = 500 * time.Millisecond
	termGrace  = 300 * time.Millisecond
	// What is still to be copied once nobody wants it any more is not waited for longer.
	copyGrace = 100 * time.Millisecond
	// A program whose script has ended, as the frame says, may take so long to end.
	lingerGrace = 2 * time.Second
)

// A client is one run of the program.
type client struct {
	cmd    *osexec.Cmd
	feed   func(w *os.File) error // fills stdin and returns why it could not read what to fill it with
	finish func(w *os.File)       // called once all of the script's output is known to be here; may be nil
	stdout io.Writer
	stderr io.Writer
	ended  <-chan struct{} // closed when the frame's end has come
	linger bool            // the program need not end by itself after that
	onStop func() bool     // tells the script to end when the program must end early; false: it cannot
}

// outcome is how a client ended.
type outcome struct {
	code    int // 128+n when a signal ended it
	out, in error
}

// run starts the client as the leader of a process group and moves its streams. os/exec's own
// copying would drop output that a slow stdout has not taken yet.
func (c *client) run(ctx context.Context) (outcome, error) {
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var ends [6]*os.File
	for i := 0; i < len(ends); i += 2 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ends[:]...)
			return outcome{}, err
		}
		ends[i], ends[i+1] = r, w
	}
	inRead, inWrite, outRead, outWrite, errRead, errWrite := ends[0], ends[1], ends[2], ends[3], ends[4], ends[5]
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = inRead, outWrite, errWrite
	if err := c.cmd.Start(); err != nil {
		closeAll(ends[:]...)
		return outcome{}, err
	}
	closeAll(inRead, outWrite, errWrite)

	stop, exited := make(chan struct{}, 2), make(chan struct{})
	outDone, inDone := make(chan error, 1), make(chan error, 1)
	drained := make(chan struct{}) // nothing of the group is left that could write to stderr
	go func() {
		_, _ = io.Copy(c.stderr, errRead)
		close(drained)
	}()
	go func() {
		_, err := io.Copy(c.stdout, outRead)
		if err != nil {
			stop <- struct{}{}
		}
		outDone <- err
	}()
	go func() {
		err := c.feed(inWrite)
		if err != nil {
			stop <- struct{}{} // never let the script take half an input for all of it
		} else {
			inWrite.Close()
		}
		inDone <- err
	}()
	stopped := make(chan struct{})
	go func() {
		c.end(ctx, inWrite, stop, exited, drained)
		close(stopped)
	}()

	waitExit(c.cmd.Process.Pid)
	close(exited)
	<-stopped // before the process is reaped, so that its group cannot be anyone else's
	waitErr := c.cmd.Wait()

	var o outcome
	select {
	case o.out = <-outDone:
	case <-ctx.Done():
		o.out = within(outDone, copyGrace)
	}
	wait(drained, copyGrace) // something in the background may keep it open
	closeAll(outRead, errRead, inWrite)
	o.in = within(inDone, copyGrace)
	var exit *osexec.ExitError
	if errors.As(waitErr, &exit) {
		o.code = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			o.code = 128 + int(status.Signal())
		}
		return o, nil
	}
	return o, waitErr
}

// end asks the process group to end when ctx is cancelled or a stream failed, and kills it when it
// does not.
func (c *client) end(ctx context.Context, stdin *os.File, stop, exited, drained <-chan struct{}) {
	var late <-chan time.Time
	for ended := c.ended; ; {
		select {
		case <-exited:
			return
		case <-ended:
			ended = nil
			if c.finish != nil {
				c.finish(stdin)
			}
			stdin.Close() // some programs wait for it
			if c.linger {
				timer := time.NewTimer(lingerGrace)
				defer timer.Stop()
				late = timer.C
			}
			continue
		case <-late:
			c.terminate(drained)
			return
		case <-ctx.Done():
		case <-stop:
		}
		break
	}
	// The script first, so that it can clean up: where the program hands on a signal, or the
	// sandbox is no more than namespaces, its end takes the script with it.
	if c.onStop() && wait(exited, cleanGrace) && wait(drained, cleanGrace) {
		return
	}
	c.terminate(drained)
}

func (c *client) terminate(drained <-chan struct{}) {
	pid := c.cmd.Process.Pid
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	wait(drained, termGrace)
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// wait says whether it came within d.
func wait(c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
		return false
	}
}

// waitExit waits until the process has ended and leaves it a zombie.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func within(done <-chan error, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return nil
	}
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
