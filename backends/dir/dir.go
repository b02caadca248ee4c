// Package dir reaches a sandbox that is a directory on this machine: scripts run here, with HOME
// set to it. It isolates nothing; it is for tests, for demonstrations and for directories that
// something else carries into a container.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"

	"hermesfs/backends"
)

// Options of New.
type Options struct {
	Path string   // the directory: the sandbox's $HOME
	Sh   string   // the shell, default "sh" of PATH
	Env  []string // added to the environment, HOME is set anyway
}

// A Transport runs scripts on this machine with HOME set to a directory.
type Transport struct{ o Options }

var _ backends.Transport = (*Transport)(nil)

// Parse reads dir:/path. The path is taken as it stands, but for %XX where the URL has dir://.
func Parse(raw string) (Options, error) {
	rest, ok := strings.CutPrefix(raw, "dir:")
	if !ok {
		return Options{}, fmt.Errorf("%q is not a dir: URL, which looks like dir:/path", raw)
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		path, err := url.PathUnescape(after)
		if err != nil {
			return Options{}, fmt.Errorf("%q: %w", raw, err)
		}
		rest = path
	}
	if strings.IndexByte(rest, 0) >= 0 {
		return Options{}, fmt.Errorf("%q: the path holds a NUL byte", raw)
	}
	if !filepath.IsAbs(rest) {
		return Options{}, fmt.Errorf("%q: the path must be absolute, as in dir:/path", raw)
	}
	return Options{Path: filepath.Clean(rest)}, nil
}

// New makes a Transport. The directory must be there.
func New(o Options) (*Transport, error) {
	if !filepath.IsAbs(o.Path) {
		return nil, fmt.Errorf("sandbox directory %q is not an absolute path", o.Path)
	}
	info, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil, fmt.Errorf("sandbox directory %q does not exist: make it with mkdir -p %s", o.Path, shellQuote(o.Path))
	case err != nil:
		return nil, fmt.Errorf("sandbox directory: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("sandbox directory %q is not a directory", o.Path)
	}
	if o.Sh == "" {
		o.Sh = "sh"
	}
	return &Transport{o: o}, nil
}

// Run runs script with the local sh, in a process group of its own, which ends with it: what a
// script leaves in the background is killed. A stdin whose Read blocks for ever keeps its
// goroutine until it returns.
func (t *Transport) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	cmd := osexec.Command(t.o.Sh, "-c", script)
	cmd.Dir = t.o.Path
	cmd.Env = append(append(os.Environ(), t.o.Env...), "HOME="+t.o.Path, "PWD="+t.o.Path)
	return run(ctx, t.URL(), cmd, stdin, stdout)
}

// Close does nothing: the directory stays. It may be called twice.
func (t *Transport) Close(context.Context, backends.Disposition) error { return nil }

// Local is true.
func (t *Transport) Local() bool { return true }

// URL is dir:PATH.
func (t *Transport) URL() string { return "dir:" + t.o.Path }

// Home is "": $HOME/.hermes.
func (t *Transport) Home() string { return "" }

// shellQuote makes a path fit to be pasted into a shell.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
