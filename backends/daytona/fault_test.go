package daytona

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

// What goes wrong now and then is not seen, with an old daemon too.
func TestSuiteDisturbed(t *testing.T) {
	backendtest.RunTransport(t, func(t *testing.T) backends.Transport {
		f := startFake(t)
		f.add("box", "started", nil)
		random := rand.New(rand.NewSource(1))
		f.old, f.disturb = true, status(http.StatusBadGateway, 7)
		f.cut = func() int {
			if random.Intn(2) == 0 {
				return -1
			}
			return random.Intn(1 << 20)
		}
		f.short = func() bool { return random.Intn(20) == 0 }
		return f.connect("daytona://box")
	})
}

func TestStatuses(t *testing.T) {
	for _, tc := range []struct {
		status          int
		body            string
		auth, transient bool
		says            string
	}{
		{http.StatusUnauthorized, `{"message":"Invalid credentials"}`, true, false, "DAYTONA_API_KEY"},
		{http.StatusForbidden, `{"message":"Forbidden resource"}`, true, false, "Forbidden resource"},
		{http.StatusNotFound, "404 page not found", false, false, "not found"},
		{http.StatusBadRequest, `{"message":["bad","very bad"]}`, false, false, "very bad"},
		{http.StatusBadRequest, `{"errors":["open /x: no space left\u001b"],"files":[]}`, false, false, "no space left"},
		{http.StatusUnprocessableEntity, "", false, false, "422"},
		{http.StatusRequestTimeout, `{"code":"REQUEST_TIMEOUT"}`, false, true, "408"},
		{http.StatusConflict, `{"message":"Sandbox state change in progress"}`, false, true, "state change"},
		{http.StatusTooManyRequests, "", false, true, "429"},
		{http.StatusInternalServerError, "", false, true, "500"},
		{http.StatusBadGateway, "", false, true, "502"},
		{http.StatusOK, "<html>", false, false, "answer of Daytona"},
		{http.StatusOK, `{"exitCode":-1,"result":"chdir: no such directory"}`, false, true, "no such directory"},
	} {
		f := startFake(t)
		f.add("box", "started", nil)
		f.disturb = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/toolbox/") {
				return false
			}
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.body)
			return true
		}
		err := f.connect("daytona://box").Run(t.Context(), "true", nil, nil)
		if err == nil || errors.Is(err, backends.ErrAuth) != tc.auth || backends.IsTransient(err) != tc.transient || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%d %s: %v: transient %v, want auth %v, transient %v, %q", tc.status, tc.body, err, backends.IsTransient(err), tc.auth, tc.transient, tc.says)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), f.key)) {
			t.Errorf("%d: the message %q", tc.status, err)
		}
	}
	f := startFake(t)
	f.Close()
	if err := f.connect("daytona://box").Run(t.Context(), "true", nil, nil); !backends.IsTransient(err) {
		t.Errorf("nobody listens: %v, want a transient error", err)
	}
}

func TestRetryAfter(t *testing.T) {
	f := startFake(t)
	f.add("box", "started", nil)
	tr := f.connect("daytona://box")
	runs(t, tr)
	tr.work.Wait() // it is the next script that has to wait
	first := true
	f.change(func() {
		f.disturb = func(w http.ResponseWriter, _ *http.Request) bool {
			var answer bool
			f.change(func() { answer, first = first, false })
			if answer {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return answer
		}
	})
	start := time.Now()
	runs(t, tr)
	if d := time.Since(start); d < time.Second {
		t.Errorf("it took %v, want the second that Retry-After says", d)
	}
}

// A cut download goes on where it was cut.
func TestCutDownload(t *testing.T) {
	f := startFake(t)
	f.add("box", "started", nil)
	cuts := 0
	f.cut = func() int { cuts++; return 300_000 }
	want := make([]byte, 5<<20)
	_, _ = rand.New(rand.NewSource(3)).Read(want) // never fails
	var out bytes.Buffer
	if err := f.connect("daytona://box").Run(t.Context(), "cat", bytes.NewReader(want), &out); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("Run = %d bytes, %v, want %d", out.Len(), err, len(want))
	}
	if cuts < 10 {
		t.Errorf("%d downloads, want some", cuts)
	}
}

