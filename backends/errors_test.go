package backends

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestIsTransient(t *testing.T) {
	lost := errors.New("connection lost")
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"transport", fmt.Errorf("push: %w", &TransportError{Err: lost}), true},
		{"credentials", &TransportError{Err: fmt.Errorf("ssh: %w", ErrAuth)}, false},
		{"cancelled", &TransportError{Err: context.Canceled}, false},
		{"script", &ScriptError{Code: 1}, false},
		{"limit", &LimitError{What: "bytes", Max: 1}, false},
		{"format", &FormatError{What: "archive", Err: lost}, false},
	} {
		if got := IsTransient(tc.err); got != tc.want {
			t.Errorf("IsTransient(%s) = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestStderrIsCappedAndQuoted(t *testing.T) {
	var tail StderrTail
	for range 1000 {
		fmt.Fprint(&tail, "0123456789")
	}
	fmt.Fprint(&tail, "\x1b[31mred\nlast\n")
	if got := len(tail.String()); got != MaxStderr {
		t.Errorf("kept %d bytes, want %d", got, MaxStderr)
	}
	msg := (&ScriptError{Op: "push", Code: 3, Stderr: tail.String()}).Error()
	if strings.ContainsAny(msg, "\x1b\n") || !strings.HasSuffix(msg, `\x1b[31mred; last`) {
		t.Errorf("message %q, want it quoted and on one line", msg[len(msg)-40:])
	}
}
