// Package daytona reaches a sandbox of Daytona (platform v0) by its REST API.
//
// A script runs as a job of the sandbox: it is uploaded with its stdin, in pieces, to a private
// directory, started in the background, and what it writes to stdout is spooled there and
// downloaded by ranges while it runs. Nothing of it passes through the answers of exec, which are
// text and lose bytes. Every piece that is uploaded, and all of stdout, is held against its length
// and SHA-256; what was cut is taken up where it ended. Long transfers count as activity of the
// sandbox, nothing else does: it stops by itself when only hermesfs looks at it.
package daytona

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"sync"
	"time"

	"hermesfs/backends"
)

// DefaultAPIURL is that of platform v0.
const DefaultAPIURL = "https://app.daytona.io/api"

// v2Host speaks another protocol.
const v2Host = "api.daytona.com"

// Options of New. Parse makes them of a URL, Environ adds the credentials.
type Options struct {
	URL  string // what Parse read, for messages
	ID   string // id or name of a sandbox that is there; "" finds it by Labels or creates it
	Home string // absolute, or below ~/; "" is $HOME/.hermes

	Labels   map[string]string // find by these; what is created gets them
	Image    string            // create from an image
	Snapshot string            // or from a snapshot
	Name     string            // of what is created; "" leaves it to Daytona
	CPU      int               // of what is created from an image; 0 is the default, also below
	MemoryGB int
	DiskGB   int
	AutoStop *int   // minutes without activity, nil is the default of Daytona
	Key      string // finds again, at the next mount, what was created for this one

	APIURL       string // default DefaultAPIURL
	APIKey       string
	JWT          string // instead of APIKey, with Organization
	Organization string
	Target       string // region of what is created

	Client *http.Client // default: one of its own, without a limit of time
	Log    *slog.Logger
}

// Environ takes the credentials from the environment, as Daytona's own programs do.
func (o Options) Environ(getenv func(string) string) Options {
	o.APIKey = getenv("DAYTONA_API_KEY")
	o.JWT = getenv("DAYTONA_JWT_TOKEN")
	o.Organization = getenv("DAYTONA_ORGANIZATION_ID")
	o.APIURL = cmp.Or(getenv("DAYTONA_API_URL"), getenv("DAYTONA_SERVER_URL"))
	o.Target = getenv("DAYTONA_TARGET")
	return o
}

// wanted are the variables that let us in.
const wanted = "set DAYTONA_API_KEY, or DAYTONA_JWT_TOKEN and DAYTONA_ORGANIZATION_ID"

// A Transport runs scripts in one sandbox.
type Transport struct {
	o   Options
	api *client
	log *slog.Logger

	connecting chan struct{} // holds the token that guards what follows
	box        *sandbox      // nil until found
	dir        string        // the private directory in the sandbox, "" until made
	ours       bool          // created or started by us

	work   sync.WaitGroup // cleaning up after scripts
	mu     sync.Mutex     // guards closed
	closed bool
}

var _ backends.Transport = (*Transport)(nil)

var errClosed = errors.New("the connection is closed")

// New checks the credentials, as far as that goes without the network.
func New(o Options) (*Transport, error) {
	o.APIURL = cmp.Or(o.APIURL, DefaultAPIURL)
	u, err := url.Parse(o.APIURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("DAYTONA_API_URL is %q, which is no http URL", o.APIURL)
	case u.Hostname() == v2Host:
		return nil, fmt.Errorf("%s is Daytona's platform v2, which hermesfs does not speak: set DAYTONA_API_URL to %s or to your own v0 server", v2Host, DefaultAPIURL)
	case o.APIKey == "" && o.JWT == "":
		return nil, fmt.Errorf("daytona: %w: no credentials in the environment: %s", backends.ErrAuth, wanted)
	case o.APIKey == "" && o.Organization == "":
		return nil, fmt.Errorf("daytona: %w: DAYTONA_JWT_TOKEN is set, but not DAYTONA_ORGANIZATION_ID", backends.ErrAuth)
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Transport{o: o, log: o.Log, api: newClient(o), connecting: make(chan struct{}, 1)}
	t.connecting <- struct{}{}
	return t, nil
}

// Close stops the sandbox if this Transport created or started it, and leaves it otherwise, unless
// the disposition says what else; a sandbox that nothing ran in is not started for that. It may be
// called twice.
func (t *Transport) Close(ctx context.Context, d backends.Disposition) error {
	t.mu.Lock()
	was := t.closed
	t.closed = true
	t.mu.Unlock()
	if was {
		return nil
	}
	t.work.Wait()
	defer t.api.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	if t.dir != "" && d != backends.Terminate {
		if _, err := t.exec(ctx, "rm -rf "+quote(t.dir)+"\nsay ok\n", cleanLimit); err != nil {
			t.log.Warn("the private directory stays in the sandbox", "dir", t.dir, "error", err)
		}
	}
	if d == backends.Default && t.ours {
		d = backends.Stop
	}
	if d == backends.Default || d == backends.Keep {
		return nil
	}
	id := t.o.ID
	if t.box != nil {
		id = t.box.ID
	}
	if id == "" {
		return nil
	}
	return t.dispose(ctx, id, d)
}

// closeLimit bounds Close.
const closeLimit = 90 * time.Second

// Local is false.
func (t *Transport) Local() bool { return false }

// URL is what Parse takes.
func (t *Transport) URL() string { return t.o.URL }

// Home is the home of the URL.
func (t *Transport) Home() string { return t.o.Home }

func (t *Transport) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// lock takes the token of t.connecting.
func (t *Transport) lock(ctx context.Context) error {
	select {
	case <-t.connecting:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Transport) unlock() { t.connecting <- struct{}{} }

// at is a path in the private directory.
func at(dir string, name ...string) string { return path.Join(append([]string{dir}, name...)...) }
