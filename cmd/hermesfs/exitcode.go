package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	syncer "hermesfs/sync"
)

// The exit codes, as the manual page has them. Their numbers never change.
const (
	exitOK         = 0
	exitFailed     = 1   // nothing changed
	exitUsage      = 2   // wrong usage
	exitIncomplete = 3   // sync back is incomplete, everything is kept
	exitAsk        = 4   // stopped to ask, the message names the flag that says yes
	exitNotRunning = 126 // run: the command is there but cannot be run
	exitNotFound   = 127 // run: no such command
	exitSignal     = 128 // plus the signal's number
)

// An exitError is an error that knows its exit code. A nil err ends the program quietly, as
// run does with the code of its command.
type exitError struct {
	code int
	err  error
}

// Error is the message without "hermesfs:".
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

// failf is fmt.Errorf with an exit code.
func failf(code int, format string, a ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, a...)}
}

// usagef is a wrong usage.
func usagef(format string, a ...any) error { return failf(exitUsage, format, a...) }

// A signalError is the cause of a context that a signal cancelled.
type signalError struct{ sig os.Signal }

// Error names the signal.
func (e *signalError) Error() string {
	if n, ok := e.sig.(syscall.Signal); ok {
		return "interrupted by " + unix.SignalName(n)
	}
	return "interrupted by " + e.sig.String()
}

// codeOf maps an error to the exit code of the program.
func codeOf(err error) int {
	var (
		ee   *exitError
		sig  *signalError
		stop *syncer.StopError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ee):
		return ee.code
	case errors.As(err, &sig):
		if n, ok := sig.sig.(syscall.Signal); ok {
			return exitSignal + int(n)
		}
		return exitFailed
	case errors.As(err, &stop):
		return exitAsk
	case errors.Is(err, syncer.ErrIncomplete):
		return exitIncomplete
	}
	return exitFailed
}

// interrupted replaces what a command returned after a signal by the signal, except for codes
// that say more: what is incomplete or waits for an answer stays so.
func interrupted(ctx context.Context, err error) error {
	var sig *signalError
	if !errors.As(context.Cause(ctx), &sig) {
		return err
	}
	switch codeOf(err) {
	case exitIncomplete, exitAsk, exitUsage:
		return err
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.As(err, new(*signalError)) {
		return &exitError{code: codeOf(sig), err: fmt.Errorf("%w (%w)", err, sig)}
	}
	return sig
}
