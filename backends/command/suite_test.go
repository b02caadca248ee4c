package command

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

// over opens a transport into a new container through a channel with a defect.
func over(t *testing.T, defect string, change ...func(*Options)) *Transport {
	t.Helper()
	prefix := startContainer(t)
	if defect != "" {
		prefix = withChannel(t, defect, prefix)
	}
	o := Options{Prefix: prefix}
	for _, c := range change {
		c(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if defect == "noend" || defect == "bad" {
		tr.endLimit = 300 * time.Millisecond // what never comes need not be waited for
	}
	return tr
}

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport { return over(t, "") })
}

// These are what programs in the field do: print a greeting and a farewell and mix stderr into
// stdout; and, the worst, pass text only and never deliver the end of stdin.
func TestSuiteTransport(t *testing.T) {
	for _, defect := range []string{"chatty", "bad"} {
		t.Run(defect, func(t *testing.T) {
			if testing.Short() && defect != "bad" {
				t.Skip("not with -short")
			}
			backendtest.RunTransport(t, func(t *testing.T) backends.Transport { return over(t, defect) })
		})
	}
}

func TestSuiteShell(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	backendtest.RunShell(t, func(t *testing.T) backends.Transport { return over(t, "bad") })
}

// What is recognized of each channel, and that arguments are safe in one that makes JSON of them.
func TestChannels(t *testing.T) {
	for defect, want := range map[string]Channel{"": Raw, "utf8": Raw, "zero": Raw, "chatty": Text, "merged": Text, "noend": Text, "text": Text, "bad": Text} {
		tr := over(t, defect)
		var out bytes.Buffer
		err := tr.Run(t.Context(), "printf %s 'it'\\''s \\ \xff\x01 \n\té'; cat; echo why >&2; exit 9", strings.NewReader("\x00\xfe\r\n"), &out)
		var script *backends.ScriptError
		if out.String() != "it's \\ \xff\x01 \n\té\x00\xfe\r\n" || !errors.As(err, &script) || script.Code != 9 || script.Stderr != "why\n" {
			t.Errorf("%q: Run = %q, %#v", defect, &out, err)
		}
		if tr.channel != want {
			t.Errorf("%q is used as %q, want %q", defect, tr.channel, want)
		}
	}
	err := over(t, "mute").Run(t.Context(), "true", nil, nil)
	if err == nil {
		t.Error("over a channel without stdout: nil, want an error")
	}
}
