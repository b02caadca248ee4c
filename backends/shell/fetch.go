package shell

import (
	"context"
	"errors"
	"io"

	"hermesfs/backends"
)

var errStub = errors.New("not built yet")

// Push applies a batch, see backends.Batch.
func (s *Sandbox) Push(ctx context.Context, b *backends.Batch) (*backends.PushResult, error) {
	return nil, errStub
}

// Fetch is next.
func (s *Sandbox) Fetch(ctx context.Context, paths []string, lim backends.Limits, fn func(backends.Entry, io.Reader) error) ([]backends.Problem, error) {
	return nil, errStub
}
