package modal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	sdk "github.com/modal-labs/modal-client/go"
)

const (
	// A script that is cancelled is waited for so long, and ended in the background after that.
	killWait = 1200 * time.Millisecond
	// Ending it is given up after so long; then its own time limit ends it.
	killLimit = 10 * time.Second
	// A stdout of the caller that blocks is not waited for longer when nobody wants it any more.
	copyGrace = 250 * time.Millisecond
	// What a script wrote to stderr comes this long after its exit status, or not.
	stderrGrace = time.Second
	// The sandbox is asked so often in vain before a silent script is given up.
	maxAsks = 4
)

// Run runs script with the sandbox's sh. A stdin whose Read blocks for ever keeps its goroutine
// until it returns.
func (t *Transport) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !t.enter() {
		return fmt.Errorf("%s: %w", t.op(), errClosed)
	}
	defer t.leave()
	mark := newMark()
	args, in, err := command(script, mark, stdin)
	if err != nil {
		return fmt.Errorf("%s: %w", t.op(), err)
	}
	sb, err := t.sandbox(ctx)
	if err != nil {
		return err
	}
	e := &execution{t: t, sb: sb, args: args, stderr: newStderr(mark)}
	return e.run(ctx, in, stdout)
}

// An execution is one script.
type execution struct {
	t      *Transport
	sb     *sdk.Sandbox
	args   []string
	stderr *markedStderr
	proc   *sdk.ContainerProcess
	in     *pump // nil is none
	got    atomic.Int64

	outDone chan copied
	errDone chan struct{}
	inDone  chan sent
	exited  chan exit
}

// exit is the answer to the question for an exit status.
type exit struct {
	code int
	err  error
}

// copied is how a copy of stdout ended.
type copied struct {
	read  error
	write error
}

func (e *execution) run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if err := e.start(ctx, stdout == nil); err != nil {
		return err
	}
	waitCtx, stopWaiting := context.WithCancel(context.WithoutCancel(ctx))
	e.move(waitCtx, stdin, stdout)
	verdict, over := e.watch(ctx)
	if over {
		stopWaiting()
		e.close()
		return verdict
	}
	if e.in != nil {
		e.in.stop()
	}
	_ = e.proc.Stdout.Close()
	told := make(chan struct{})
	e.t.background(func() {
		defer stopWaiting()
		if !errors.Is(verdict, ErrGone) {
			e.kill()
		}
		close(told)
		e.close()
	})
	timer := time.NewTimer(killWait)
	defer timer.Stop()
	select {
	case <-told:
	case <-timer.C:
	}
	_, _ = within(e.outDone, copyGrace)
	return verdict
}

// start begins the exec. When ctx ends first, it may have begun all the same, and is ended then.
func (e *execution) start(ctx context.Context, mute bool) error {
	params := &sdk.SandboxExecParams{Timeout: e.t.o.ExecTimeout}
	if deadline, ok := ctx.Deadline(); ok {
		// With time to spare, so that ctx ends first.
		seconds := math.Ceil(max(time.Until(deadline), 0).Seconds()) + 10
		params.Timeout = min(params.Timeout, time.Duration(seconds)*time.Second)
	}
	if mute {
		params.Stdout = sdk.Ignore
	}
	startCtx, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	type started struct {
		proc *sdk.ContainerProcess
		err  error
	}
	done := make(chan started, 1)
	e.t.background(func() {
		proc, err := e.sb.Exec(startCtx, e.args, params)
		done <- started{proc, err}
	})
	select {
	case s := <-done:
		giveUp()
		if s.err != nil {
			return e.t.diagnose(ctx, e.sb, s.err, "")
		}
		e.proc = s.proc
		return nil
	case <-ctx.Done():
	}
	e.t.background(func() {
		defer giveUp()
		timer := time.AfterFunc(killLimit, giveUp)
		defer timer.Stop()
		if s := <-done; s.err == nil {
			e.proc = s.proc
			waitCtx, stop := context.WithCancel(startCtx)
			defer stop()
			e.move(waitCtx, nil, nil)
			e.kill()
			e.close()
		}
	})
	return context.Cause(ctx)
}

// move starts what moves the streams and waits for the end.
func (e *execution) move(waitCtx context.Context, stdin io.Reader, stdout io.Writer) {
	e.outDone, e.errDone = make(chan copied, 1), make(chan struct{})
	e.inDone, e.exited = make(chan sent, 1), make(chan exit, 1)
	if stdout == nil {
		e.outDone <- copied{}
	} else {
		e.t.background(func() { e.outDone <- e.copyOut(stdout) })
	}
	e.t.background(func() {
		_, err := io.Copy(&counter{e.stderr, &e.got}, e.proc.Stderr)
		e.stderr.end(err)
		close(e.errDone)
	})
	if stdin == nil {
		e.inDone <- sent{}
	} else {
		e.in = startPump(stdin)
		e.t.background(func() { e.inDone <- e.in.send(e.proc.Stdin) })
	}
	e.t.background(func() {
		code, err := e.proc.Wait(waitCtx, nil)
		e.exited <- exit{code, err}
	})
}

func (e *execution) copyOut(stdout io.Writer) copied {
	buf := make([]byte, 256<<10)
	for {
		n, err := e.proc.Stdout.Read(buf)
		e.got.Add(int64(n))
		if n > 0 {
			if _, err := stdout.Write(buf[:n]); err != nil {
				return copied{write: err}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return copied{}
		case err != nil:
			return copied{read: err}
		}
	}
}

// close gives the streams back.
func (e *execution) close() {
	if e.in != nil {
		e.in.stop()
	}
	_ = e.proc.Stdout.Close()
	_ = e.proc.Stderr.Close()
}

// kill ends the script in the sandbox, for which it tries again where the channel is broken.
func (e *execution) kill() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	pid, ok := e.stderr.process(ctx)
	if !ok {
		return // it has ended before it began, with the sandbox
	}
	params := &sdk.SandboxExecParams{Timeout: killLimit, Stdout: sdk.Ignore, Stderr: sdk.Ignore}
	for {
		proc, err := e.sb.Exec(ctx, killCommand(pid, e.stderr.mark), params)
		if err == nil {
			_, err = proc.Wait(ctx, nil)
		}
		if err == nil || classify(err) == classGone {
			return
		}
		if !pause(ctx, 200*time.Millisecond) {
			e.t.log.Warn("cannot end a script in the sandbox, its time limit will", "sandbox", e.sb.SandboxID, "limit", e.t.o.ExecTimeout, "error", err)
			return
		}
	}
}

// A counter counts what is written.
type counter struct {
	w io.Writer
	n *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.w.Write(p)
}

// background runs f, which Close waits for. It is called only while something else is waited for.
func (t *Transport) background(f func()) {
	t.tasks.Add(1)
	go func() {
		defer t.tasks.Done()
		f()
	}()
}

// within waits for a value, not longer than d.
func within[T any](c <-chan T, d time.Duration) (v T, ok bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-c:
		return v, true
	case <-timer.C:
		return v, false
	}
}
