package ssh

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
	// A cancelled client may end by itself for so long.
	termGrace = 500 * time.Millisecond
	// What is still to be copied once nobody wants it any more is not waited for longer.
	copyGrace = 250 * time.Millisecond
)

// A client is one run of the ssh program.
type client struct {
	cmd    *osexec.Cmd
	stdin  *pump     // nil is /dev/null
	stdout io.Writer // nil discards
	stderr io.Writer
	onStop func() // called before the client is told to end early
}

// outcome is how a client ended.
type outcome struct {
	code int   // exit status, exitTransport when a signal ended it
	out  error // of stdout's Write
	in   error // of stdin's Read
}

// start starts the client as the leader of a process group and returns our ends of its pipes, nil
// where there is none.
func (c *client) start() (in, out, stderr *os.File, err error) {
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var theirs []*os.File
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	if c.stdin != nil {
		var r *os.File
		r, in = pipe()
		c.cmd.Stdin, theirs = r, append(theirs, r)
	}
	if c.stdout != nil {
		var w *os.File
		out, w = pipe()
		c.cmd.Stdout, theirs = w, append(theirs, w)
	}
	var w *os.File
	stderr, w = pipe()
	c.cmd.Stderr, theirs = w, append(theirs, w)
	if err == nil {
		err = c.cmd.Start()
	}
	closeAll(theirs...)
	if err != nil {
		closeAll(in, out, stderr)
	}
	return in, out, stderr, err
}

// run runs the client and moves its streams. Another process, the master, may hold the pipes too:
// they are read until they end, unless ctx is done.
func (c *client) run(ctx context.Context) (outcome, error) {
	inWrite, outRead, errRead, err := c.start()
	if err != nil {
		return outcome{}, err
	}
	stop, exited := make(chan struct{}, 2), make(chan struct{})
	outDone, errDone, inDone := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(c.stderr, errRead)
		errDone <- err
	}()
	if outRead == nil {
		outDone <- nil
	} else {
		go func() {
			_, err := io.Copy(c.stdout, outRead)
			if err != nil {
				stop <- struct{}{}
			}
			outDone <- err
		}()
	}
	if c.stdin == nil {
		inDone <- nil
	} else {
		c.stdin.feed(inWrite, func(err error) {
			if err != nil {
				stop <- struct{}{} // never let the script take half an input for all of it
			} else {
				inWrite.Close()
			}
			inDone <- err
		})
	}
	ended := make(chan struct{})
	go func() {
		c.end(ctx, stop, exited)
		close(ended)
	}()

	waitExit(c.cmd.Process.Pid)
	close(exited)
	<-ended // before the process is reaped, so that its group cannot be anyone else's
	waitErr := c.cmd.Wait()

	var o outcome
	select {
	case o.out = <-outDone:
	case <-ctx.Done():
		o.out = within(outDone, copyGrace)
	}
	_ = within(errDone, copyGrace) // an old ssh's master keeps it open
	closeAll(outRead, errRead, inWrite)
	o.in = within(inDone, copyGrace)
	var exit *osexec.ExitError
	if errors.As(waitErr, &exit) {
		if o.code = exit.ExitCode(); o.code < 0 { // a signal: that is not the script's end
			o.code = exitTransport
		}
	} else if waitErr != nil {
		return o, waitErr
	}
	return o, nil
}

// end asks the process group to end when ctx is cancelled or a stream failed, and kills it when it
// does not.
func (c *client) end(ctx context.Context, stop, exited <-chan struct{}) {
	select {
	case <-exited:
		return
	case <-ctx.Done():
	case <-stop:
	}
	if c.onStop != nil {
		c.onStop()
	}
	pid := c.cmd.Process.Pid
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	timer := time.NewTimer(termGrace)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
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
