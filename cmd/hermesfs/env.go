package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// An env is what a command sees of the process it runs in.
type env struct {
	in     io.Reader
	out    io.Writer // results
	err    io.Writer // the rest
	getenv func(string) string
	exe    string // the program, to start daemons of
	sigs   *signals
	json   bool // errors are JSON too
}

// newEnv is the env of this process.
func newEnv() *env {
	return &env{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		getenv: os.Getenv,
		exe:    "/proc/self/exe", // also right when the file was replaced meanwhile
		sigs:   &signals{},
	}
}

// say writes one message for people.
func (e *env) say(format string, a ...any) {
	fmt.Fprintf(e.err, "hermesfs: "+format+"\n", a...)
}

// printJSON writes one report object.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// report prints what a command did: one object, or one line. After an error only an incomplete
// action has something to report, and only as an object; the error is returned.
func (e *env) report(asJSON bool, v any, line string, err error) error {
	switch {
	case err != nil && codeOf(err) != exitIncomplete:
		return err
	case asJSON:
		return errors.Join(err, e.printJSON(v))
	case err != nil:
		return err
	}
	_, err = fmt.Fprintln(e.out, line)
	return err
}

// terminal says whether a file or stream is a terminal.
func terminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// signals turns SIGINT and SIGTERM into the end of a context, or hands them to whoever diverts
// them.
type signals struct {
	mu   sync.Mutex // guards hand
	hand func(os.Signal)
}

// watch returns a context that the first SIGINT or SIGTERM cancels with a *signalError. A
// second one only says that the first was heard: what is being finished cannot be cut short.
func (s *signals) watch(parent context.Context, again func()) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range ch {
			s.mu.Lock()
			hand := s.hand
			s.mu.Unlock()
			switch {
			case hand != nil:
				hand(sig)
			case ctx.Err() != nil:
				again()
			default:
				cancel(&signalError{sig: sig})
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(ch)
		<-done
		cancel(nil)
	}
}

// divert sends signals to hand until restore is called.
func (s *signals) divert(hand func(os.Signal)) (restore func()) {
	s.mu.Lock()
	s.hand = hand
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.hand = nil
		s.mu.Unlock()
	}
}
