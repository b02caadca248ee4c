package ssh

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"hermesfs/backends"
)

// exitTransport is ssh's own exit status; any other is the script's.
const exitTransport = 255

// errNotStarted is a connection that ended before the script began.
var errNotStarted = errors.New("the connection ended before the script started")

// errLost is one that ended while the script ran.
var errLost = errors.New("the connection was lost")

// fault makes an error of what ssh wrote before it exited with 255. What cannot become better by
// trying again is not a plain *TransportError.
func (t *Transport) fault(cause error, stderr string) error {
	has := func(texts ...string) bool {
		for _, s := range texts {
			if strings.Contains(stderr, s) {
				return true
			}
		}
		return false
	}
	transport := &backends.TransportError{Op: t.op(), Err: cause, Stderr: stderr}
	switch {
	case has("REMOTE HOST IDENTIFICATION HAS CHANGED"):
		transport.Err = fmt.Errorf("%w: the host key of %s has changed: if the machine was replaced, run `ssh-keygen -R %s`",
			backends.ErrAuth, t.o.Host, shellQuote(t.knownName()))
	case has("Host key verification failed"):
		transport.Err = fmt.Errorf("%w: the host key of %s is not known: run `%s` once", backends.ErrAuth, t.o.Host, t.byHand())
	case has("Permission denied (", "Too many authentication failures", "No more authentication methods"):
		transport.Err = fmt.Errorf("%w: `%s` must work first, without a password", backends.ErrAuth, t.byHand())
	case has("Could not resolve hostname") && !has("Temporary failure"):
		return fmt.Errorf("%s: there is no host %q: %s", t.op(), t.o.Host, lastLine(stderr))
	case has("ad configuration option", "Bad owner or permissions", "Can't open user config file", "unknown option --", "illegal option --"):
		return fmt.Errorf("%s: ssh does not take its configuration: %s", t.op(), lastLine(stderr))
	}
	return transport
}

// byHand is the command that shows the same fault.
func (t *Transport) byHand() string {
	s := "ssh "
	if t.o.ConfigFile != "" {
		s += "-F " + shellQuote(t.o.ConfigFile) + " "
	}
	if t.o.IdentityFile != "" {
		s += "-i " + shellQuote(t.o.IdentityFile) + " "
	}
	if t.o.Port != 0 {
		s += fmt.Sprintf("-p %d ", t.o.Port)
	}
	return s + shellQuote(t.destination()) + " true"
}

// knownName is what known_hosts calls the host.
func (t *Transport) knownName() string {
	if t.o.Port == 0 || t.o.Port == 22 {
		return t.o.Host
	}
	return "[" + strings.Trim(t.o.Host, "[]") + "]:" + strconv.Itoa(t.o.Port)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return fmt.Sprintf("%q", strings.TrimSpace(lines[len(lines)-1]))
}

// shellQuote makes a word fit to be pasted into a shell.
func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:%"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// answers says whether a process listens at a socket.
func answers(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
