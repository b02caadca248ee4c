package backendtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An SSHD is a real sshd on a loopback port with keys, configuration and a home of its own.
type SSHD struct {
	Addr       string // 127.0.0.1:port
	Port       int
	User       string // the only one that it lets in: the one of this process
	Home       string // $HOME of what runs there
	Dir        string // keys and configuration
	ConfigFile string // for ssh -F: knows the user's key, a known_hosts of its own, and nothing of ~/.ssh

	t   testing.TB
	bin string
	cmd *osexec.Cmd
}

const sshdConfig = `ListenAddress 127.0.0.1
HostKey %[1]s/host_key
AuthorizedKeysFile %[1]s/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PermitUserRC no
UseDNS no
MaxStartups 100
SetEnv HOME=%[2]s
`

const sshConfig = `Host *
IdentityFile %[1]s/user_key
IdentitiesOnly yes
UserKnownHostsFile %[1]s/known_hosts
GlobalKnownHostsFile /dev/null
`

// StartSSHD starts an sshd whose configuration begins with the given lines, so that they win. It
// is stopped when the test ends.
func StartSSHD(t testing.TB, config ...string) *SSHD {
	t.Helper()
	s := &SSHD{t: t, bin: requireSSHD(t), Dir: t.TempDir(), Home: t.TempDir()}
	for _, key := range []string{"host_key", "user_key"} {
		s.Keygen(key)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.User = me.Username
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // for its unprivileged half
			t.Fatal(err)
		}
	}
	text := strings.Join(append(config, fmt.Sprintf(sshdConfig, s.Dir, s.Home)), "\n")
	// Newer ones punish a source for connections that end early, as those of the tests do.
	s.write("sshd_config", text+"PerSourcePenalties no\n")
	if s.tool(s.bin, "-t", "-f", filepath.Join(s.Dir, "sshd_config")) != nil {
		s.write("sshd_config", text)
	}
	s.ConfigFile = s.write("ssh_config", fmt.Sprintf(sshConfig, s.Dir))
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			t.Logf("sshd's log ends: %s", log[max(0, len(log)-4000):])
		}
	})
	for try := 0; ; try++ {
		s.Port = freePort(t)
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
		if err = s.start(); err == nil {
			return s
		}
		if try == 3 {
			t.Fatal(err)
		}
	}
}

// URL is that of the home $HOME/.hermes.
func (s *SSHD) URL() string { return "ssh://" + s.User + "@" + s.Addr }

// Restart starts a stopped sshd again, at the same port.
func (s *SSHD) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *SSHD) start() error {
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = osexec.Command(s.bin, "-D", "-e", "-f", filepath.Join(s.Dir, "sshd_config"), "-p", strconv.Itoa(s.Port))
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start sshd: %w", err)
	}
	ended := make(chan error, 1)
	go func(cmd *osexec.Cmd) { ended <- cmd.Wait() }(s.cmd)
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", s.Addr); err == nil {
			c.Close()
			return nil
		}
		select {
		case err := <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("sshd ended (%v): %s", err, text)
		case <-deadline:
			return errors.New("sshd does not listen")
		case <-tick.C:
		}
	}
}

// Stop kills sshd and all of its connections. It may be called twice.
func (s *SSHD) Stop() {
	if s.cmd == nil {
		return
	}
	pid := s.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // it accepts no more
	s.KillConnections()
	_ = syscall.Kill(pid, syscall.SIGKILL)
	waitFor(s.t, "sshd to end", func() bool { return !alive(pid) })
	s.cmd = nil
}

// KillConnections kills the processes of all connections. What they started gets no signal, only
// the end of its streams.
func (s *SSHD) KillConnections() {
	for _, pid := range s.Connections() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Connections are the process ids of the connections, two each where privileges are separated.
func (s *SSHD) Connections() []int {
	var found []int
	ours := []int{s.cmd.Process.Pid}
	for len(ours) > 0 {
		var next []int
		for _, p := range processes() {
			if slices.Contains(ours, p.ppid) && strings.HasPrefix(p.name, "sshd") {
				next = append(next, p.pid)
			}
		}
		found = append(found, next...)
		ours = next
	}
	return found
}

// Keygen makes a key pair below Dir, in the place of one that is there, and returns its path.
func (s *SSHD) Keygen(name string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	_ = os.Remove(path)
	if err := s.tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// PrintBanner makes every login of bash and zsh print lines to stdout and stderr.
func (s *SSHD) PrintBanner() {
	s.t.Helper()
	for _, rc := range []string{".bashrc", ".zshenv"} {
		text := "echo 'Welcome to the machine, $PATH {'\necho '*** rc noise ***' >&2\n"
		if err := os.WriteFile(filepath.Join(s.Home, rc), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *SSHD) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *SSHD) tool(name string, args ...string) error {
	if out, err := osexec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
