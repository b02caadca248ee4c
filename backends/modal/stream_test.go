package modal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/modal/modaltest"
	"hermesfs/backends/shell"
)

// after calls a function once so many bytes have passed.
type after struct {
	io.Reader
	io.Writer
	left int
	call func()
}

func (a *after) pass(n int) {
	if a.left > 0 && a.left <= n {
		a.call()
	}
	a.left -= n
}

func (a *after) Write(p []byte) (int, error) {
	a.pass(len(p))
	return a.Writer.Write(p)
}

func (a *after) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.pass(n)
	return n, err
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.New(rand.NewSource(3)).Read(b) // never fails
	return b
}

// A token that expires under a transfer, and streams that break, cost no byte and add none.
func TestStreamsResume(t *testing.T) {
	s := modaltest.Start(t)
	tr := dial(t, "modal://"+s.Add("app", "", false).ID)
	content := randomBytes(5 << 20)
	want := sha256.Sum256(content)
	for _, tc := range []struct {
		name                string
		faults              modaltest.Faults
		writing, reading    int // the token expires after so many bytes
		tokens, leastResume int
	}{
		{name: "whole", tokens: 1},
		{name: "expires under a write", writing: 2 << 20, tokens: 1},
		{name: "expires under a read", reading: 2 << 20, tokens: 1, leastResume: 1},
		{name: "broken", faults: modaltest.Faults{BreakStdio: 333_333, LoseReplies: 2}, leastResume: 15},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Set(tc.faults)
			tokens, resumed := s.Tokens(), s.Resumed()
			got := sha256.New()
			in := &after{Reader: bytes.NewReader(content), left: tc.writing, call: s.ExpireTokens}
			out := &after{Writer: got, left: tc.reading, call: s.ExpireTokens}
			if err := tr.Run(t.Context(), "cat", in, out); err != nil {
				t.Fatal(err)
			}
			if [32]byte(got.Sum(nil)) != want {
				t.Error("what came back is not what was sent")
			}
			// Each stream and call that is refused may ask for itself.
			if n := s.Tokens() - tokens; n < tc.tokens {
				t.Errorf("%d tokens were asked for, want %d at least", n, tc.tokens)
			}
			if n := s.Resumed() - resumed; n < tc.leastResume {
				t.Errorf("%d streams were resumed, want %d at least", n, tc.leastResume)
			}
		})
	}
}

// Scripts that are no argument of an exec: too long, or not UTF-8.
func TestOddScripts(t *testing.T) {
	tr := dial(t, "modal://"+modaltest.Start(t).Add("app", "", false).ID)
	for name, text := range map[string]string{
		"long":      strings.Repeat("'\\''long", 12_000),
		"not UTF-8": "\xff\xfe\x80",
	} {
		script := "printf %s '" + text + "'; echo; cat\n"
		want := strings.ReplaceAll(text, `'\''`, "'") + "\n"
		for _, in := range []io.Reader{nil, strings.NewReader("the input")} {
			var out bytes.Buffer
			err := tr.Run(t.Context(), script, in, &out)
			if in != nil {
				want += "the input"
			}
			if err != nil || out.String() != want {
				t.Errorf("%s: %d bytes, %v, want %d", name, out.Len(), err, len(want))
			}
		}
	}
	if err := tr.Run(t.Context(), "echo \x00", nil, nil); err == nil || backends.IsTransient(err) {
		t.Errorf("a NUL byte: %v, want a permanent error", err)
	}
}

// A script that closes its stdin goes on, and more output than anybody keeps goes nowhere.
func TestUnwanted(t *testing.T) {
	tr := dial(t, "modal://"+modaltest.Start(t).Add("app", "", false).ID)
	tr.limits.grace = 10 * time.Millisecond
	var script *backends.ScriptError
	err := tr.Run(t.Context(), "exec <&-; sleep 0.5; exit 3", &trickle{}, io.Discard)
	if !errors.As(err, &script) || script.Code != 3 {
		t.Errorf("closed stdin: Run = %v, want status 3", err)
	}
	if err := tr.Run(t.Context(), "head -c 20000000 /dev/zero", nil, nil); err != nil {
		t.Errorf("no stdout: Run = %v", err)
	}
}

// Where an exec has no HOME, the home is the user's.
func TestNoHome(t *testing.T) {
	s := modaltest.Start(t)
	tr := dial(t, "modal://"+s.Add("app", "", false).ID)
	want := output(t, tr, `eval "echo ~$(id -un)"; exec env -u HOME sh -c 'echo "$HOME"'`)
	s.Set(modaltest.Faults{NoHome: true})
	if got := output(t, tr, `echo "$HOME"; unset HOME; echo "$HOME"`); got != want {
		t.Errorf("without HOME: %q, want %q", got, want)
	}
}

// A recorder keeps the length of the longest script.
type recorder struct {
	backends.Transport
	mu      sync.Mutex
	longest int
}

func (r *recorder) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	r.mu.Lock()
	r.longest = max(r.longest, len(script))
	r.mu.Unlock()
	return r.Transport.Run(ctx, script, stdin, stdout)
}

// What package shell runs fits into the arguments of an exec, and nothing of it is logged.
func TestShellScripts(t *testing.T) {
	var log bytes.Buffer
	tr := dial(t, "modal://"+modaltest.Start(t).Add("app", "", false).ID, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	r := &recorder{Transport: tr}
	sandbox := shell.New(r, shell.Options{Mount: "it"})
	if err := sandbox.Claim(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	content := "secret content"
	put := backends.Put{
		Path: "f", Kind: backends.File, Mode: 0o644, Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
	if got, err := sandbox.Push(t.Context(), &backends.Batch{Puts: []backends.Put{put}}); err != nil || len(got.Done) != 1 {
		t.Fatalf("Push = %+v, %v", got, err)
	}
	if _, err := sandbox.Manifest(t.Context(), backends.Scope{Roots: []string{"."}}, func(backends.Entry) error { return nil }); err != nil {
		t.Fatal(err)
	}
	fetched := ""
	if _, err := sandbox.Fetch(t.Context(), []string{"f"}, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
		b, err := io.ReadAll(r)
		fetched = string(b)
		return err
	}); err != nil || fetched != content {
		t.Fatalf("Fetch = %q, %v", fetched, err)
	}
	if r.longest == 0 || r.longest > maxArgs/2 {
		t.Errorf("the longest script has %d bytes, want well below %d", r.longest, maxArgs)
	}
	for _, word := range []string{"umask", "secret", modaltest.TokenSecret} {
		if strings.Contains(log.String(), word) {
			t.Errorf("the log holds %q: %s", word, fmt.Sprintf("%.500s", log.String()))
		}
	}
	t.Logf("the longest script has %d bytes", r.longest)
}
