package ssh

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

// withSocket returns the command lines of processes that name a socket.
func withSocket(t *testing.T, socket string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if b, err := os.ReadFile(line); err == nil && strings.Contains(string(b), socket) {
			found = append(found, string(b))
		}
	}
	return found
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	if err := dial(t, s).Close(t.Context(), backends.Default); err != nil {
		t.Errorf("Close before any Run = %v", err)
	}
	output(t, tr, "true")
	if got := withSocket(t, tr.socket); len(got) != 1 {
		t.Fatalf("before Close: %q, want the master", got)
	}
	info, err := os.Stat(filepath.Dir(tr.socket))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, %v, want mode 0700", info, err)
	}
	for range 2 {
		if err := tr.Close(t.Context(), backends.Default); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if got := withSocket(t, tr.socket); len(got) != 0 {
		t.Errorf("after Close: %q, want no process", got)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "hermesfs*/*")); len(left) != 0 {
		t.Errorf("after Close: %q, want no socket", left)
	}
	if err := tr.Run(t.Context(), "true", nil, nil); !errors.Is(err, errClosed) {
		t.Errorf("Run after Close = %v, want %v", err, errClosed)
	}
	if err := tr.Close(t.Context(), backends.Terminate); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Close(terminate) = %v, want ErrUnsupported", err)
	}
}

func TestCloseWithDeadMaster(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	output(t, tr, "true")
	pid := masterOf(t, tr)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the master to end", func() bool { return !runs(pid) })
	if err := tr.Close(t.Context(), backends.Default); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := os.Lstat(tr.socket); err == nil {
		t.Error("the stale socket is still there")
	}
}

func TestControlDir(t *testing.T) {
	s := backendtest.StartSSHD(t)
	base, err := os.MkdirTemp("", "hf") // short enough
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	for _, tc := range []struct {
		name, dir string
		own       bool
	}{
		{"given", filepath.Join(base, "new"), false},
		{"long", filepath.Join(base, strings.Repeat("long/", 20)), true},
		{"odd", filepath.Join(base, "a b%h"), true},
	} {
		tr := dial(t, s, func(o *Options) { o.ControlDir = tc.dir })
		output(t, tr, "true")
		masterOf(t, tr)
		if own := filepath.Dir(tr.socket) != tc.dir; own != tc.own || len(tr.socket) > maxSocket {
			t.Errorf("%s: socket %s", tc.name, tr.socket)
		}
		if err := tr.Close(t.Context(), backends.Default); err != nil {
			t.Errorf("%s: Close = %v", tc.name, err)
		}
		if _, err := os.Lstat(tr.socket); err == nil {
			t.Errorf("%s: after Close there is a socket", tc.name)
		}
	}
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	tr := dial(t, s, func(o *Options) { o.ControlDir = open })
	if err := tr.Run(t.Context(), "true", nil, nil); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("a control directory open to all: %v, want an error", err)
	}
}

func TestSharedDirectory(t *testing.T) {
	tmp, err := os.MkdirTemp("", "hf") // short enough
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	s := backendtest.StartSSHD(t)
	one, two := dial(t, s), dial(t, s)
	output(t, one, "true")
	output(t, two, "true")
	dir := filepath.Dir(one.socket)
	if filepath.Dir(two.socket) != dir || two.socket == one.socket || filepath.Dir(dir) != tmp {
		t.Errorf("sockets %s and %s, want two of one directory below %s", one.socket, two.socket, tmp)
	}
	if err := two.Close(t.Context(), backends.Default); err != nil {
		t.Error(err)
	}
	masterOf(t, one)

	// A cleaner takes the socket and its directory: the next script finds another.
	pid := masterOf(t, one)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	output(t, one, "true")
	masterOf(t, one)
	_ = syscall.Kill(pid, syscall.SIGTERM) // nobody knows it any more

	// Someone else's directory is not used.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	three := dial(t, s)
	output(t, three, "true")
	own := filepath.Dir(three.socket)
	if own == dir || filepath.Dir(own) != tmp {
		t.Errorf("socket %s, want it neither in %s nor far from it", three.socket, dir)
	}
	if err := three.Close(t.Context(), backends.Default); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(own); err == nil {
		t.Errorf("%s is still there", own)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestOneLoginForAll(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := tr.Run(t.Context(), "true", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := logins(t, s); got != 1 {
		t.Errorf("%d logins, want 1", got)
	}
}

// A server that takes the connection and says nothing.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)
	tr, err := New(Options{Host: "127.0.0.1", Port: addr.Port, ConfigFile: "/dev/null", ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close(t.Context(), backends.Default) })
	if err := tr.Run(t.Context(), "true", nil, nil); !backends.IsTransient(err) {
		t.Errorf("Run = %v, want a transient error", err)
	}
	tr.settings = nil
	tr.o.ConnectTimeout = time.Minute
	stop := errors.New("told to stop")
	ctx, cancel := contextWithCause(t, stop, 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := tr.Run(ctx, "true", nil, nil); !errors.Is(err, stop) {
		t.Errorf("Run = %v, want the cause", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("cancelling took %v", d)
	}
}
