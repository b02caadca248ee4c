package command

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hermesfs/backends"
)

const (
	lineBytes = 57 // of one line of base64, as the tools have it: 76 characters
	maxLine   = 16 << 10
	// stdin is told its end within this, when the script did not read all of it.
	finishLimit = 100 * time.Millisecond
)

// errGarbled is a text channel that is none.
var errGarbled = errors.New("what comes is not what was sent")

// runText passes lines of base64.
func (t *Transport) runText(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	mark := newMark()
	argv, err := t.argv(textFraming, mark, script)
	if err != nil {
		return err
	}
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	out := &textReader{mark: mark, w: stdout, ended: make(chan struct{})}
	var in textWriter
	stderr := &backends.StderrTail{}
	c := &client{
		cmd:    t.program(argv),
		feed:   func(w *os.File) error { return in.copy(w, stdin) },
		finish: in.finish,
		stdout: out,
		stderr: stderr,
		ended:  out.ended,
		linger: true,
		onStop: func() bool { return t.kill(int(out.pid.Load()), mark) },
	}
	o, err := c.run(ctx)
	f := out.f
	f.others = stderr.String()
	if f.ended {
		// Everything is here; a program that had to be told to end may say anything.
		o.code = 0
	} else if !f.started {
		f.others = capped(out.noise.String() + f.others)
	}
	if err := t.early(ctx, o, err); err != nil {
		return err
	}
	if out.none {
		return fmt.Errorf("%s: only text passes, and the sandbox has no base64", t.op())
	}
	return t.verdict(f, o.code)
}

// A textWriter is stdin as lines and, after them, one with a dot.
type textWriter struct {
	mu   sync.Mutex // held while a line is written
	done bool
}

// copy returns the error of the reader.
func (t *textWriter) copy(w io.Writer, r io.Reader) error {
	raw := make([]byte, 512*lineBytes)
	text := make([]byte, 0, 512*(base64.StdEncoding.EncodedLen(lineBytes)+1))
	kept := 0
	for {
		n, err := r.Read(raw[kept:])
		kept += n
		whole := kept - kept%lineBytes // what is not a whole line waits for more
		if err != nil {
			whole = kept
		}
		text = text[:0]
		for i := 0; i < whole; i += lineBytes {
			text = base64.StdEncoding.AppendEncode(text, raw[i:min(i+lineBytes, whole)])
			text = append(text, '\n')
		}
		kept = copy(raw, raw[whole:kept])
		if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
			return err
		}
		if err != nil {
			text = append(text, ".\n"...)
		}
		if !t.write(w, text) || err != nil {
			return nil
		}
	}
}

// write says whether more is wanted.
func (t *textWriter) write(w io.Writer, text []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return false
	}
	_, err := w.Write(text)
	return err == nil
}

// finish tells the far side that nothing follows, where it still reads.
func (t *textWriter) finish(w *os.File) {
	_ = w.SetWriteDeadline(time.Now().Add(finishLimit)) // also of a write under way
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = true
	_ = w.SetWriteDeadline(time.Now().Add(finishLimit))
	_, _ = w.WriteString("\n.\n")
}

// A textReader takes the lines of textScript apart.
type textReader struct {
	mark  string
	w     io.Writer
	ended chan struct{}
	pid   atomic.Int64

	line  []byte // what of a line has come
	noise backends.StderrTail
	none  bool // no base64 in the sandbox
	f     frame
}

// Write returns the error of what it writes to.
func (r *textReader) Write(p []byte) (int, error) {
	n := len(p)
	for !r.f.ended {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		r.line = append(r.line, line...)
		if !whole {
			if !r.f.started && len(r.line) > maxLine { // of a banner
				r.line = r.line[len(r.line)-maxLine:]
			}
			if len(r.line) > 2*maxLine {
				return 0, r.bad("a line without end")
			}
			return n, nil
		}
		p = rest
		if err := r.take(bytes.TrimSpace(r.line)); err != nil {
			return 0, err
		}
		r.line = r.line[:0]
	}
	return n, nil
}

func (r *textReader) take(line []byte) error {
	word, ours := bytes.CutPrefix(line, []byte(r.mark+":"))
	switch {
	case !r.f.started && ours && bytes.HasPrefix(word, []byte("begin ")):
		pid, _ := strconv.Atoi(string(word[len("begin "):]))
		r.pid.Store(int64(max(pid, 1)))
		r.f.started = true
	case !r.f.started && ours && string(word) == "none":
		r.none = true
	case !r.f.started:
		_, _ = r.noise.Write(append(line, '\n'))
	case ours && bytes.HasPrefix(word, []byte("end ")):
		return r.end(word[len("end "):])
	case len(line) > 0:
		raw, err := decode(line)
		if err != nil {
			return r.bad("a line that is not base64")
		}
		_, err = r.w.Write(raw)
		return err
	}
	return nil
}

// end reads the last of stderr, which the exit status follows on a line of its own.
func (r *textReader) end(field []byte) error {
	raw, err := decode(field)
	if err != nil {
		return r.bad("a damaged last line")
	}
	i := bytes.LastIndexByte(raw, '\n')
	code, err := strconv.Atoi(string(raw[i+1:]))
	if i < 0 || err != nil {
		return r.bad("no exit status")
	}
	r.f.ended, r.f.code, r.f.stderr = true, code, capped(string(raw[:i]))
	close(r.ended)
	return nil
}

func (r *textReader) bad(what string) error {
	return &backends.TransportError{Op: "text channel", Err: fmt.Errorf("%w: %s came", errGarbled, what)}
}

func decode(text []byte) ([]byte, error) {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(raw, text)
	return raw[:n], err
}
