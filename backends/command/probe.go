package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"hermesfs/backends"
)

const (
	// What is sent comes back within this, also from afar.
	probeLimit = 20 * time.Second
	// The end of stdin comes within this after the bytes, or never.
	endLimit = 4 * time.Second
)

// killLimit bounds the errand of ending a cancelled script in the sandbox.
const killLimit = 1000 * time.Millisecond

var (
	errNoEnd   = errors.New("the end of stdin does not come")
	errChanged = errors.New("some bytes are changed or lost")
)

// probe finds out, once, what the channel carries.
func (t *Transport) probe(ctx context.Context) (Channel, error) {
	select {
	case <-t.probing:
	case <-ctx.Done():
		return Auto, context.Cause(ctx)
	}
	defer func() { t.probing <- struct{}{} }()
	if t.channel != Auto {
		return t.channel, nil
	}
	err := t.tryRaw(ctx)
	if err == nil {
		t.channel = Raw
		return Raw, nil
	}
	if ctx.Err() != nil {
		return Auto, context.Cause(ctx)
	}
	var changed *channelError
	if !errors.As(err, &changed) {
		return Auto, err
	}
	var out bytes.Buffer
	sent := everyByte()
	ctx, cancel := context.WithTimeoutCause(ctx, probeLimit, &backends.TransportError{Op: t.op(), Err: errors.New("no answer")})
	defer cancel()
	switch err := t.runText(ctx, "cat", bytes.NewReader(sent), &out); {
	case err != nil && !errors.Is(err, errGarbled):
		return Auto, err
	case err != nil || !bytes.Equal(out.Bytes(), sent):
		return Auto, fmt.Errorf("%s: it carries neither bytes (%s) nor base64", t.op(), changed.why)
	}
	t.log.Info("channel carries only text", "because", changed.why)
	t.channel = Text
	return Text, nil
}

// A channelError is a channel that carries something, but not bytes as they are.
type channelError struct{ why string }

func (e *channelError) Error() string { return e.why }

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

// tryRaw sends every byte to and fro. What follows them is there to be read in the place of bytes
// that get lost, so that head does not wait for ever.
func (t *Transport) tryRaw(ctx context.Context) error {
	const tail = 1024
	nonce := newMark()
	sent := everyByte()
	want := []byte(nonce + ":" + string(sent) + ":" + nonce)
	out := &watched{want: []byte(":" + nonce), seen: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(probeLimit, func() { cancel(errNoEnd) })
	defer limit.Stop()
	done := make(chan error, 1)
	go func() {
		script := "printf %s: " + nonce + "; head -c 256; printf ':%s\\n' " + nonce + "; cat >/dev/null"
		done <- t.runRaw(ctx, script, strings.NewReader(string(sent)+strings.Repeat("\n", tail)), out)
	}()
	var err error
	select {
	case err = <-done:
	case <-out.seen:
		limit.Stop()
		if !bytes.Contains(out.text(), want) {
			cancel(errChanged)
		}
		end := time.AfterFunc(t.endLimit, func() { cancel(errNoEnd) })
		defer end.Stop()
		err = <-done
	}
	text := out.text()
	var script *backends.ScriptError
	switch came := bytes.Contains(text, []byte(nonce)); {
	case errors.Is(err, errNoEnd), errors.Is(err, errChanged):
		return &channelError{err.Error()}
	case err != nil && !came:
		return err
	case !bytes.Contains(text, want):
		return &channelError{errChanged.Error()}
	case !bytes.HasSuffix(text, append(want, '\n')):
		return &channelError{"something is added to the output"}
	case errors.As(err, &script):
		return err // no head, no cat
	case err != nil: // the frame on stderr is missing
		return &channelError{"stderr does not come by itself"}
	}
	return nil
}

// A watched tells when something has been written, and keeps it.
type watched struct {
	want []byte
	seen chan struct{}

	mu  sync.Mutex // guards buf
	buf []byte
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := bytes.Contains(w.buf, w.want)
	if len(w.buf) < 1<<20 {
		w.buf = append(w.buf, p...)
	}
	if !before && bytes.Contains(w.buf, w.want) {
		close(w.seen)
	}
	return len(p), nil
}

func (w *watched) text() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]byte{}, w.buf...)
}

// kill ends a script in the sandbox: the end of its channel alone leaves alive what neither reads
// nor writes, and what `docker exec` started in any case. It says whether the script was told.
func (t *Transport) kill(pid int, mark string) bool {
	if pid <= 1 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	// Raw will do: it sends nothing, and what comes back does not matter.
	err := t.raw(ctx, killScript(pid, mark), nil, io.Discard, func(int, string) bool { return false })
	if err != nil {
		t.log.Debug("cannot end the script in the sandbox", "error", err)
	}
	return err == nil || !errors.Is(err, context.DeadlineExceeded)
}
