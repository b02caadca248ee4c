// Package command reaches a sandbox through any program that runs a command in it, as `docker exec`
// does: the program's words are a prefix, and `sh -c SCRIPT` follows them.
//
// How well such a program carries bytes is found out once, with every byte there is: a channel
// that changes bytes, mixes the script's stderr into its stdout or never delivers the end of stdin
// is used with lines of base64 both ways, ended by lines of their own. The far side says on the
// channel when the script begins and how it ended, so that a program's own failure is told from
// the script's, and success is not believed without its end.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"hermesfs/backends"
)

// A Channel is how a prefix carries bytes.
type Channel string

// What Options.Channel takes.
const (
	Auto Channel = ""     // the first script is preceded by a probe
	Raw  Channel = "raw"  // every byte, both ways, and the end of stdin
	Text Channel = "text" // lines of base64
)

// Options of New.
type Options struct {
	// Prefix is the program and its arguments. `sh -c SCRIPT` is appended, or, where a word is
	// {}, put there as one word, quoted for a shell.
	Prefix  []string
	Name    string   // the URL, default command:PREFIX
	Home    string   // absolute, or below ~/; "" is $HOME/.hermes
	Channel Channel  // default Auto
	Env     []string // added to the environment of the program
	Log     *slog.Logger
}

// placeholder stands in a prefix where the command goes as one word.
const placeholder = "{}"

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case len(o.Prefix) == 0 || o.Prefix[0] == "" || o.Prefix[0] == placeholder:
		return errors.New("there is no command to reach the sandbox with, such as docker exec -i NAME")
	case strings.HasPrefix(o.Prefix[0], "-"):
		return fmt.Errorf("the program %q begins with a dash", o.Prefix[0])
	case slices.ContainsFunc(o.Prefix, func(w string) bool { return strings.IndexByte(w, 0) >= 0 }):
		return errors.New("the command holds a NUL byte")
	}
	switch o.Channel {
	case Auto, Raw, Text:
	default:
		return fmt.Errorf("the channel is %q: it must be raw or text", string(o.Channel))
	}
	abs := o.Home
	if rest, ok := strings.CutPrefix(o.Home, "~/"); ok {
		abs = "/" + rest
	}
	if o.Home != "" && (abs == "/" || !path.IsAbs(abs) || path.Clean(abs) != abs || strings.IndexByte(abs, 0) >= 0) {
		return fmt.Errorf("the home %q must be an absolute path, or one below ~/, and hold no . or .. part", o.Home)
	}
	return nil
}

// A Transport runs scripts through a prefix.
type Transport struct {
	o      Options
	log    *slog.Logger
	closed atomic.Bool

	endLimit time.Duration // of the probe

	probing chan struct{} // holds the token that guards channel
	channel Channel       // Auto until known
}

var _ backends.Transport = (*Transport)(nil)

var errClosed = errors.New("the connection is closed")

// New makes a Transport. Nothing runs before the first script.
func New(o Options) (*Transport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "command:" + join(o.Prefix)
	}
	t := &Transport{o: o, log: o.Log, channel: o.Channel, endLimit: endLimit, probing: make(chan struct{}, 1)}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.probing <- struct{}{}
	return t, nil
}

// Run runs script with the sandbox's sh. A stdin whose Read blocks for ever keeps its goroutine
// until it returns.
func (t *Transport) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	if t.closed.Load() {
		return fmt.Errorf("%s: %w", t.op(), errClosed)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	channel, err := t.probe(ctx)
	if err != nil {
		return err
	}
	return t.runOver(ctx, channel, script, stdin, stdout)
}

func (t *Transport) runOver(ctx context.Context, channel Channel, script string, stdin io.Reader, stdout io.Writer) error {
	if strings.IndexByte(script, 0) >= 0 {
		return fmt.Errorf("%s: the script holds a NUL byte", t.op())
	}
	if stdout == nil {
		stdout = io.Discard
	}
	if channel == Text {
		return t.runText(ctx, script, stdin, stdout)
	}
	return t.runRaw(ctx, script, stdin, stdout)
}

// Close does nothing: the sandbox is whoever's who started it. It may be called twice. Stop and
// Terminate say so in an error that is errors.ErrUnsupported.
func (t *Transport) Close(_ context.Context, d backends.Disposition) error {
	t.closed.Store(true)
	switch d {
	case backends.Default, backends.Keep:
		return nil
	}
	return fmt.Errorf("%s cannot be told to %s: %w", t.op(), d, errors.ErrUnsupported)
}

// Local is false: what is behind the program is not known.
func (t *Transport) Local() bool { return false }

// URL is what Parse takes.
func (t *Transport) URL() string { return t.o.Name }

// Home is the home of the URL.
func (t *Transport) Home() string { return t.o.Home }

// op names the channel in messages.
func (t *Transport) op() string { return fmt.Sprintf("%.200q", join(t.o.Prefix)) }
