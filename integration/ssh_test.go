package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"hermesfs/backends/backendtest"
)

// overSSH puts the sandbox behind a real sshd, and an ssh first in PATH that reads the test's
// configuration in place of the user's and writes down what it is asked to do.
func (r *rig) overSSH() {
	t := r.t
	t.Helper()
	sshd := backendtest.StartSSHD(t)
	r.sandbox = filepath.Join(sshd.Home, ".hermes")
	r.url = sshd.URL()
	client, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	r.calls = filepath.Join(bin, "calls")
	r.write(filepath.Join(bin, "ssh"), fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%s'\nexec '%s' -F '%s' \"$@\"\n", r.calls, client, sshd.ConfigFile), 0o755)
	r.env = append(r.env, "PATH="+bin+":"+os.Getenv("PATH"))
}

// checkTeardown holds an unmount over ssh to its order: the connection ends once, after the last
// script ran.
func (r *rig) checkTeardown() {
	r.t.Helper()
	data, err := os.ReadFile(r.calls)
	if err != nil {
		r.t.Fatal(err)
	}
	calls := strings.Split(strings.TrimSpace(string(data)), "\n")
	exits := strings.Count(string(data), "-O exit")
	if last := calls[len(calls)-1]; !strings.Contains(last, "-O exit") || exits != 1 {
		r.t.Errorf("%d connections were ended, the last call was %q", exits, last)
	}
	if err := os.Remove(r.calls); err != nil {
		r.t.Fatal(err)
	}
}