// Without Range, as behind a proxy that drops it, all of it comes every time.
func TestNoRange(t *testing.T) {
	f := startFake(t)
	f.add("box", "started", nil)
	f.disturb = func(_ http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("Range")
		return false
	}
	var out bytes.Buffer
	if err := f.connect("daytona://box").Run(t.Context(), "head -c 300000 /dev/zero; sleep 0.3; echo over", nil, &out); err != nil || out.Len() != 300_005 {
		t.Errorf("Run = %d bytes, %v, want 300005", out.Len(), err)
	}
}

// Uploads that always come short are an error, and the script does not run.
func TestShortUpload(t *testing.T) {
	f := startFake(t)
	f.add("box", "started", nil)
	f.short = func() bool { return true }
	tr := f.connect("daytona://box")
	if err := tr.Run(t.Context(), "touch ~/ran", strings.NewReader("in"), nil); !backends.IsTransient(err) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Run = %v, want a transient error", err)
	}
	f.change(func() { f.short = nil })
	var out bytes.Buffer
	if err := tr.Run(t.Context(), "ls ~", nil, &out); err != nil || out.Len() != 0 {
		t.Errorf("ls = %q, %v, want nothing", &out, err)
	}
}

// A sandbox that stops under a script is a transient error, and the next script starts it again.
func TestStoppedUnderWay(t *testing.T) {
	f := startFake(t)
	b := f.add("box", "started", nil)
	tr := f.connect("daytona://box")
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- tr.Run(t.Context(), "echo on; exec sleep 1000", nil, w) }()
	if _, err := r.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	f.change(func() {
		b.State = "stopped"
		b.stop()
	})
	if err := <-done; !backends.IsTransient(err) || !errors.Is(err, errStopped) && !strings.Contains(err.Error(), "vanished") {
		t.Errorf("Run = %v, want a transient error", err)
	}
	if err := tr.Run(t.Context(), "true", nil, nil); err != nil { // after at most one that notices
		runs(t, tr)
	}
	runs(t, tr)
	if err := tr.Close(t.Context(), backends.Default); err != nil || f.state(b) != "stopped" {
		t.Errorf("Close = %v, it is %s, want what hermesfs started stopped", err, f.state(b))
	}
}

// A job that is killed with all that belongs to it is noticed.
func TestKilledJob(t *testing.T) {
	f := startFake(t)
	b := f.add("box", "started", nil)
	tr := f.connect("daytona://box")
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- tr.Run(t.Context(), "echo on; exec sleep 1000", nil, w) }()
	if _, err := r.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ended := false; !ended; { // the call that waits for news is killed too, at first
		b.killAll()
		select {
		case err := <-done:
			if !backends.IsTransient(err) {
				t.Errorf("Run = %v, want a transient error", err)
			}
			ended = true
		case <-ctx.Done():
			t.Fatal("Run does not return")
		case <-time.After(50 * time.Millisecond):
		}
	}
	runs(t, tr)
}

// Only long transfers keep the sandbox from stopping by itself.
func TestActivity(t *testing.T) {
	f := startFake(t)
	f.add("box", "started", nil)
	tr := f.connect("daytona://box")
	runs(t, tr)
	if f.active != 0 {
		t.Errorf("%d small calls count as activity", f.active)
	}
	big := make([]byte, 3<<20)
	if err := tr.Run(t.Context(), "cat", bytes.NewReader(big), nil); err != nil {
		t.Fatal(err)
	}
	if f.active == 0 {
		t.Error("a transfer of 3 MiB does not count as activity")
	}
}

// Nothing of a script stays behind.
func TestLeavesNothing(t *testing.T) {
	f := startFake(t)
	b := f.add("box", "started", nil)
	tr := f.connect("daytona://box")
	runs(t, tr)
	if err := tr.Run(t.Context(), "exit 3", strings.NewReader(strings.Repeat("x", 100_000)), nil); err == nil {
		t.Error("exit 3 = nil")
	}
	if err := tr.Close(t.Context(), backends.Keep); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	again := f.connect("daytona://" + b.ID)
	if err := again.Run(t.Context(), `ls -A "$TMPDIR"; ls -A ~`, nil, &out); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("left: %q, %v, want the directory of this script", &out, err)
	}
}
