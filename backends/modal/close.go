package modal

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/modal-labs/modal-client/go"

	"hermesfs/backends"
)

const (
	closeLimit    = time.Minute
	snapshotLimit = 5 * time.Minute
)

// Close waits for what is under way and ends the connection. By default it terminates a sandbox that
// hermesfs made, for this mount, and leaves any other. Stop takes a snapshot and terminates: a
// sandbox of Modal has no other way to be stopped and keep its disk, and the image of the snapshot
// stands in place of the one in the URL. When the snapshot fails nothing is terminated. Close may be
// called twice; after an error it tries again.
func (t *Transport) Close(ctx context.Context, d backends.Disposition) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	idle := make(chan struct{})
	go func() {
		t.tasks.Wait()
		close(idle)
	}()
	_, _ = within(idle, closeLimit)
	lockCtx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	if err := t.lock(lockCtx); err != nil {
		return err
	}
	defer t.unlock()
	if t.finished {
		return nil
	}
	if err := t.disposeLocked(ctx, d); err != nil {
		return err
	}
	t.finished = true
	if t.sb != nil {
		_ = t.sb.Detach() // its error is of closing a socket
	}
	if t.client != nil {
		t.client.Close()
	}
	return nil
}

func (t *Transport) disposeLocked(ctx context.Context, d backends.Disposition) error {
	end := d == backends.Stop || d == backends.Terminate || d == backends.Default && t.made
	if t.sb == nil && (d == backends.Stop || d == backends.Terminate) {
		// Nothing has run, yet the sandbox of an earlier process may.
		findCtx, cancel := context.WithTimeout(ctx, closeLimit)
		defer cancel()
		err := t.connectLocked(findCtx, false)
		if errors.Is(err, ErrGone) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if t.sb == nil {
		return nil
	}
	if t.o.Snapshot || d == backends.Stop {
		image, err := t.snapshotLocked(ctx)
		if errors.Is(err, ErrGone) {
			return err
		}
		if err != nil {
			return fmt.Errorf("snapshot of the sandbox, which still runs: %w", err)
		}
		t.log.Info("took a snapshot of the sandbox", "sandbox", t.sb.SandboxID, "image", image)
		if t.o.OnSnapshot != nil {
			t.o.OnSnapshot(image)
		}
	}
	if !end {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	_, err := t.sb.Terminate(ctx, &sdk.SandboxTerminateParams{Wait: true})
	if classify(err) == classGone {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("sandbox %s may still run, and cost: %w", t.sb.SandboxID, t.diagnose(ctx, nil, err, ""))
	}
	t.log.Info("terminated the sandbox", "sandbox", t.sb.SandboxID)
	return nil
}

// snapshotLocked makes an image of the sandbox's file system, which Modal keeps for 30 days.
func (t *Transport) snapshotLocked(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotLimit+closeLimit)
	defer cancel()
	image, err := t.sb.SnapshotFilesystem(ctx, &sdk.SandboxSnapshotFilesystemParams{Timeout: snapshotLimit})
	if err != nil {
		return "", t.diagnose(ctx, t.sb, err, "")
	}
	return image.ImageID, nil
}
