package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// level is how much is logged: HERMESFS_DEBUG adds all there is.
func (e *env) level(usual slog.Level) slog.Level {
	if e.getenv("HERMESFS_DEBUG") != "" {
		return slog.LevelDebug
	}
	return usual
}

// daemonLog is the log of a daemon, on stderr, which is its file.
func (e *env) daemonLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: e.level(slog.LevelInfo)}))
}

// commandLog is the log of a command: what is worth a warning, in the form of its messages.
func commandLog(e *env) *slog.Logger {
	return slog.New(&messages{e: e, least: e.level(slog.LevelWarn)})
}

// messages is a slog.Handler that writes for people: "hermesfs: warning: message (key value, …)".
type messages struct {
	e     *env
	least slog.Level
	attrs []slog.Attr
}

// Enabled is slog.Handler's.
func (m *messages) Enabled(_ context.Context, l slog.Level) bool { return l >= m.least }

// Handle writes one line.
func (m *messages) Handle(_ context.Context, r slog.Record) error {
	var parts []string
	add := func(a slog.Attr) bool {
		parts = append(parts, fmt.Sprintf("%s %s", strings.ReplaceAll(a.Key, "_", " "), quote(a.Value.String())))
		return true
	}
	for _, a := range m.attrs {
		add(a)
	}
	r.Attrs(add)
	text := r.Message
	if len(parts) > 0 {
		text += " (" + strings.Join(parts, ", ") + ")"
	}
	if r.Level >= slog.LevelWarn {
		text = "warning: " + text
	}
	m.e.say("%s", text)
	return nil
}

// WithAttrs is slog.Handler's.
func (m *messages) WithAttrs(a []slog.Attr) slog.Handler {
	n := *m
	n.attrs = append(n.attrs[:len(n.attrs):len(n.attrs)], a...)
	return &n
}

// WithGroup leaves groups out: the messages have none.
func (m *messages) WithGroup(string) slog.Handler { return m }
