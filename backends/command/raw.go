package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"sync"
	"sync/atomic"

	"hermesfs/backends"
)

// errCut is a channel that ended before the script said how it ended.
var errCut = errors.New("the channel ended before the script did")

// runRaw passes the bytes of both streams as they are.
func (t *Transport) runRaw(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	return t.raw(ctx, script, stdin, stdout, t.kill)
}

// raw is runRaw; kill is called with what a cancelled script is known by.
func (t *Transport) raw(ctx context.Context, script string, stdin io.Reader, stdout io.Writer, kill func(pid int, mark string) bool) error {
	mark := newMark()
	argv, err := t.argv(rawFraming, mark, script)
	if err != nil {
		return err
	}
	stderr := &framedStderr{mark: mark, ended: make(chan struct{})}
	src := &source{Reader: stdin}
	c := &client{
		cmd: t.program(argv),
		feed: func(w *os.File) error {
			if stdin != nil {
				_, _ = io.Copy(w, src) // a script need not read all of it
			}
			return src.failed()
		},
		stdout: stdout,
		stderr: stderr,
		ended:  stderr.ended,
		onStop: func() bool { return kill(stderr.pid(), mark) },
	}
	o, err := c.run(ctx)
	f := stderr.frame()
	if err := t.early(ctx, o, err); err != nil {
		return err
	}
	return t.verdict(f, o.code)
}

// early returns what ended a run before its frame matters.
func (t *Transport) early(ctx context.Context, o outcome, err error) error {
	switch {
	case err != nil:
		return t.noProgram(err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case o.out != nil:
		return fmt.Errorf("%s: stdout: %w", t.op(), o.out)
	case o.in != nil:
		return fmt.Errorf("%s: stdin: %w", t.op(), o.in)
	}
	return nil
}

// A frame is what the far side said of a script.
type frame struct {
	started, ended bool
	code           int
	stderr         string // of the script
	others         string // what the program itself said, as far as that can be told
}

// verdict is how a script ended. The exit status of the program counts only where it tells of a
// failure that the script does not.
func (t *Transport) verdict(f frame, code int) error {
	switch {
	case !f.started:
		return t.fault(code, f.others)
	case !f.ended:
		return &backends.TransportError{Op: t.op(), Err: fmt.Errorf("%w (exit status %d)", errCut, code), Stderr: f.stderr + f.others}
	case f.code != 0:
		return &backends.ScriptError{Op: t.op(), Code: f.code, Stderr: f.stderr}
	case code != 0:
		return &backends.TransportError{Op: t.op(), Err: fmt.Errorf("exit status %d after a script that succeeded", code), Stderr: f.others}
	}
	return nil
}

// keepStderr is more than MaxStderr and the last line.
const keepStderr = 2 * backends.MaxStderr

// A framedStderr finds the two lines of rawScript.
type framedStderr struct {
	mark  string
	ended chan struct{} // closed when the last line has come

	mu    sync.Mutex // guards what follows
	far   int        // process id of the far sh, 0 until it has started
	buf   []byte     // up to the first line; after it the last of what came
	rest  []byte     // after the last line
	code  int
	isEnd bool
}

// Write never fails.
func (s *framedStderr) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isEnd {
		s.rest = last(append(s.rest, p...))
		return len(p), nil
	}
	s.buf = append(s.buf, p...)
	if s.far == 0 {
		if _, number, after, ok := cutLine(s.buf, s.mark+":begin "); ok {
			s.far, s.buf = max(number, 1), append([]byte{}, after...) // 1 is never ours: nothing to kill
		}
	}
	if s.far != 0 {
		if before, number, after, ok := cutLine(s.buf, "\n"+s.mark+":end "); ok {
			s.buf, s.code, s.isEnd, s.rest = before, number, true, last(append([]byte{}, after...))
			close(s.ended)
		}
	}
	s.buf = last(s.buf)
	return len(p), nil
}

func last(b []byte) []byte {
	if len(b) > 2*keepStderr {
		b = append([]byte{}, b[len(b)-keepStderr:]...)
	}
	return b
}

// cutLine finds the line that a prefix begins, and the number on it.
func cutLine(b []byte, prefix string) (before []byte, number int, after []byte, ok bool) {
	before, rest, ok := bytes.Cut(b, []byte(prefix))
	if !ok {
		return b, 0, nil, false
	}
	line, after, ok := bytes.Cut(rest, []byte("\n"))
	number, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	return before, number, after, ok && err == nil
}

func (s *framedStderr) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.far
}

func (s *framedStderr) frame() frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := frame{started: s.far != 0, ended: s.isEnd, code: s.code, others: capped(string(s.rest))}
	if f.started {
		f.stderr = capped(string(s.buf))
	} else {
		f.others = capped(string(s.buf))
	}
	return f
}

func capped(s string) string { return s[max(0, len(s)-backends.MaxStderr):] }

func (t *Transport) program(argv []string) *osexec.Cmd {
	cmd := osexec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), t.o.Env...)
	return cmd
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
