package modal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	sdk "github.com/modal-labs/modal-client/go"
)

// tag is that of what hermesfs makes; its value is the identity of the mount.
const tag = "hermesfs"

// sandbox returns the sandbox, and finds or makes it the first time.
func (t *Transport) sandbox(ctx context.Context) (*sdk.Sandbox, error) {
	if err := t.lock(ctx); err != nil {
		return nil, err
	}
	defer t.unlock()
	if t.finished {
		return nil, fmt.Errorf("%s: %w", t.op(), errClosed)
	}
	if t.sb != nil {
		return t.sb, nil
	}
	err := t.connectLocked(ctx, true)
	switch {
	case err == nil:
		return t.sb, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// connectLocked sets t.sb. Its errors are final: diagnosed.
func (t *Transport) connectLocked(ctx context.Context, make bool) error {
	if t.client == nil {
		params := &sdk.ClientParams{Environment: t.o.Environment, Logger: slog.New(&quiet{t.log.Handler()})}
		if os.Getenv("MODAL_MAX_THROTTLE_WAIT") == "" { // the SDK's default is to wait for ever
			wait := time.Minute
			params.MaxThrottleWait = &wait
		}
		client, err := sdk.NewClientWithOptions(params)
		if err != nil {
			return fmt.Errorf("modal: %w", err)
		}
		t.client = client
	}
	switch {
	case t.o.SandboxID != "":
		return t.attachLocked(ctx)
	case t.o.Image == "":
		sb, err := t.client.Sandboxes.FromName(ctx, t.o.App, t.o.Name, nil)
		if err != nil {
			return t.diagnose(ctx, nil, err, "")
		}
		t.sb = sb
		return nil
	}
	name := t.sandboxName()
	found, err := t.findOursLocked(ctx, name)
	if found || err != nil || !make {
		return err
	}
	app, err := t.client.Apps.FromName(ctx, t.o.App, &sdk.AppFromNameParams{CreateIfMissing: true})
	if err != nil {
		return t.diagnose(ctx, nil, err, "")
	}
	image := t.client.Images.FromRegistry(t.o.Image, nil)
	if isID(t.o.Image, "im-") {
		if image, err = t.client.Images.FromID(ctx, t.o.Image, nil); err != nil {
			var none sdk.NotFoundError
			if errors.As(err, &none) {
				return fmt.Errorf("modal: there is no image %s: a snapshot is kept for 30 days", t.o.Image)
			}
			return t.diagnose(ctx, nil, err, "")
		}
	}
	sb, err := t.client.Sandboxes.Create(ctx, app, image, &sdk.SandboxCreateParams{
		Command: []string{"sleep", "infinity"},
		Timeout: t.o.Timeout, IdleTimeout: t.o.IdleTimeout, CPU: t.o.CPU, MemoryMiB: t.o.MemoryMiB,
		Name: name, Tags: map[string]string{tag: t.identity()},
	})
	var taken sdk.AlreadyExistsError
	if errors.As(err, &taken) { // made since we looked, by an attempt of ours whose answer was lost
		if found, err := t.findOursLocked(ctx, name); found || err != nil {
			return err
		}
	}
	if err != nil {
		return t.diagnose(ctx, nil, err, "")
	}
	t.sb, t.made = sb, true
	t.log.Info("made a sandbox", "sandbox", sb.SandboxID, "app", t.o.App, "name", name, "image", t.o.Image, "timeout", t.o.Timeout)
	return nil
}

// attachLocked takes the sandbox of an id, which by itself is no call.
func (t *Transport) attachLocked(ctx context.Context) error {
	sb, err := t.client.Sandboxes.FromID(ctx, t.o.SandboxID, nil)
	if err != nil {
		return t.diagnose(ctx, nil, err, "")
	}
	how, err := ended(ctx, sb)
	switch {
	case err != nil:
		return t.diagnose(ctx, nil, err, "")
	case how != "":
		return t.gone(sb, how)
	}
	t.sb = sb
	return nil
}

// findOursLocked takes a sandbox that an earlier process made for this mount. One by that name that
// is somebody else's is an error.
func (t *Transport) findOursLocked(ctx context.Context, name string) (bool, error) {
	if name == "" {
		return false, nil
	}
	sb, err := t.client.Sandboxes.FromName(ctx, t.o.App, name, nil)
	var none sdk.NotFoundError
	if errors.As(err, &none) {
		return false, nil
	}
	if err != nil {
		return false, t.diagnose(ctx, nil, err, "")
	}
	tags, err := sb.GetTags(ctx, nil)
	if err != nil {
		return false, t.diagnose(ctx, nil, err, "")
	}
	if tags[tag] != t.identity() {
		return false, fmt.Errorf("modal: the name %s is taken in the app %s by sandbox %s, which this mount did not make: give another with name=, or use it as modal://%s",
			name, t.o.App, sb.SandboxID, sb.SandboxID)
	}
	t.sb, t.made = sb, true
	t.log.Info("found the sandbox of an earlier run", "sandbox", sb.SandboxID, "app", t.o.App, "name", name)
	return true, nil
}

// sandboxName is the name of a sandbox that is made: the same for the same mount.
func (t *Transport) sandboxName() string {
	if t.o.Name != "" || t.o.Mount == "" {
		return t.o.Name
	}
	return "hermesfs-" + t.identity()
}

// identity tells this mount from all others, those by its name of other machines and users too, in
// bytes that Modal takes.
func (t *Transport) identity() string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(nameBytes+"._-", r) {
			return r
		}
		return '-'
	}, t.o.Mount)
	sum := sha256.Sum256([]byte(t.o.Mount + "\x00" + t.o.Owner))
	return strings.TrimLeft(name[:min(len(name), 36)]+"-"+hex.EncodeToString(sum[:8]), "-")
}

// quiet passes on only what somebody should know: at lower levels the SDK logs whole scripts.
type quiet struct{ slog.Handler }

func (q *quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

func (q *quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return &quiet{q.Handler.WithAttrs(attrs)} }

func (q *quiet) WithGroup(name string) slog.Handler { return &quiet{q.Handler.WithGroup(name)} }
