package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const sshdConfig = `Port %[1]d
ListenAddress 127.0.0.1
HostKey %[2]s/host_key
AuthorizedKeysFile %[2]s/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
`

const sshConfig = `Host *
IdentityFile %[1]s/user_key
IdentitiesOnly yes
UserKnownHostsFile %[1]s/known_hosts
GlobalKnownHostsFile /dev/null
`

// scriptSSHD starts a real sshd with its own keys on a free loopback port, and puts an ssh first
// in PATH that reads the script's configuration in place of the user's.
func scriptSSHD(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: sshd")
	}
	dir := ts.MkAbs(".sshd")
	ts.Check(os.MkdirAll(filepath.Join(dir, "bin"), 0o700))
	for _, key := range []string{"host_key", "user_key"} {
		ts.Check(ts.Exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)))
	}
	if os.Geteuid() == 0 {
		ts.Check(os.MkdirAll("/run/sshd", 0o755)) // sshd wants it for its unprivileged half
	}
	port := freePort(ts)
	write := func(name, text string, mode os.FileMode) {
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
	}
	write("sshd_config", fmt.Sprintf(sshdConfig, port, dir), 0o600)
	write("ssh_config", fmt.Sprintf(sshConfig, dir), 0o600)
	real, err := exec.LookPath("ssh")
	ts.Check(err)
	write("bin/ssh", fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%[1]s/calls'\nexec %[2]s -F '%[1]s/ssh_config' \"$@\"\n", dir, real), 0o755)

	log, err := os.Create(filepath.Join(dir, "log"))
	ts.Check(err)
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.Stderr = log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill() //nolint:errcheck // it ended
		cmd.Wait()         //nolint:errcheck // it was killed
		log.Close()
	})
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(log.Name())
			ts.Fatalf("sshd does not listen: %v: %s", err, b)
		}
	}
	me, err := user.Current()
	ts.Check(err)
	ts.Setenv("PATH", filepath.Join(dir, "bin")+":"+ts.Getenv("PATH"))
	ts.Setenv("SSH_URL", fmt.Sprintf("ssh://%s@%s", me.Username, addr))
	ts.Check(os.WriteFile(ts.MkAbs("sshd.pid"), []byte(fmt.Sprint(cmd.Process.Pid)), 0o600))
}

func freePort(ts *testscript.TestScript) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
