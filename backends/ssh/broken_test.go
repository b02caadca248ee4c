package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

const waitLimit = 30 * time.Second

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", waitLimit, what)
		}
	}
}

// masterOf returns the process id of the master.
func masterOf(t *testing.T, tr *Transport) int {
	t.Helper()
	answer, err := tr.command(t.Context(), "check")
	pid := masterPID(answer)
	if err != nil || pid == 0 {
		t.Fatalf("no master: %v: %s", err, answer)
	}
	return pid
}

// logins counts what sshd let in.
func logins(t *testing.T, s *backendtest.SSHD) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(log, []byte("Accepted publickey"))
}

func TestDeadMaster(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	output(t, tr, "true")
	for round := range 2 {
		pid := masterOf(t, tr)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the master to end", func() bool { return !runs(pid) })
		if _, err := os.Lstat(tr.socket); err != nil {
			t.Fatalf("a killed master left no socket, so this tests nothing: %v", err)
		}
		in := strings.Repeat("a stale socket ", 10_000)
		var out bytes.Buffer
		if err := tr.Run(t.Context(), "cat", strings.NewReader(in), &out); err != nil || out.String() != in {
			t.Errorf("round %d: after the master was killed: %d bytes, %v, want %d", round, out.Len(), err, len(in))
		}
	}
	if got := logins(t, s); got != 3 {
		t.Errorf("%d logins, want 3", got)
	}
}

// A master whose connection is dead, as after a change of networks, is found out and replaced,
// and the script gets all of its stdin from the beginning.
func TestDeadConnection(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s, func(o *Options) { o.AliveInterval, o.AliveCountMax = time.Second, 1 })
	output(t, tr, "true")
	frozen := s.Connections()
	for _, pid := range frozen {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	in := strings.Repeat("once more ", 20_000) // more than a pipe holds
	var out bytes.Buffer
	if err := tr.Run(t.Context(), "cat", strings.NewReader(in), &out); err != nil || out.String() != in {
		t.Errorf("over a dead connection: %d bytes, %v, want %d", out.Len(), err, len(in))
	}
	if got := logins(t, s); got != 2 {
		t.Errorf("%d logins, want 2", got)
	}
	for _, pid := range frozen {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestKilledInTransfer(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	for name, script := range map[string]string{
		"upload":   "echo on; cat >/dev/null; echo whole",
		"download": "echo on; cat /dev/zero",
		"silent":   "echo on; exec sleep 1000",
	} {
		done := start(t.Context(), t, tr, script, &trickle{})
		s.Stop()
		var transport *backends.TransportError
		select {
		case err := <-done:
			if !errors.As(err, &transport) || !backends.IsTransient(err) || !errors.Is(err, errLost) {
				t.Errorf("%s: %v, want a transient error", name, err)
			}
		case <-time.After(waitLimit):
			t.Fatalf("%s: Run did not return", name)
		}
		if err := tr.Run(t.Context(), "true", nil, nil); !backends.IsTransient(err) || !strings.Contains(fmt.Sprint(err), "refused") {
			t.Errorf("%s: without sshd: %v, want a transient error that says refused", name, err)
		}
		s.Restart()
		if got := output(t, tr, "echo again"); got != "again\n" {
			t.Errorf("%s: after the restart: %q", name, got)
		}
	}
}

// start runs a script that prints something first, and returns when it has.
func start(ctx context.Context, t *testing.T, tr *Transport, script string, stdin io.Reader) <-chan error {
	t.Helper()
	on := &gate{seen: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx, script, stdin, on) }()
	select {
	case <-on.seen:
	case err := <-done:
		t.Fatalf("%q did not start: %v", script, err)
	case <-time.After(waitLimit):
		t.Fatalf("%q did not start within %v", script, waitLimit)
	}
	return done
}

// A gate tells when something is written.
type gate struct {
	once sync.Once
	seen chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.seen) })
	return len(p), nil
}

// A trickle never ends, and does not fill the processors.
type trickle struct{}

func (*trickle) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return len(p), nil
}

func TestCancelKillsTheFarScript(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	output(t, tr, "true")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("told to stop")
	r, w := io.Pipe()
	done := make(chan error, 1)
	// Neither reads nor writes: the end of the channel says nothing to it. Its trap cleans up.
	go func() {
		done <- tr.Run(ctx, `trap 'echo cleaned >"$HOME/trap"; exit' TERM; echo; sleep 1000 & echo $!; wait`, nil, w)
	}()
	var pid int
	if _, err := fmt.Fscanf(r, "\n%d\n", &pid); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	cancel(stop)
	if err := <-done; !errors.Is(err, stop) {
		t.Errorf("Run = %v, want the cause", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("cancelling took %v", d)
	}
	waitFor(t, "the far sleep to end", func() bool { return !runs(pid) })
	waitFor(t, "the far trap", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.Home, "trap"))
		return string(b) == "cleaned\n"
	})
}

func TestCancelOverADeadConnection(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	stop := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := start(ctx, t, tr, "echo; exec cat >/dev/null", &trickle{})
	for _, pid := range s.Connections() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	cancel(stop)
	if err := <-done; !errors.Is(err, stop) {
		t.Errorf("Run = %v, want the cause", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("cancelling took %v", d)
	}
	began = time.Now()
	if err := tr.Close(t.Context(), backends.Default); err != nil {
		t.Errorf("Close = %v", err)
	}
	if d := time.Since(began); d > closeLimit+3*time.Second {
		t.Errorf("Close took %v", d)
	}
	if got := withSocket(t, tr.socket); len(got) != 0 {
		t.Errorf("after Close: %q, want no process", got)
	}
}
