package syncer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hermesfs/backends"
)

// attempts is how often a pull is tried; wait is how long after each failed one, and the last is
// there for when attempts grows.
const attempts = 3

func wait(attempt int) time.Duration { return time.Second << attempt } // 2 s, 4 s, 8 s

// errDeadline is the cause when Options.Deadline has passed.
var errDeadline = errors.New("the deadline has passed")

// retry runs a pull up to three times, again only after a fault of the transport, under one
// deadline over all. What is left of the last attempt is an *IncompleteError; a *StopError stays one.
func (e *Engine) retry(ctx context.Context, pull func(context.Context) error) (n int, err error) {
	start := e.clock.Now()
	if e.o.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, e.o.Deadline, errDeadline)
		defer cancel()
	}
	for n = 1; ; n++ {
		if err = pull(ctx); err == nil {
			return n, nil
		}
		if stop := (*StopError)(nil); errors.As(err, &stop) {
			return n, err
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		if n == attempts || ctx.Err() != nil || !backends.IsTransient(err) {
			break
		}
		d := wait(n)
		if e.o.Deadline > 0 && e.clock.Now().Add(d).Sub(start) >= e.o.Deadline {
			err = fmt.Errorf("%w: %w", errDeadline, err)
			break
		}
		e.log.Warn("sync back failed, trying again", "attempt", n, "wait", d.String(), "error", err.Error())
		if cause := e.clock.Sleep(ctx, d); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
			break
		}
	}
	e.log.Warn("sync back: all attempts failed, everything is kept for the next one", "attempts", n, "error", err.Error())
	return n, &IncompleteError{Attempts: n, Err: err}
}
