package ssh

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

// dial makes a Transport to a test's sshd. It is closed when the test ends.
func dial(t *testing.T, s *backendtest.SSHD, change ...func(*Options)) *Transport {
	t.Helper()
	o, err := Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.ConfigFile = s.ConfigFile
	for _, f := range change {
		f(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(t.Context(), backends.Default); err != nil {
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

func TestRun(t *testing.T) {
	s := backendtest.StartSSHD(t)
	tr := dial(t, s)
	if got, want := output(t, tr, `printf %s "$HOME"`), s.Home; got != want {
		t.Errorf("HOME = %q, want %q", got, want)
	}
	odd := "a'b\\\\c\\'!d@\ttwo\nlines \xff\xfe ${HOME} `id` \"x\" %s"
	if got := output(t, tr, "printf %s "+"'"+strings.ReplaceAll(odd, "'", `'\''`)+"'"); got != odd {
		t.Errorf("printf = %q, want %q", got, odd)
	}
	var script *backends.ScriptError
	err := tr.Run(t.Context(), "cat >&2; exit 7", strings.NewReader("why"), nil)
	if !errors.As(err, &script) || script.Code != 7 || script.Stderr != "why" {
		t.Errorf("exit 7 = %#v, want a ScriptError with stderr why", err)
	}
}
