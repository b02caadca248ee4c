package ssh

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"time"

	"hermesfs/backends"
)

const (
	closeLimit = 5 * time.Second
	// An -O command is answered by a process of this machine.
	commandLimit = 2 * time.Second
)

// lock takes the token of t.starting.
func (t *Transport) lock(ctx context.Context) error {
	select {
	case <-t.starting:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Transport) unlock() { t.starting <- struct{}{} }

// master sees to it that a master listens and returns the arguments of a client, to which the
// command is to be appended. The master is a process apart from any script's client, so that
// cancelling one script does not end the proxy of all.
func (t *Transport) master(ctx context.Context) ([]string, error) {
	if err := t.lock(ctx); err != nil {
		return nil, err
	}
	defer t.unlock()
	if t.closed.Load() {
		return nil, fmt.Errorf("%s: %w", t.op(), errClosed)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := t.makeSocketLocked(); err != nil {
		return nil, err
	}
	if t.settings == nil {
		t.settings = t.settingsLocked(ctx)
	}
	// A client that finds its master gone connects by itself, but does not become a master.
	args := t.args("-S", t.socket, "-o", "ControlMaster=no")
	if answers(t.socket) {
		return args, nil
	}
	if err := os.Remove(t.socket); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("stale control socket: %w", err)
	}
	persist := max(1, int(t.o.Persist.Seconds()))
	stderr := &backends.StderrTail{}
	c := &client{
		cmd: osexec.Command(t.o.Program, t.args("-M", "-N", "-S", t.socket,
			"-o", "ControlMaster=yes", "-o", "ControlPersist="+strconv.Itoa(persist))...),
		stderr: stderr,
	}
	start := time.Now()
	o, err := c.run(ctx)
	switch {
	case err != nil:
		return nil, t.clientError(err)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case o.code != 0:
		return nil, t.fault(errors.New("no connection"), stderr.String())
	}
	t.log.Debug("ssh connected", "host", t.o.Host, "took", time.Since(start))
	return args, nil
}

// args are those of every ssh that connects.
func (t *Transport) args(special ...string) []string {
	args := append(t.baseArgs(), t.settings...)
	return append(append(args, special...), "--", t.o.Host)
}

func (t *Transport) baseArgs() []string {
	args := append([]string{}, t.o.ExtraArgs...)
	if t.o.ConfigFile != "" {
		args = append(args, "-F", t.o.ConfigFile)
	}
	if t.o.IdentityFile != "" {
		args = append(args, "-i", t.o.IdentityFile)
	}
	if t.o.Port != 0 {
		args = append(args, "-p", strconv.Itoa(t.o.Port))
	}
	if t.o.User != "" {
		args = append(args, "-l", t.o.User)
	}
	return args
}

// settingsLocked are the -o of every ssh that connects. They win over the user's configuration,
// so what it may well have decided is asked first.
func (t *Transport) settingsLocked(ctx context.Context) []string {
	s := []string{
		"-T", "-x", "-a",
		"-o", "BatchMode=yes",
		"-o", "ClearAllForwardings=yes",
		"-o", "PermitLocalCommand=no",
		"-o", "RemoteCommand=none",
		"-o", "LogLevel=INFO", // the messages are read, see fault
	}
	cmd := osexec.CommandContext(ctx, t.o.Program, append(append([]string{"-G"}, t.baseArgs()...), "--", t.o.Host)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		t.log.Debug("ssh does not tell its configuration", "host", t.o.Host, "error", err) // the next one will say why
	}
	conf := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		conf[key] = value
	}
	set := func(key, value string) { s = append(s, "-o", key+"="+value) }
	seconds := func(d time.Duration, otherwise int) string {
		if d == 0 {
			return strconv.Itoa(otherwise)
		}
		return strconv.Itoa(max(1, int(d.Seconds())))
	}
	switch v := conf["stricthostkeychecking"]; {
	case t.o.StrictHostKeys:
		set("StrictHostKeyChecking", "yes")
	case v == "" || v == "ask":
		set("StrictHostKeyChecking", "accept-new")
	}
	if v := conf["connecttimeout"]; t.o.ConnectTimeout != 0 || v == "" || v == "none" {
		set("ConnectTimeout", seconds(t.o.ConnectTimeout, 15))
	}
	if v := conf["serveraliveinterval"]; t.o.AliveInterval != 0 || v == "" || v == "0" {
		set("ServerAliveInterval", seconds(t.o.AliveInterval, 15))
	}
	if t.o.AliveCountMax != 0 {
		set("ServerAliveCountMax", strconv.Itoa(t.o.AliveCountMax))
	}
	return s
}

// clientError is a client that could not be run at all.
func (t *Transport) clientError(err error) error {
	if errors.Is(err, osexec.ErrNotFound) || errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("%s: there is no %q: install OpenSSH's client (openssh-client)", t.op(), t.o.Program)
	}
	return fmt.Errorf("%s: %w", t.op(), err)
}
