package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/backends"
)

const (
	// A cancelled script may clean up after itself for so long.
	termGrace = time.Second
	// A stdin or stdout of the caller that blocks is not waited for longer than this.
	copyGrace = 500 * time.Millisecond
)

// run starts cmd as the leader of a process group and moves its streams. os/exec's own copying is
// not used: its WaitDelay would drop output that a slow stdout has not taken yet.
func run(ctx context.Context, op string, cmd *osexec.Cmd, stdin io.Reader, stdout io.Writer) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	fail := func(err error) error { return &backends.TransportError{Op: op, Err: err} }
	if stdout == nil {
		stdout = io.Discard
	}
	stderr := &backends.StderrTail{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var inRead, inWrite *os.File
	var err error
	if stdin != nil {
		if inRead, inWrite, err = os.Pipe(); err != nil {
			return fail(err)
		}
		cmd.Stdin = inRead
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		closeAll(inRead, inWrite)
		return fail(err)
	}
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		closeAll(inRead, inWrite, outRead, outWrite)
		return fail(err)
	}
	cmd.Stdout, cmd.Stderr = outWrite, errWrite
	err = cmd.Start()
	closeAll(inRead, outWrite, errWrite)
	if err != nil {
		closeAll(inWrite, outRead, errRead)
		return fail(err)
	}

	inDone, outDone, errDone := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	exited, stop := make(chan struct{}), make(chan struct{}, 2)
	go func() {
		_, err := io.Copy(stderr, errRead)
		errDone <- err
	}()
	go func() {
		_, err := io.Copy(stdout, outRead)
		if err != nil {
			stop <- struct{}{}
		}
		outDone <- err
	}()
	if stdin == nil {
		inDone <- nil
	} else {
		go func() {
			src := &source{Reader: stdin}
			_, _ = io.Copy(inWrite, src) // a script need not read all of it
			if src.failed() != nil {
				stop <- struct{}{} // never let the script take half an input for all of it
			}
			inWrite.Close()
			inDone <- src.failed()
		}()
	}
	go endGroup(ctx, cmd.Process.Pid, stop, exited)

	waitExit(cmd.Process.Pid)
	close(exited)
	// The leader is not reaped yet, so its group cannot be anyone else's.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	waitErr := cmd.Wait()

	// All of the output comes, however slow stdout is, unless nobody wants it any more.
	var outErr error
	select {
	case outErr = <-outDone:
	case <-ctx.Done():
		outErr = within(outDone, copyGrace)
	}
	// Closing the descriptors wakes what is still reading or writing them.
	closeAll(outRead, inWrite)
	_ = within(errDone, copyGrace)
	errRead.Close()
	inErr := within(inDone, copyGrace)

	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case outErr != nil:
		return fmt.Errorf("%s: stdout: %w", op, outErr)
	case inErr != nil:
		return fmt.Errorf("%s: stdin: %w", op, inErr)
	case waitErr == nil:
		return nil
	}
	var exit *osexec.ExitError
	if !errors.As(waitErr, &exit) {
		return &backends.TransportError{Op: op, Err: waitErr, Stderr: stderr.String()}
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return &backends.ScriptError{Op: op, Code: code, Stderr: stderr.String()}
}

// endGroup asks the process group to end when ctx is cancelled or a stream failed, and kills it
// when it does not.
func endGroup(ctx context.Context, pid int, stop, exited <-chan struct{}) {
	select {
	case <-exited:
		return
	case <-ctx.Done():
	case <-stop:
	}
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	timer := time.NewTimer(termGrace)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
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

// source remembers the error of a reader, to tell it from one of the writer.
type source struct {
	io.Reader
	err atomic.Pointer[error]
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err.Store(&err)
	}
	return n, err
}

func (s *source) failed() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}
