package syncer

import (
	"context"
	"errors"
)

var errNotYet = errors.New("not built yet")

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
