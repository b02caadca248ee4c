// Package dir reaches a sandbox that is a directory on this machine.
package dir

import (
	"context"
	"errors"
	"io"

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

// Parse reads dir:/path.
func Parse(url string) (Options, error) { return Options{}, errors.New("not built yet") }

// New makes a Transport.
func New(o Options) (*Transport, error) { return &Transport{o: o}, nil }

// Run runs script with the local sh.
func (t *Transport) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	return errors.New("not built yet")
}

// Close does nothing: the directory stays. It may be called twice.
func (t *Transport) Close(ctx context.Context, d backends.Disposition) error { return nil }

// Local is true.
func (t *Transport) Local() bool { return true }

// URL is dir:PATH.
func (t *Transport) URL() string { return "dir:" + t.o.Path }

// Home is "": $HOME/.hermes.
func (t *Transport) Home() string { return "" }
