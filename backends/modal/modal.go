// Package modal reaches a sandbox of Modal over Modal's own SDK.
//
// A Transport attaches to a sandbox by its id or by app and name, or makes one of an image when the
// first script runs. What it made carries a name and a tag of the mount, by which a later process
// finds it again, and is terminated at Close; any other sandbox is only left.
//
// Each script is one exec with streams of its own. Nothing of it is believed before its exit status
// has come: the streams of a sandbox that is terminated end as if all had been sent. The SDK has no
// call that kills an exec, so a script says its process id on stderr first and is ended by another
// exec; when that fails its time limit ends it. ErrGone is a sandbox that has ended: its files are
// lost, and trying again does not help.
package modal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	sdk "github.com/modal-labs/modal-client/go"

	"hermesfs/backends"
)

// Options of New. Credentials come from where Modal's own tools take them: MODAL_TOKEN_ID and
// MODAL_TOKEN_SECRET, or the profile in MODAL_CONFIG_PATH, by default ~/.modal.toml.
type Options struct {
	SandboxID string // attach to this one; excludes App, Name and Image
	App       string // attach to Name in this app, or make one of Image there
	Name      string // of the sandbox; with Image the default is made of Mount
	Image     string // of what is made: a registry's name, or the id of a snapshot, im-...

	Environment string // Modal's, "" for the profile's
	Home        string // absolute, or relative to $HOME with "~/"; "" for $HOME/.hermes

	// Of a sandbox that is made.
	Timeout     time.Duration // its life, after which Modal ends it; whole seconds, default and maximum 24 h
	IdleTimeout time.Duration // ended when idle for so long; whole seconds, default never
	CPU         float64       // cores, 0 for Modal's default
	MemoryMiB   int           // 0 for Modal's default
	Mount       string        // name of the mount, for name and tag
	Owner       string        // tells this mount from one with the same name elsewhere; "" is one too

	Snapshot    bool                 // take a snapshot of the file system at Close
	OnSnapshot  func(imageID string) // told of each snapshot; nil: it is only logged
	ExecTimeout time.Duration        // of one script; whole seconds, default 1 h
	Log         *slog.Logger         // nil discards
}

// maxLife is how long Modal lets a sandbox live.
const maxLife = 24 * time.Hour

// Validate says what is wrong with o.
func (o *Options) Validate() error {
	switch {
	case o.SandboxID != "" && (o.App != "" || o.Name != "" || o.Image != ""):
		return errors.New("a sandbox's id stands alone: no app, name or image")
	case o.SandboxID != "" && !isID(o.SandboxID, "sb-"):
		return fmt.Errorf("%q is not a sandbox's id, which begins with sb-", o.SandboxID)
	case o.SandboxID == "" && o.App == "":
		return errors.New("say which sandbox: its id, or app and name, or app and image")
	case o.SandboxID == "" && o.Name == "" && o.Image == "":
		return errors.New("with an app say the name of the sandbox, or the image to make one of")
	case o.Image == "" && (o.Timeout != 0 || o.IdleTimeout != 0 || o.CPU != 0 || o.MemoryMiB != 0):
		return errors.New("timeout, idle_timeout, cpu and memory are for a sandbox that is made: they want an image")
	}
	if o.App != "" && !isName(o.App) || o.Name != "" && !isName(o.Name) {
		return fmt.Errorf("app %q, name %q: Modal's names are up to 64 letters, digits, dots, dashes and underscores", o.App, o.Name)
	}
	if strings.ContainsFunc(o.Image, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("the image %q holds a blank", o.Image)
	}
	switch rest, tilde := strings.CutPrefix(o.Home, "~/"); {
	case strings.IndexByte(o.Home, 0) >= 0:
		return fmt.Errorf("the home %q holds a NUL byte", o.Home)
	case o.Home == "":
	case tilde && (rest == "" || path.Clean("/"+rest) != "/"+rest):
		return fmt.Errorf("the home %q must name a directory below $HOME in plain form", o.Home)
	case !tilde && (!path.IsAbs(o.Home) || o.Home == "/" || path.Clean(o.Home) != o.Home):
		return fmt.Errorf("the home %q must be an absolute path in plain form or begin with ~/", o.Home)
	}
	for name, d := range map[string]time.Duration{"timeout": o.Timeout, "idle_timeout": o.IdleTimeout, "limit of a script": o.ExecTimeout} {
		if d < 0 || d%time.Second != 0 || d > maxLife {
			return fmt.Errorf("the %s of %v is not a whole number of seconds up to 24 h", name, d)
		}
	}
	if o.CPU < 0 || o.MemoryMiB < 0 {
		return errors.New("cpu and memory are not negative")
	}
	return nil
}

// A Transport runs scripts in one sandbox of Modal.
type Transport struct {
	o      Options
	log    *slog.Logger
	limits limits

	starting chan struct{} // holds one token; taken to connect and to close; guards what follows
	client   *sdk.Client   // nil until the first script
	sb       *sdk.Sandbox
	made     bool // it is ours to terminate
	finished bool // Close has done its work

	mu     sync.Mutex // guards closed, and that tasks grows no more then
	closed bool
	tasks  sync.WaitGroup // what Close waits for
}

// limits are for tests to shorten.
type limits struct {
	watch time.Duration // a silent script's sandbox is asked so often whether it lives
	grace time.Duration // how long an exit status may come after a stream broke
}

var _ backends.Transport = (*Transport)(nil)

// New makes a Transport. It looks for credentials, and does not connect.
func New(o Options) (*Transport, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("modal: %w", err)
	}
	if err := checkCredentials(); err != nil {
		return nil, fmt.Errorf("modal: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = maxLife
	}
	if o.ExecTimeout == 0 {
		o.ExecTimeout = time.Hour
	}
	t := &Transport{
		o: o, log: o.Log, starting: make(chan struct{}, 1),
		limits: limits{watch: 15 * time.Second, grace: 5 * time.Second},
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.starting <- struct{}{}
	return t, nil
}

// Local is false.
func (t *Transport) Local() bool { return false }

// Home is the home of the URL.
func (t *Transport) Home() string { return t.o.Home }

// op names the sandbox in messages.
func (t *Transport) op() string {
	switch {
	case t.o.SandboxID != "":
		return "modal sandbox " + t.o.SandboxID
	case t.o.Name != "":
		return "modal sandbox " + t.o.App + "/" + t.o.Name
	}
	return "modal app " + t.o.App
}

// enter says that something of t begins which Close waits for; leave must follow when it is true.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.tasks.Add(1)
	return true
}

func (t *Transport) leave() { t.tasks.Done() }

// lock takes the token.
func (t *Transport) lock(ctx context.Context) error {
	select {
	case <-t.starting:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Transport) unlock() { t.starting <- struct{}{} }
