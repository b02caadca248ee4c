package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/shell"
)

// program makes a shell script the program of a transport.
func program(t *testing.T, text string, channel Channel) *Transport {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	tr, err := New(Options{Prefix: []string{path}, Channel: channel})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// The programs are recorders: they note their words, up to sh, and run it.
func TestCommandLines(t *testing.T) {
	dir := t.TempDir()
	recorder := "#!/bin/sh\n{ printf '%s' \"${0##*/}\"; for a; do [ \"$a\" != sh ] || break; printf ' [%s]' \"$a\"; done; echo; } >>" + dir + "/log\n" +
		"while [ \"$1\" != sh ]; do shift; done\nexec \"$@\"\n"
	for _, name := range []string{"docker", "podman", "kubectl", "apptainer"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(recorder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, tc := range []struct{ url, want string }{
		{"docker://box?channel=raw", "docker [exec] [-i] [box]\n"},
		{"docker://box?user=bob", strings.Repeat("docker [exec] [-i] [-u] [bob] [box]\n", 2)}, // the probe is one
		{"podman://box?channel=raw", "podman [exec] [-i] [box]\n"},
		{"kubectl://ns/pod?channel=raw", "kubectl [exec] [-i] [-n] [ns] [pod] [--]\n"},
		{"kubectl://ns/pod?container=main&context=prod&channel=text", "kubectl [exec] [-i] [-n] [ns] [--context] [prod] [-c] [main] [pod] [--]\n"},
		{"apptainer://inst?channel=raw", "apptainer [exec] [instance://inst]\n"},
		{"command:?channel=raw docker 'exec' \"-i\" a\\ b", "docker [exec] [-i] [a b]\n"},
	} {
		o, err := Parse(tc.url)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := tr.Run(t.Context(), `printf '%s' "$# it's"; cat`, strings.NewReader("\x00\xff"), &out); err != nil || out.String() != "0 it's\x00\xff" {
			t.Errorf("%s: %q, %v", tc.url, &out, err)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if string(log) != tc.want {
			t.Errorf("%s ran %q, want %q", tc.url, log, tc.want)
		}
		if err := os.Remove(filepath.Join(dir, "log")); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the program takes the command as one word, a shell or a splitter takes it apart again.
func TestOneWord(t *testing.T) {
	tr, err := New(Options{Prefix: []string{"sh", "-c", placeholder}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tr.Run(t.Context(), "printf %s \"it's $((1 + 1)) é\"; cat", strings.NewReader("in"), &out); err != nil || out.String() != "it's 2 éin" {
		t.Errorf("Run = %q, %v", &out, err)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name, program   string
		auth, transient bool
		says            string
	}{
		{"no container", "echo 'Error response from daemon: No such container: box' >&2; exit 1", false, false, "No such container"},
		{"stopped", "echo 'Error: container 1a is not running' >&2; exit 1", false, false, "not running"},
		{"no sh", "echo 'OCI runtime exec failed' >&2; exit 127", false, false, "exit status 127 before the script began"},
		{"login", "echo 'error: You must be logged in to the server (Unauthorized)' >&2; exit 1", true, false, "by hand"},
		{"daemon", "echo 'INFO: x' >&2; echo 'Cannot connect to the Docker daemon' >&2; exit 125", false, true, "Cannot connect"},
		{"apptainer", "echo 'FATAL: something' >&2; exit 255", false, true, "exit status 255"},
		{"silent success", "exit 0", false, true, "no script ran"},
		{"lost", `"$@" 2>&1 | head -n 1 >&2; exit 1`, false, true, "ended before the script did"},
		{"lost with success", `"$@" 2>&1 | head -n 1 >&2; exit 0`, false, true, "ended before the script did"},
		{"late failure", `"$@"; echo 'copying failed' >&2; exit 1`, false, true, "after a script that succeeded: copying failed"},
	} {
		err := program(t, tc.program, Raw).Run(t.Context(), "echo out", strings.NewReader("in"), nil)
		if err == nil || errors.Is(err, backends.ErrAuth) != tc.auth || backends.IsTransient(err) != tc.transient || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v: auth %v, transient %v, want %v, %v and %q", tc.name, err, errors.Is(err, backends.ErrAuth), backends.IsTransient(err), tc.auth, tc.transient, tc.says)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q has two lines", tc.name, err)
		}
	}
}

// What the program exits with is not what the script did.
func TestExitStatusOfProgram(t *testing.T) {
	var script *backends.ScriptError
	err := program(t, `"$@"; exit 1`, Raw).Run(t.Context(), "echo why >&2; exit 7", nil, nil)
	if !errors.As(err, &script) || script.Code != 7 || script.Stderr != "why\n" {
		t.Errorf("Run = %#v, want exit status 7", err)
	}
	err = program(t, `"$@"; exit 0`, Raw).Run(t.Context(), "exit 7", nil, nil)
	if !errors.As(err, &script) || script.Code != 7 {
		t.Errorf("Run = %#v, want exit status 7", err)
	}
}

func TestNoProgram(t *testing.T) {
	for _, name := range []string{"no-such-program", "/no/such/program"} {
		tr, err := New(Options{Prefix: []string{name, "exec"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Run(t.Context(), "true", nil, nil); err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), "install it") {
			t.Errorf("Run with %s = %v, want a permanent error", name, err)
		}
	}
}

// A channel that carries nothing back cannot be used, and says so.
func TestUselessChannel(t *testing.T) {
	err := program(t, `"$@" | tr BCDEFG bcdefg`, Auto).Run(t.Context(), "true", nil, nil)
	if err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), "neither bytes (some bytes are changed or lost) nor base64") {
		t.Errorf("Run = %v, want a permanent error", err)
	}
	tr := program(t, "PATH=/nowhere; export PATH\n/bin/\"$@\"", Text)
	if err := tr.Run(t.Context(), "true", nil, nil); err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), "no base64") {
		t.Errorf("without base64: %v, want a permanent error", err)
	}
}

// The probe that is cut off does not decide for good.
func TestProbeAgain(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "up")
	tr := program(t, "[ -e "+flag+" ] || { echo 'connection refused' >&2; exit 1; }\nexec \"$@\"", Auto)
	if err := tr.Run(t.Context(), "true", nil, nil); !backends.IsTransient(err) {
		t.Errorf("Run = %v, want a transient error", err)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tr.Run(t.Context(), "true", nil, nil); err != nil || tr.channel != Raw {
		t.Errorf("Run = %v, channel %q, want raw", err, tr.channel)
	}
}

// A channel that drops the tail of what it carries and succeeds gives a typed error, or, where only
// a long transfer suffers, all of it in pieces.
func TestDroppedTail(t *testing.T) {
	home := t.TempDir()
	open := func(defect string, channel Channel) *Transport {
		tr, err := New(Options{Prefix: withChannel(t, defect, []string{"env", "HOME=" + home}), Channel: channel})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	err := open("drop=50000", Text).Run(t.Context(), "head -c 100000 /dev/zero", nil, nil)
	if !backends.IsTransient(err) {
		t.Errorf("text: %v, want a transient error", err)
	}
	for _, channel := range []Channel{Raw, Text} {
		sandbox := shell.New(open("drop=100000", channel), shell.Options{Mount: "drop"})
		if err := sandbox.Claim(t.Context(), "id"); err != nil {
			t.Fatal(err)
		}
		content := bytes.Repeat([]byte("0123456789\n"), 50_000)
		if err := os.WriteFile(filepath.Join(home, ".hermes/big"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		problems, err := sandbox.Fetch(t.Context(), []string{"big"}, backends.Limits{}, reading(&got))
		if err != nil || len(problems) > 0 || !bytes.Equal(got.Bytes(), content) {
			t.Errorf("%s: Fetch = %d bytes, %v, %q, want %d", channel, got.Len(), err, problems, len(content))
		}
	}
}

func TestClose(t *testing.T) {
	tr := program(t, `exec "$@"`, Raw)
	if err := tr.Close(context.Background(), backends.Terminate); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Close(terminate) = %v, want unsupported", err)
	}
	if err := tr.Run(t.Context(), "true", nil, nil); !errors.Is(err, errClosed) {
		t.Errorf("Run after Close = %v, want closed", err)
	}
}
