package backends

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrAuth means that the sandbox did not let us in: wrong credentials, an unknown or changed
// host key. Trying again does not help.
var ErrAuth = errors.New("authentication failed")

// A TransportError is a channel that failed: nothing is known of what the script did. Another
// attempt may succeed, unless it wraps ErrAuth.
type TransportError struct {
	Op     string // what was being done: "ssh user@host"
	Err    error
	Stderr string // the capped end of what the far side wrote, not yet quoted
}

// Error quotes what the far side wrote.
func (e *TransportError) Error() string {
	return fmt.Sprintf("%s: %v%s", e.Op, e.Err, quoteStderr(e.Stderr))
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// A ScriptError is a script that ran and ended with a code other than 0. Another attempt would
// end the same way.
type ScriptError struct {
	Op     string // the verb or transport
	Code   int    // 128+n when signal n ended it
	Stderr string // the capped end of what the script wrote, not yet quoted
}

// Error quotes what the far side wrote.
func (e *ScriptError) Error() string {
	op := e.Op
	if op == "" {
		op = "sandbox script"
	}
	return fmt.Sprintf("%s: exit status %d%s", op, e.Code, quoteStderr(e.Stderr))
}

// quoteStderr makes foreign text fit to be shown: one line, no control characters.
func quoteStderr(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteString("; ")
		}
		q := fmt.Sprintf("%q", strings.TrimSpace(line))
		b.WriteString(q[1 : len(q)-1])
	}
	return ": " + b.String()
}

// IsTransient says whether another attempt may succeed: the channel failed, and not because
// of credentials, and nobody cancelled.
func IsTransient(err error) bool {
	if err == nil || errors.Is(err, ErrAuth) || errors.Is(err, context.Canceled) {
		return false
	}
	var te *TransportError
	return errors.As(err, &te)
}

// ErrNoHome means that the sandbox has no home: it was removed, or never claimed.
var ErrNoHome = errors.New("the sandbox has no home")

// A LimitError is a sandbox that sends more than Limits allow. Another attempt would end the
// same way.
type LimitError struct {
	What string // "bytes", "members", …
	Max  int64
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the sandbox sends more than %d %s", e.Max, e.What)
}

// A FormatError is an answer of a sandbox that came whole and yet is not what it should be:
// tools that work otherwise than expected, or an attack. Another attempt would end the same way.
type FormatError struct {
	What string // "manifest", "archive", …
	Err  error
}

// Error says what was wrong.
func (e *FormatError) Error() string { return fmt.Sprintf("%s of the sandbox: %v", e.What, e.Err) }

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }
