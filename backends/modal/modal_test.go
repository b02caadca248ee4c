package modal

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
	"hermesfs/backends/modal/modaltest"
)

// dial makes a Transport to a URL. It is closed when the test ends.
func dial(t *testing.T, url string, change ...func(*Options)) *Transport {
	t.Helper()
	o, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(t.Context(), backends.Default); err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("Close = %v", err)
		}
	})
	return tr
}

func output(t *testing.T, tr backends.Transport, script string) string {
	t.Helper()
	var out bytes.Buffer
	if err := tr.Run(t.Context(), script, nil, &out); err != nil {
		t.Fatalf("Run(%q) = %v", script, err)
	}
	return out.String()
}

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport {
		return dial(t, "modal://"+modaltest.Start(t).Add("app", "", false).ID)
	})
}

// A sandbox of the first kind, that is found by name, over streams that break.
func TestSuiteBroken(t *testing.T) {
	backendtest.RunTransport(t, func(t *testing.T) backends.Transport {
		s := modaltest.Start(t)
		s.Add("app", "it", true)
		s.Set(modaltest.Faults{BreakStdio: 100_000, LoseReplies: 3})
		return dial(t, "modal://?app=app&name=it")
	})
}

func TestRun(t *testing.T) {
	s := modaltest.Start(t)
	b := s.Add("app", "it", false)
	tr := dial(t, "modal://"+b.ID)
	if got, want := output(t, tr, `printf %s "$HOME"`), b.Dir; got != want {
		t.Errorf("HOME = %q, want %q", got, want)
	}
	var script *backends.ScriptError
	err := tr.Run(t.Context(), "cat >&2; exit 7", strings.NewReader("why"), nil)
	if !errors.As(err, &script) || script.Code != 7 || script.Stderr != "why" {
		t.Errorf("exit 7 = %#v, want a ScriptError with stderr why", err)
	}
}
