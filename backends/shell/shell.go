// Package shell builds the file verbs (manifest, hash, push, fetch) over any transport that
// runs POSIX sh scripts.
package shell

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"hermesfs/backends"
)

// Options of New.
type Options struct {
	Mount string       // name of the mount: part of the names of temporary directories
	Probe string       // Hello.Probe of an earlier connection, "" for none
	Log   *slog.Logger // nil discards
}

// A Sandbox is the far copy of the home, reached by scripts.
type Sandbox struct {
	t backends.Transport
	o Options
}

var errStub = errors.New("not built yet")

// New makes a Sandbox over t. It does not connect.
func New(t backends.Transport, o Options) *Sandbox { return &Sandbox{t: t, o: o} }

// Hello asks the sandbox for its home and marker and finds its tools.
func (s *Sandbox) Hello(ctx context.Context) (backends.Hello, error) {
	return backends.Hello{}, errStub
}

// Claim creates the home, 0700, where it is missing, and leaves id as its marker.
func (s *Sandbox) Claim(ctx context.Context, id string) error { return errStub }

// Manifest calls fn for every path in scope, directories before what is in them. It is complete
// or an error, but for the problems: below the path of each nothing is known, and absence there
// means nothing.
func (s *Sandbox) Manifest(ctx context.Context, scope backends.Scope, fn func(backends.Entry) error) ([]backends.Problem, error) {
	return nil, errStub
}

// Hash returns the SHA-256 of regular files; what vanished or cannot be read is absent.
func (s *Sandbox) Hash(ctx context.Context, paths []string) (map[string][32]byte, error) {
	return nil, errStub
}

// Push applies a batch, see backends.Batch. When it returns an error nothing is known of what
// was applied after Ready.
func (s *Sandbox) Push(ctx context.Context, b *backends.Batch) (*backends.PushResult, error) {
	return nil, errStub
}

// Fetch calls fn for each of paths while the archive streams in. Only when Fetch returned a nil
// error was the archive complete and its digest right.
func (s *Sandbox) Fetch(ctx context.Context, paths []string, lim backends.Limits, fn func(backends.Entry, io.Reader) error) ([]backends.Problem, error) {
	return nil, errStub
}

// Close ends the connection. It may be called twice.
func (s *Sandbox) Close(ctx context.Context, d backends.Disposition) error {
	return s.t.Close(ctx, d)
}
