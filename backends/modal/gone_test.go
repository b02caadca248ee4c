package modal

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"hermesfs/backends"
	"hermesfs/backends/modal/modaltest"
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

// A gate tells when something is written.
type gate struct {
	once sync.Once
	seen chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.seen) })
	return len(p), nil
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

func result(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(waitLimit):
		t.Fatalf("%s: Run did not return within %v", what, waitLimit)
		return nil
	}
}

// A sandbox that ends under a script shows an end of file as if all was well. It must be known for
// what it is, whatever the router still knows.
func TestEndsUnderAScript(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		forgetful    bool
		end          func(*modaltest.Sandbox)
		says         string
	}{
		{"reading", "while echo line; do :; done", false, (*modaltest.Sandbox).Terminate, "terminated"},
		{"reading, forgotten", "while echo line; do :; done", true, (*modaltest.Sandbox).Terminate, "terminated"},
		{"silent", "echo on; exec sleep 1000", false, (*modaltest.Sandbox).TimeOut, "time was up"},
		{"silent, forgotten", "echo on; sleep 1000; :", true, (*modaltest.Sandbox).TimeOut, "time was up"},
		{"writing", "echo on; cat >/dev/null", false, (*modaltest.Sandbox).Terminate, "terminated"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := modaltest.Start(t)
			s.Set(modaltest.Faults{Forgetful: tc.forgetful})
			b := s.Add("app", "", false)
			tr := dial(t, "modal://"+b.ID)
			done := start(t.Context(), t, tr, tc.script, &trickle{})
			tc.end(b)
			for what, err := range map[string]error{
				"under it": result(t, tc.name, done),
				"after it": tr.Run(t.Context(), "true", nil, nil),
			} {
				if !errors.Is(err, ErrGone) || backends.IsTransient(err) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), b.ID) {
					t.Errorf("%s: Run = %v, want ErrGone that says %q", what, err, tc.says)
				}
			}
		})
	}
}

// A trickle never ends, and does not fill the processors.
type trickle struct{}

func (*trickle) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return len(p), nil
}

func TestNotThere(t *testing.T) {
	s := modaltest.Start(t)
	ended := s.Add("app", "ended", false)
	ended.TimeOut()
	for _, url := range []string{"modal://" + ended.ID, "modal://sb-nosuch", "modal://?app=app&name=ended", "modal://?app=none&name=it"} {
		err := dial(t, url).Run(t.Context(), "true", nil, nil)
		if !errors.Is(err, ErrGone) || backends.IsTransient(err) {
			t.Errorf("%s: Run = %v, want ErrGone", url, err)
		}
	}
}

func TestBrokenService(t *testing.T) {
	s := modaltest.Start(t)
	b := s.Add("app", "", false)
	tr := dial(t, "modal://"+b.ID)
	output(t, tr, "true")
	for _, tc := range []struct {
		name      string
		faults    modaltest.Faults
		script    string // empty: it is started while the service is broken
		transient bool
		is        error
		grace     time.Duration
	}{
		{"streams", modaltest.Faults{Router: codes.ResourceExhausted}, "while echo line; do sleep 0.01; done", true, nil, 0},
		{"its end comes, its output not", modaltest.Faults{Router: codes.ResourceExhausted}, "for i in 1 2 3 4 5 6 7 8 9; do echo line; sleep 0.05; done", true, nil, time.Minute},
		{"input", modaltest.Faults{Router: codes.ResourceExhausted}, "echo on; cat >/dev/null; :", true, nil, 0},
		{"start", modaltest.Faults{Router: codes.Aborted}, "", true, nil, 0},
		{"silence", modaltest.Faults{Control: codes.ResourceExhausted}, "echo on; sleep 1000; :", true, nil, 0},
		{"token", modaltest.Faults{Router: codes.Unauthenticated}, "", false, backends.ErrAuth, 0},
		{"both", modaltest.Faults{Router: codes.NotFound, Control: codes.Aborted}, "", true, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr.limits = limits{watch: 30 * time.Millisecond, grace: max(tc.grace, 30*time.Millisecond)}
			var err error
			if tc.script == "" {
				s.Set(tc.faults)
				err = tr.Run(t.Context(), "true", nil, nil)
			} else {
				done := start(t.Context(), t, tr, tc.script, &trickle{})
				s.Set(tc.faults)
				err = result(t, tc.name, done)
			}
			s.Set(modaltest.Faults{})
			if err == nil || backends.IsTransient(err) != tc.transient || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("Run = %v, transient %v, want %v, %v", err, backends.IsTransient(err), tc.transient, tc.is)
			}
			if got := output(t, tr, "echo works"); got != "works\n" {
				t.Errorf("afterwards: %q", got)
			}
		})
	}
	waitFor(t, "the scripts to end", func() bool { return b.Running() == 0 })
}

// A script whose process id is not known is found.
func TestKillByMark(t *testing.T) {
	s := modaltest.Start(t)
	b := s.Add("app", "", false)
	tr := dial(t, "modal://"+b.ID)
	sb, err := tr.sandbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan int)
	mark := newMark()
	for _, word := range []string{newMark(), mark} {
		args, _, err := command("sleep 1000; :", word, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := sb.Exec(t.Context(), args, nil)
		if err != nil {
			t.Fatal(err)
		}
		if word == mark {
			go func() {
				code, _ := p.Wait(t.Context(), nil)
				ends <- code
			}()
		}
	}
	killer, err := sb.Exec(t.Context(), killCommand(0, mark), nil)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := killer.Wait(t.Context(), nil); code != 0 || err != nil {
		t.Errorf("the command ended with %d, %v", code, err)
	}
	select {
	case code := <-ends:
		if code != 128+15 {
			t.Errorf("the script ended with %d, want SIGTERM's", code)
		}
	case <-time.After(waitLimit):
		t.Error("the script runs on")
	}
	if n := b.Running(); n != 1 {
		t.Errorf("%d scripts run, want the other one", n)
	}
}

// The limit of a script ends it, also without us.
func TestScriptLimit(t *testing.T) {
	s := modaltest.Start(t)
	b := s.Add("app", "", false)
	tr := dial(t, "modal://"+b.ID, func(o *Options) { o.ExecTimeout = time.Second })
	err := tr.Run(t.Context(), "sleep 1000", nil, io.Discard)
	var script *backends.ScriptError
	if err == nil || !backends.IsTransient(err) && !(errors.As(err, &script) && script.Code == 137) {
		t.Errorf("Run = %v, want a transient error or status 137", err)
	}
	waitFor(t, "the script to end", func() bool { return b.Running() == 0 })
}

// Wherever a cancelling falls, nothing goes on in the sandbox.
func TestCancelAnywhere(t *testing.T) {
	s := modaltest.Start(t)
	b := s.Add("app", "", false)
	tr := dial(t, "modal://"+b.ID)
	output(t, tr, "true")
	stop := errors.New("told to stop")
	for i := range 12 {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(time.Duration(i*i)*100*time.Microsecond, func() { cancel(stop) })
		began := time.Now()
		if err := tr.Run(ctx, "exec sleep 1000", nil, io.Discard); !errors.Is(err, stop) {
			t.Errorf("Run = %v, want the cause", err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("cancelling took %v", d)
		}
		timer.Stop()
	}
	if err := tr.Close(t.Context(), backends.Keep); err != nil {
		t.Errorf("Close = %v", err)
	}
	if n := b.Running(); n != 0 {
		t.Errorf("after Close %d scripts run", n)
	}
	if b.Ended() {
		t.Error("the sandbox has ended")
	}
}
