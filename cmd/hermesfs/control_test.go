package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeActor answers "echo" with its arguments, "fail" with a report and an error, and waits for
// the client to go in "wait".
type fakeActor struct{ gone chan struct{} }

func (a *fakeActor) perform(ctx context.Context, action string, args json.RawMessage, progress func(any)) (any, error) {
	switch action {
	case "echo":
		for i := range 3 {
			progress(map[string]int{"done": i})
		}
		return args, nil
	case "fail":
		return map[string]string{"half": "done"}, fmt.Errorf("it: %w", failf(exitIncomplete, "went wrong"))
	case "wait":
		progress("started")
		<-ctx.Done()
		close(a.gone)
		return nil, ctx.Err()
	}
	return nil, errNoAction
}

// serveFake serves a fakeActor for a mount whose path is longer than a socket's may be.
func serveFake(t *testing.T) (mountDir, *fakeActor) {
	t.Helper()
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	m := stateDir(deep).mount("one")
	if err := os.MkdirAll(m.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := m.listen()
	if err != nil {
		t.Fatal(err)
	}
	a := &fakeActor{gone: make(chan struct{})}
	server := &http.Server{Handler: controlHandler(a)}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(l) }() //nolint:errcheck // closed below
	t.Cleanup(func() {
		server.Close()
		<-served
		if _, err := os.Lstat(filepath.Join(m.path(), socketName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("socket left behind: %v", err)
		}
	})
	return m, a
}

func TestControlSocket(t *testing.T) {
	m, actor := serveFake(t)
	if st, err := os.Stat(filepath.Join(m.path(), socketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket mode = %v, %v, want 0600", st.Mode().Perm(), err)
	}
	connect := func() *client {
		t.Helper()
		c, err := m.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Run("result after progress", func(t *testing.T) {
		seen := 0
		raw, err := connect().do(t.Context(), "echo", actionArgs{Paths: []string{"a\nb"}}, func(json.RawMessage) { seen++ })
		var got actionArgs
		if err != nil || json.Unmarshal(raw, &got) != nil || got.Paths[0] != "a\nb" || seen != 3 {
			t.Errorf("echo = %s, %v with %d progress frames, want its arguments and 3", raw, err, seen)
		}
	})
	t.Run("report beside an error", func(t *testing.T) {
		raw, err := connect().do(t.Context(), "fail", nil, nil)
		if string(raw) != `{"half":"done"}` || codeOf(err) != exitIncomplete || err.Error() != "it: went wrong" {
			t.Errorf("fail = %s, %v (exit %d), want the report and exit 3", raw, err, codeOf(err))
		}
	})
	t.Run("unknown action", func(t *testing.T) {
		_, err := connect().do(t.Context(), "frobnicate", nil, nil)
		if err == nil || !strings.Contains(err.Error(), "another version") {
			t.Errorf("unknown action = %v, want a hint at the version", err)
		}
	})
	t.Run("client that goes", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		_, err := connect().do(ctx, "wait", nil, func(json.RawMessage) { cancel(why) })
		if !errors.Is(err, why) {
			t.Errorf("cancelled call = %v, want the cause", err)
		}
		<-actor.gone
	})
}

func TestReadFramesOfADeadDaemon(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"nothing", ""},
		{"progress only", `{"progress":{"done":1}}` + "\n"},
		{"cut line", `{"done":true,"resu`},
	} {
		if raw, err := readFrames(strings.NewReader(tc.text), nil); err == nil {
			t.Errorf("readFrames(%s) = %s, want an error", tc.name, raw)
		}
	}
}

func TestPeerOf(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	cred, err := peerOf(far.(*net.UnixConn))
	if err != nil || int(cred.Pid) != os.Getpid() || int(cred.Uid) != os.Geteuid() {
		t.Errorf("peerOf = %+v, %v, want this process", cred, err)
	}
}
