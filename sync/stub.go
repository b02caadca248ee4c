package syncer

import (
	"context"
	"errors"
)

var errNotYet = errors.New("not built yet")

// Objects holds versions of files by the BLAKE3 of their content.
type Objects struct{ dir string }

// OpenObjects opens the store in dir, and makes it when missing.
func OpenObjects(dir string) (*Objects, error) { return &Objects{dir: dir}, nil }

// Attach meets the sandbox before the first Push.
func (e *Engine) Attach(ctx context.Context) (AttachReport, error) { return AttachReport{}, errNotYet }

// Push sends what changed in the merged view since base.
func (e *Engine) Push(ctx context.Context) (PushReport, error) { return PushReport{}, errNotYet }

// Pull brings what changed in the sandbox since base into the upper layer.
func (e *Engine) Pull(ctx context.Context) (PullReport, error) { return PullReport{}, errNotYet }

// Commit takes what the upper layer changes to the home.
func (e *Engine) Commit(ctx context.Context, o CommitOptions) (CommitReport, error) {
	return CommitReport{}, errNotYet
}

// Diff lists where the merged view differs from the home.
func (e *Engine) Diff(ctx context.Context, paths []string) ([]DiffEntry, error) {
	return nil, errNotYet
}

// Discard drops changes from the upper layer.
func (e *Engine) Discard(ctx context.Context, paths []string) (DiscardReport, error) {
	return DiscardReport{}, errNotYet
}

// Recover finishes what a killed process left.
func (e *Engine) Recover(ctx context.Context) (RecoverReport, error) {
	return RecoverReport{}, errNotYet
}
