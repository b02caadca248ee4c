package shell

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"hermesfs/backends"
)

//go:embed scripts/*.sh
var scripts embed.FS

const (
	maxBanner = 1 << 20 // what rc files may print before the begin line
	maxAfter  = 1 << 20 // what is read on after an answer that makes no sense, to find the reason
)

// errCut is what a reader of an answer gets where the answer ends.
var errCut = errors.New("the answer ends before its time")

// The codes with which the scripts give up, in the manner of sysexits.h.
const (
	codeNoHome = 3
	codeRetry  = 75 // what arrived is not what was sent
)

// A verb is one script and what it is told.
type verb struct {
	name  string            // scripts/NAME.sh
	inner []string          // scripts that xargs runs, each in the variable of its name
	vars  map[string]string // shell variables
	list  string            // stdin, as scripts read it with input
	stdin io.Reader         // stdin, for what is no list
	id    string            // of the temporary directory, random when ""
	// body reads what stands between the begin line and the end line, exactly.
	body func(*bufio.Reader) error
}

// shellQuote makes one word of any bytes but NUL.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func script(name string) string {
	b, err := scripts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err) // embedded: our own mistake
	}
	return string(b)
}

func (s *Sandbox) compose(v *verb, nonce string, t tools) string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, shellQuote(value)) }
	set("n", nonce)
	set("home_opt", s.t.Home())
	set("mount", s.mount)
	set("instance", s.instance)
	set("id", cmp.Or(v.id, random(6)))
	set("len", strconv.Itoa(len(v.list)))
	set("tar", t.tar)
	set("sum", t.sum)
	set("stat", t.stat)
	set("lib", script("lib"))
	for name, value := range v.vars {
		set(name, value)
	}
	for _, name := range v.inner {
		set(name, script(name))
	}
	b.WriteString(script("prelude"))
	b.WriteString(script(v.name))
	return b.String()
}

// call runs a verb with the tools that Hello found.
func (s *Sandbox) call(ctx context.Context, v *verb) error {
	t, err := s.needTools(ctx)
	if err != nil {
		return err
	}
	return s.callWith(ctx, v, t)
}

func (s *Sandbox) callWith(ctx context.Context, v *verb, t tools) error {
	nonce := "hermesfs-" + random(12)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	out := &tailWriter{w: pw}
	done := make(chan error, 1)
	text := s.compose(v, nonce, t)
	go func() {
		stdin := v.stdin
		if v.list != "" {
			stdin = strings.NewReader(v.list)
		}
		err := s.t.Run(ctx, text, stdin, out)
		pw.CloseWithError(errCut)
		done <- err
	}()
	r := bufio.NewReaderSize(pr, 64<<10)
	err := skipBanner(r, nonce+":begin\n")
	if err == nil {
		err = v.body(r)
	}
	if err == nil {
		err = expectEnd(r, nonce)
	}
	var format *backends.FormatError
	switch {
	case err == nil:
		_, _ = io.Copy(io.Discard, pr) // the shell's last words
	case errors.Is(err, errCut):
	case errors.As(err, &format):
		// The script may have given up within a record: its last line tells.
		_, _ = io.CopyN(io.Discard, r, maxAfter)
		cancel()
	default:
		cancel()
	}
	pr.CloseWithError(errCut)
	runErr := <-done
	return s.verdict(v.name, err, runErr, out.failure(nonce))
}

// verdict makes one error of what the answer and the transport say. code is that of the script's
// own last line, 0 for none.
func (s *Sandbox) verdict(op string, err, runErr error, code int) error {
	if err == nil && runErr == nil {
		return nil
	}
	var format *backends.FormatError
	if err != nil && !errors.Is(err, errCut) && (code == 0 || !errors.As(err, &format)) {
		return fmt.Errorf("%s: %w", op, err)
	}
	var script *backends.ScriptError
	var stderr string
	if errors.As(runErr, &script) {
		stderr = script.Stderr
	}
	switch {
	case code == codeNoHome:
		return fmt.Errorf("%s: %w", op, backends.ErrNoHome)
	case code == codeRetry:
		return &backends.TransportError{Op: op, Err: errors.New("what arrived is not what was sent"), Stderr: stderr}
	case code != 0:
		return &backends.ScriptError{Op: op, Code: code, Stderr: stderr}
	case script != nil:
		return &backends.TransportError{Op: op, Err: fmt.Errorf("the script was cut off (exit status %d)", script.Code), Stderr: stderr}
	case runErr != nil && !errors.Is(runErr, errCut):
		return fmt.Errorf("%s: %w", op, runErr)
	case err == nil:
		err = errCut
	}
	return &backends.TransportError{Op: op, Err: err}
}

// skipBanner reads up to and with the begin line.
func skipBanner(r *bufio.Reader, begin string) error {
	last := begin[len(begin)-1]
	for seen := 0; seen < maxBanner; {
		line, err := r.ReadSlice(last)
		if bytes.HasSuffix(line, []byte(begin)) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		seen += len(line)
	}
	return fmt.Errorf("no begin line within %d bytes: %w", maxBanner, errCut)
}

func expectEnd(r *bufio.Reader, nonce string) error {
	want := "\n" + nonce + ":end ok\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return errCut
	}
	if string(got) != want {
		return &backends.FormatError{What: "answer", Err: fmt.Errorf("no end line but %.60q", got)}
	}
	return nil
}

// tailWriter passes everything on and keeps the last bytes, where a script that gives up says so.
type tailWriter struct {
	w    io.Writer
	last [160]byte
	n    int
}

func (t *tailWriter) Write(p []byte) (int, error) {
	if len(p) >= len(t.last) {
		t.n = copy(t.last[:], p[len(p)-len(t.last):])
	} else {
		keep := min(t.n, len(t.last)-len(p))
		copy(t.last[:], t.last[t.n-keep:t.n])
		t.n = keep + copy(t.last[keep:], p)
	}
	return t.w.Write(p)
}

// failure returns the code of the script's fail line, 0 for none.
func (t *tailWriter) failure(nonce string) int {
	_, rest, ok := strings.Cut(string(t.last[:t.n]), "\n"+nonce+":fail ")
	if !ok {
		return 0
	}
	line, _, ok := strings.Cut(rest, "\n")
	code, err := strconv.Atoi(line)
	if !ok || err != nil || code < 1 || code > 255 {
		return 0
	}
	return code
}
