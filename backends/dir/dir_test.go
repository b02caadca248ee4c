package dir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hermesfs/backends"
)

func open(t *testing.T) *Transport {
	t.Helper()
	tr, err := New(Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ url, path, err string }{
		{"dir:/srv/box", "/srv/box", ""},
		{"dir:/srv/box/", "/srv/box", ""},
		{"dir:/a%20b", "/a%20b", ""},
		{"dir:///a%20b", "/a b", ""},
		{"dir:box", "", "must be absolute"},
		{"dir:", "", "must be absolute"},
		{"ssh://h", "", "not a dir: URL"},
		{"dir:/a\x00b", "", "NUL"},
	} {
		o, err := Parse(tc.url)
		if tc.err == "" && (err != nil || o.Path != tc.path) {
			t.Errorf("Parse(%q) = %q, %v, want %q", tc.url, o.Path, err, tc.path)
		}
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("Parse(%q) = %v, want an error with %q", tc.url, err, tc.err)
		}
	}
}

func TestNewNamesTheWayOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no such")
	if _, err := New(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "mkdir -p '"+path+"'") {
		t.Errorf("New(missing) = %v, want the mkdir -p to type", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Path: file}); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("New(file) = %v, want not a directory", err)
	}
}

func TestRunStreams(t *testing.T) {
	tr := open(t)
	in := bytes.Repeat([]byte("\x00\xff\r\nabc"), 200_000)
	var out bytes.Buffer
	if err := tr.Run(t.Context(), "cat", bytes.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), in) {
		t.Errorf("cat gave %d bytes, want the same %d", out.Len(), len(in))
	}
	out.Reset()
	if err := tr.Run(t.Context(), `printf %s "$HOME"; cat`, nil, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), tr.o.Path; got != want {
		t.Errorf("HOME = %q, want %q", got, want)
	}
}

// slow takes its time, as a reader behind a full disk does.
type slow struct{ n int }

func (s *slow) Write(p []byte) (int, error) {
	if s.n == 0 {
		time.Sleep(2 * copyGrace)
	}
	s.n += len(p)
	return len(p), nil
}

func TestRunWaitsForASlowStdout(t *testing.T) {
	var w slow
	if err := open(t).Run(t.Context(), "head -c 300000 /dev/zero", nil, &w); err != nil {
		t.Fatal(err)
	}
	if w.n != 300000 {
		t.Errorf("got %d bytes, want 300000", w.n)
	}
}

func TestRunErrors(t *testing.T) {
	tr := open(t)
	var script *backends.ScriptError
	err := tr.Run(t.Context(), `head -c 100000 /dev/zero | tr '\0' x >&2; echo why >&2; exit 7`, nil, nil)
	if !errors.As(err, &script) || script.Code != 7 || !strings.HasSuffix(script.Stderr, "xxxwhy\n") || len(script.Stderr) > backends.MaxStderr {
		t.Errorf("exit 7 = %.80v, want a ScriptError with a capped stderr", err)
	}
	if err := tr.Run(t.Context(), `kill -9 $$`, nil, nil); !errors.As(err, &script) || script.Code != 137 {
		t.Errorf("killed = %v, want a ScriptError with code 137", err)
	}
	bad, err := New(Options{Path: t.TempDir(), Sh: "/no/such/sh"})
	if err != nil {
		t.Fatal(err)
	}
	var transport *backends.TransportError
	if err := bad.Run(t.Context(), "true", nil, nil); !errors.As(err, &transport) {
		t.Errorf("no shell = %v, want a TransportError", err)
	}
	broken := errors.New("disk died")
	if err := tr.Run(t.Context(), "cat", io.MultiReader(strings.NewReader("half"), failing{broken}), nil); !errors.Is(err, broken) {
		t.Errorf("broken stdin = %v, want its error", err)
	}
	if err := tr.Run(t.Context(), "exec cat /dev/zero", nil, failing{broken}); !errors.Is(err, broken) {
		t.Errorf("broken stdout = %v, want its error", err)
	}
	if err := tr.Run(t.Context(), "exit 0", endless{}, nil); err != nil {
		t.Errorf("unread stdin = %v, want nil", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCancelKillsTheGroup(t *testing.T) {
	tr := open(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("told to stop")
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		// Neither the shell nor its child heeds SIGTERM.
		done <- tr.Run(ctx, `trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! $$; while :; do sleep 1; done`, pr, pw)
	}()
	var child, leader int
	line := make([]byte, 64)
	n, err := pr.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(line[:n]))
	child, _ = strconv.Atoi(fields[0])
	leader, _ = strconv.Atoi(fields[1])
	start := time.Now()
	cancel(stop)
	if err := <-done; !errors.Is(err, stop) {
		t.Errorf("Run = %v, want the cause", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("cancel took %v, want at most 2 s", d)
	}
	gone(t, child)
	gone(t, leader)
}

func TestBackgroundChildrenEnd(t *testing.T) {
	var out bytes.Buffer
	if err := open(t).Run(t.Context(), `sleep 1000 & echo $!`, nil, &out); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
}

// gone polls until a process has ended (a zombie has).
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d is alive: %s", pid, stat)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
