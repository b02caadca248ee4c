// Package ssh reaches a sandbox over the system's ssh client, so that ~/.ssh/config, agents, jump
// hosts and known hosts work as they do by hand.
//
// One master connection a Transport is opened by itself and shared by all scripts. It stands
// behind a socket in a private directory, restarts when it died, and ends at Close, or 60 s after
// the last script when this process was killed. Where the server refuses another session over it
// (MaxSessions), ssh connects anew for that script.
//
// A script passes through the login shell of the far side as letters that sh, bash, dash, ksh,
// zsh, fish, csh and tcsh read alike, and is run by sh. It says on stderr that it has started: a
// connection that ends before that is opened again once, and what rc files print before it is no
// part of the script's errors. What they print on stdout is passed on.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hermesfs/backends"
)

// Options of New.
type Options struct {
	User string // "": what ssh's own configuration says
	Host string // a name, an address, or an alias of ssh's configuration
	Port int    // 0: what ssh's own configuration says
	Home string // absolute, or relative to $HOME with "~/"; "" for $HOME/.hermes

	Program        string        // the client, default "ssh" of PATH
	ControlDir     string        // for the socket of the master; default, and when too long: one of the user's below os.TempDir
	ConfigFile     string        // ssh -F
	IdentityFile   string        // ssh -i
	StrictHostKeys bool          // refuse unknown host keys; default is to accept new ones, never changed ones
	ConnectTimeout time.Duration // default 15 s where ssh's configuration has none
	AliveInterval  time.Duration // a silent server is asked so often, default 15 s where ssh's configuration has none
	AliveCountMax  int           // and given up after so many questions, default 3
	Persist        time.Duration // how long the master waits for the next script, default 60 s
	ExtraArgs      []string      // put before all other arguments, so that their -o win
	Log            *slog.Logger  // nil discards
}

// Validate says what is wrong with o.
func (o *Options) Validate() error {
	if err := validHost(o.Host); err != nil {
		return err
	}
	if err := validUser(o.User); err != nil {
		return err
	}
	if o.Port < 0 || o.Port > 65535 {
		return fmt.Errorf("port %d is not between 1 and 65535", o.Port)
	}
	switch rest, tilde := strings.CutPrefix(o.Home, "~/"); {
	case strings.IndexByte(o.Home, 0) >= 0:
		return fmt.Errorf("the home %q holds a NUL byte", o.Home)
	case o.Home == "":
	case tilde && (rest == "" || path.Clean("/"+rest) != "/"+rest):
		return fmt.Errorf("the home %q must name a directory below $HOME in plain form", o.Home)
	case !tilde && !path.IsAbs(o.Home):
		return fmt.Errorf("the home %q must be an absolute path or begin with ~/", o.Home)
	case !tilde && (o.Home == "/" || path.Clean(o.Home) != o.Home):
		return fmt.Errorf("the home %q must name a directory below / in plain form", o.Home)
	}
	if o.ConnectTimeout < 0 || o.AliveInterval < 0 || o.AliveCountMax < 0 || o.Persist < 0 {
		return errors.New("a timeout is negative")
	}
	return nil
}

// A Transport runs scripts over ssh.
type Transport struct {
	o      Options
	log    *slog.Logger
	closed atomic.Bool

	errands    sync.WaitGroup // on the far side, after a Run was cancelled
	errandCtx  context.Context
	endErrands context.CancelFunc

	starting chan struct{} // holds one token; taken to start or end the master; guards what follows
	socket   string        // "" until the first script
	ownDir   string        // the directory made for the socket, "" when it is not ours to remove
	settings []string      // the -o that every ssh gets
}

var _ backends.Transport = (*Transport)(nil)

// New makes a Transport. It does not connect.
func New(o Options) (*Transport, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("ssh: %w", err)
	}
	if o.Program == "" {
		o.Program = "ssh"
	}
	if o.Persist == 0 {
		o.Persist = time.Minute
	}
	t := &Transport{o: o, log: o.Log, starting: make(chan struct{}, 1)}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.errandCtx, t.endErrands = context.WithCancel(context.Background())
	t.starting <- struct{}{}
	return t, nil
}

// Close ends the master connection and removes its socket. It may be called twice. A sandbox
// behind ssh is a machine that we cannot stop: Stop and Terminate close, and say so in an error
// that is errors.ErrUnsupported.
func (t *Transport) Close(ctx context.Context, d backends.Disposition) error {
	if !t.closed.Swap(true) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		if err := t.endMaster(ctx); err != nil {
			return err
		}
	}
	switch d {
	case backends.Default, backends.Keep:
		return nil
	}
	return fmt.Errorf("%s cannot be told to %s: %w", t.op(), d, errors.ErrUnsupported)
}

// Local is false, also for a host that is this machine: it may be a container with ports of ours.
func (t *Transport) Local() bool { return false }

// Home is the home of the URL.
func (t *Transport) Home() string { return t.o.Home }

// op names the connection in messages.
func (t *Transport) op() string { return "ssh " + t.destination() }

func (t *Transport) destination() string {
	s := t.o.Host
	if t.o.User != "" {
		s = t.o.User + "@" + s
	}
	return s
}
