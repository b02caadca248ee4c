package backendtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cancelLimit is what the contract allows.
const cancelLimit = 2 * time.Second

func testCancel(t *testing.T, s *subject) {
	for _, tc := range []struct{ name, script string }{
		{"reading", `exec cat >/dev/null`},
		{"writing", `while echo line; do :; done`},
		{"deaf", `trap '' INT HUP; cat >/dev/null`},
	} {
		stop := errors.New("told to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		in, feed := io.Pipe() // stays open: only the cancelling ends the script
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			err := s.Run(ctx, "echo; echo pid $$\n"+tc.script, in, w)
			w.CloseWithError(io.ErrUnexpectedEOF)
			done <- err
		}()
		out := bufio.NewReader(r)
		pid := 0
		for pid == 0 {
			line, err := out.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: no pid: %v", tc.name, <-done)
			}
			if after, ok := strings.CutPrefix(line, "pid "); ok {
				pid, _ = strconv.Atoi(strings.TrimSpace(after))
			}
		}
		go func() { _, _ = io.Copy(io.Discard, out) }()
		start := time.Now()
		cancel(stop)
		select {
		case err := <-done:
			if !errors.Is(err, stop) {
				t.Errorf("%s: Run = %v, want the cause", tc.name, err)
			}
		case <-time.After(waitLimit):
			t.Fatalf("%s: Run did not return within %v", tc.name, waitLimit)
		}
		if d := time.Since(start); d > cancelLimit {
			t.Errorf("%s: cancelling took %v, want at most %v", tc.name, d, cancelLimit)
		}
		waitFor(t, tc.name+" to end in the sandbox", func() bool {
			_, err := s.sh(fmt.Sprintf("kill -0 %d 2>/dev/null && ! grep -q '^State:.Z' /proc/%d/status", pid, pid), "")
			return err != nil
		})
		feed.Close()
		r.Close()
	}
	if got := s.must("echo works", ""); got != "works\n" {
		t.Errorf("after cancelling: %q", got)
	}
}

func testCancelledBefore(t *testing.T, s *subject) {
	stop := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := s.Run(ctx, "touch ~/ran", nil, nil); !errors.Is(err, stop) {
		t.Errorf("Run = %v, want the cause", err)
	}
	ctx, release := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer release()
	start := time.Now()
	in, feed := io.Pipe()
	defer feed.Close()
	if err := s.Run(ctx, "cat", in, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v, want the deadline", err)
	}
	if d := time.Since(start); d > 300*time.Millisecond+cancelLimit {
		t.Errorf("a deadline of 300 ms took %v", d)
	}
	if out := s.must("ls ~/ran 2>/dev/null || echo none", ""); out != "none\n" {
		t.Errorf("a cancelled script ran: %q", out)
	}
}
