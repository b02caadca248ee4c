package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/dir"
	"hermesfs/backends/ssh"
)

// noBackend is the URL of no sandbox: the mount itself is the sandbox's home.
const noBackend = "none"

// schemes are the URLs that openBackend knows, for messages.
const schemes = "none, dir:/path, ssh://[user@]host[:port][/home]" + remoteSchemes + modalSchemes

// A backendUser is the mount that opens a backend. What a backend makes is named for it.
type backendUser struct {
	mount string
	owner string // tells it from a mount with the same name elsewhere
	log   *slog.Logger
}

func (s *session) backendUser() backendUser {
	host, err := os.Hostname()
	if err != nil {
		s.log.Warn("this machine has no name", "error", err)
	}
	return backendUser{
		mount: s.dir.name, log: s.log,
		owner: host + " " + s.dir.path() + " " + s.cfg.CreatedAt.UTC().Format(time.RFC3339Nano),
	}
}

// openBackend makes the transport of a URL; nil for none. It does not connect.
func openBackend(url string, user backendUser) (backends.Transport, error) {
	scheme, _, _ := strings.Cut(url, ":")
	switch scheme {
	case "", noBackend:
		return nil, nil
	case "dir":
		o, err := dir.Parse(url)
		if err != nil {
			return nil, fmt.Errorf("backend %s: %w", quote(url), err)
		}
		return dir.New(o)
	case "ssh":
		o, err := ssh.Parse(url)
		if err != nil {
			return nil, fmt.Errorf("backend %s: %w", quote(url), err)
		}
		return ssh.New(o)
	case "command", "docker", "podman", "kubectl", "apptainer":
		return openCommand(url, user)
	case "daytona":
		return openDaytona(url, user)
	case "modal":
		return openModal(url, user)
	}
	return nil, fmt.Errorf("backend %s: unknown scheme %s: want one of %s", quote(url), quote(scheme), schemes)
}

// sandboxError says what to do about a sandbox that cannot be reached.
func sandboxError(url string, err error) error {
	if errors.Is(err, backends.ErrAuth) && strings.HasPrefix(url, "ssh:") {
		return fmt.Errorf("sandbox %s does not let us in: %w: 'ssh' must reach it without asking, see %s",
			quote(url), err, sshHint(url))
	}
	return fmt.Errorf("sandbox %s: %w", quote(url), err)
}

// sshHint is the command that shows the same fault.
func sshHint(url string) string {
	o, err := ssh.Parse(url)
	if err != nil {
		return "its log"
	}
	args := "ssh -o BatchMode=yes "
	if o.Port != 0 {
		args += fmt.Sprintf("-p %d ", o.Port)
	}
	host := o.Host
	if o.User != "" {
		host = o.User + "@" + host
	}
	return "'" + args + shellQuote(host) + " true'"
}
