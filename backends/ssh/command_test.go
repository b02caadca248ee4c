package ssh

import (
	"bytes"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
)

// requireShell skips where a shell is missing, unless HERMESFS_TEST_REQUIRE names shells or all.
func requireShell(t *testing.T, shell string) string {
	t.Helper()
	path, err := osexec.LookPath(shell)
	if err == nil {
		return path
	}
	for want := range strings.SplitSeq(os.Getenv("HERMESFS_TEST_REQUIRE"), ",") {
		if want == "shells" || want == "all" {
			t.Fatalf("%s is required: install fish, mksh, tcsh and zsh", shell)
		}
	}
	t.Skipf("there is no %s (HERMESFS_TEST_REQUIRE=shells makes this a failure)", shell)
	return ""
}

func TestLoginShells(t *testing.T) {
	var odd strings.Builder
	for i := 1; i < 256; i++ {
		odd.WriteByte(byte(i))
	}
	odd.WriteString(`\\ \' '\'' !! @@ \\\\ @0012 %s $HOME`)
	script := "printf %s '" + strings.ReplaceAll(odd.String(), "'", `'\''`) + "'\necho \" $# $0\" # no more\n"
	command, err := remoteCommand(script, "mark:")
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(command, "\n!") {
		t.Error("the command holds a newline or a !")
	}
	for _, shell := range []string{"sh", "dash", "bash", "mksh", "zsh", "fish", "tcsh"} {
		t.Run(shell, func(t *testing.T) {
			cmd := osexec.Command(requireShell(t, shell), "-c", command)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if want := odd.String() + " 0 sh\n"; err != nil || string(out) != want {
				t.Errorf("%s gave %q, %v, want %q", shell, out, err, want)
			}
			if !strings.HasPrefix(stderr.String(), "mark:") || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("%s: stderr %q, want the mark alone", shell, &stderr)
			}
		})
	}
	for _, script := range []string{"a\x00b", strings.Repeat("\n", maxCommand/4)} {
		if _, err := remoteCommand(script, "mark:"); err == nil {
			t.Errorf("a script of %d bytes is taken, want an error", len(script))
		}
	}
}

func TestMarkedStderr(t *testing.T) {
	whole := "Warning: added\nrc noisemark:417\nthe script's\n"
	for cut := range len(whole) {
		started := 0
		m := newMarkedStderr("mark:")
		m.onStart = func() { started++ }
		for _, part := range []string{whole[:cut], whole[cut:]} {
			if n, err := m.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		if m.started() != 417 || started != 1 || m.script() != "the script's\n" || m.all() != "Warning: added\nrc noisethe script's" {
			t.Fatalf("cut at %d: pid %d, %d starts, script %q, all %q", cut, m.started(), started, m.script(), m.all())
		}
	}
	m := newMarkedStderr("mark:")
	for range 1000 {
		_, _ = m.Write([]byte(strings.Repeat("noise", 20)))
	}
	_, _ = m.Write([]byte("endmark:1\n"))
	if m.started() == 0 || !strings.HasSuffix(m.all(), "noiseend") || len(m.all()) > 4096 {
		t.Errorf("after much noise: pid %d, all ends %.20q", m.started(), m.all())
	}
}
