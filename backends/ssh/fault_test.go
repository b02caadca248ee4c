package ssh

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hermesfs/backends"
)

// fake makes a Transport whose ssh is a shell script.
func fake(t *testing.T, program string) *Transport {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+program), 0o700); err != nil {
		t.Fatal(err)
	}
	tr, err := New(Options{User: "bob", Host: "box", Port: 2222, Program: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close(t.Context(), backends.Default) })
	return tr
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name, stderr    string
		auth, transient bool
		says            string
	}{
		{"no key", "bob@box: Permission denied (publickey,password).", true, false, "`ssh -p 2222 bob@box true` must work first"},
		{"too many keys", "Received disconnect from ::1 port 22:2: Too many authentication failures", true, false, "must work first"},
		{"unknown host key", "No ED25519 host key is known for box and you have requested strict checking.\nHost key verification failed.", true, false, "run `ssh -p 2222 bob@box true` once"},
		{"changed host key", "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", true, false, "`ssh-keygen -R '[box]:2222'`"},
		{"no such host", "ssh: Could not resolve hostname box: Name or service not known", false, false, `no host "box"`},
		{"no name server", "ssh: Could not resolve hostname box: Temporary failure in name resolution", false, true, "Temporary failure"},
		{"refused", "ssh: connect to host box port 2222: Connection refused", false, true, "Connection refused"},
		{"timeout", "ssh: connect to host box port 2222: Connection timed out", false, true, "timed out"},
		{"option", "command-line: line 0: Bad configuration option: nonsense", false, false, "nonsense"},
		{"config", "Bad owner or permissions on /root/.ssh/config", false, false, "does not take its configuration"},
		{"silent", "", false, true, "no connection"},
	} {
		tr := fake(t, "case $1 in -G) exit 1 ;; esac\ncat >&2 <<'X'\n"+tc.stderr+"\nX\nexit 255\n")
		err := tr.Run(t.Context(), "true", strings.NewReader("in"), nil)
		if err == nil || errors.Is(err, backends.ErrAuth) != tc.auth || backends.IsTransient(err) != tc.transient {
			t.Errorf("%s: %v: auth %v, transient %v, want %v, %v", tc.name, err, errors.Is(err, backends.ErrAuth), backends.IsTransient(err), tc.auth, tc.transient)
			continue
		}
		if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "bob@box") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want it to say %q on one line", tc.name, err, tc.says)
		}
	}
}

// A login that is a menu, or says that the account is closed, is not a script that succeeded.
func TestScriptDidNotRun(t *testing.T) {
	for _, status := range []string{"0", "1", "127"} {
		tr := fake(t, "echo 'This account is not available.' >&2; case \"$*\" in *'-M '*) exit 0 ;; esac; exit "+status+"\n")
		err := tr.Run(t.Context(), "true", nil, nil)
		if err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), "before sh ran the script") || !strings.Contains(err.Error(), "not available") {
			t.Errorf("exit %s without a start = %v, want a permanent error", status, err)
		}
	}
}

func TestNoProgram(t *testing.T) {
	for _, program := range []string{"no-such-ssh", "/no/such/ssh"} {
		tr, err := New(Options{Host: "box", Program: program})
		if err != nil {
			t.Fatal(err)
		}
		err = tr.Run(t.Context(), "true", nil, nil)
		if err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), "install OpenSSH") {
			t.Errorf("Run with %s = %v, want how to install it", program, err)
		}
		if err := tr.Close(t.Context(), backends.Default); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, o := range []Options{
		{},
		{Host: "-x"},
		{Host: "h", User: "-x"},
		{Host: "h", User: "a b"},
		{Host: "h", Port: -1},
		{Host: "h", Home: "x"},
		{Host: "h", Home: "/"},
		{Host: "h", Home: "~/"},
		{Host: "h", Persist: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) = nil, want an error", o)
		}
	}
}

// The user's configuration decides where it says anything; otherwise we do.
func TestSettings(t *testing.T) {
	for _, tc := range []struct {
		conf string
		o    Options
		want []string
		not  []string
	}{
		{"stricthostkeychecking ask\nconnecttimeout none\nserveraliveinterval 0\n", Options{}, []string{"StrictHostKeyChecking=accept-new", "ConnectTimeout=15", "ServerAliveInterval=15"}, nil},
		{"stricthostkeychecking true\nconnecttimeout 3\nserveraliveinterval 7\n", Options{}, nil, []string{"StrictHostKeyChecking", "ConnectTimeout", "ServerAliveInterval"}},
		{"stricthostkeychecking ask\nconnecttimeout 3\n", Options{StrictHostKeys: true, ConnectTimeout: 5e9, AliveCountMax: 2}, []string{"StrictHostKeyChecking=yes", "ConnectTimeout=5", "ServerAliveCountMax=2"}, nil},
		{"", Options{}, []string{"StrictHostKeyChecking=accept-new", "BatchMode=yes", "ClearAllForwardings=yes"}, nil},
	} {
		tr := fake(t, "cat <<'X'\n"+tc.conf+"X\n")
		tc.o.Host, tc.o.Program = tr.o.Host, tr.o.Program
		tr.o = tc.o
		got := strings.Join(tr.settingsLocked(t.Context()), " ")
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("with %q: %s, want %s", tc.conf, got, want)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(got, not) {
				t.Errorf("with %q: %s, want no %s", tc.conf, got, not)
			}
		}
	}
}
