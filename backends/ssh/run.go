package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	osexec "os/exec"
	"sync/atomic"
	"time"

	"hermesfs/backends"
)

const (
	// killLimit bounds the errand of killing a cancelled script on the far side, of which Run waits
	// for killWait.
	killLimit = 10 * time.Second
	killWait  = 500 * time.Millisecond
	// startWait is how long the mark of a script may take that has started when it is cancelled.
	startWait = 200 * time.Millisecond
)

var errClosed = errors.New("the connection is closed")

// Run runs script with the far side's sh. A stdin whose Read blocks for ever keeps its goroutine
// until it returns.
func (t *Transport) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	mark := newMark()
	command, err := remoteCommand(script, mark)
	if err != nil {
		return fmt.Errorf("%s: %w", t.op(), err)
	}
	var in *pump
	if stdin != nil {
		in = newPump(stdin)
		defer in.end()
	}
	var out *counter
	if stdout != nil {
		out = &counter{w: stdout}
	}
	for again := false; ; again = true {
		err := t.attempt(ctx, command, mark, in, out)
		if again || !errors.Is(err, errNotStarted) || errors.Is(err, backends.ErrAuth) || ctx.Err() != nil ||
			in != nil && !in.canRepeat() || out.written() {
			return err
		}
		t.log.Info("ssh connection ended before the script started, connecting anew", "host", t.o.Host)
		if err := t.dropMaster(ctx); err != nil {
			return err
		}
	}
}

// attempt runs the command over the master, or over a connection of its own where that fails.
func (t *Transport) attempt(ctx context.Context, command, mark string, in *pump, out *counter) error {
	args, err := t.master(ctx)
	if err != nil {
		return err
	}
	stderr := newMarkedStderr(mark)
	if in != nil {
		stderr.onStart = in.forget
	}
	c := &client{
		cmd:    osexec.Command(t.o.Program, append(args, command)...),
		stdin:  in,
		stderr: stderr,
		onStop: func() { t.kill(args, stderr.waitStarted(startWait), mark) },
	}
	if out != nil {
		c.stdout = out
	}
	o, err := c.run(ctx)
	switch {
	case err != nil:
		return t.clientError(err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case o.out != nil:
		return fmt.Errorf("%s: stdout: %w", t.op(), o.out)
	case o.in != nil:
		return fmt.Errorf("%s: stdin: %w", t.op(), o.in)
	case o.code == exitTransport && stderr.started() == 0:
		return t.fault(errNotStarted, stderr.all())
	case o.code == exitTransport:
		return &backends.TransportError{Op: t.op(), Err: errLost, Stderr: stderr.all()}
	case stderr.started() == 0:
		return fmt.Errorf("%s: the login shell ended with status %d before sh ran the script: %s", t.op(), o.code, lastLine(stderr.all()))
	case o.code == 0:
		return nil
	}
	return &backends.ScriptError{Op: t.op(), Code: o.code, Stderr: stderr.script()}
}

// A counter remembers whether anything was written.
type counter struct {
	w io.Writer
	n atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.w.Write(p)
}

func (c *counter) written() bool { return c != nil && c.n.Load() > 0 }
