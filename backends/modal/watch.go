package modal

import (
	"context"
	"fmt"
	"time"

	"hermesfs/backends"
)

// watch waits for the script's end. over is false when the script may still run: then it is not
// wanted any more, or nothing more is heard of it.
func (e *execution) watch(ctx context.Context) (verdict error, over bool) {
	tick := time.NewTicker(e.t.limits.watch)
	defer tick.Stop()
	grace := time.NewTimer(0) // runs once a stream broke
	grace.Stop()
	defer grace.Stop()
	askCtx, stopAsking := context.WithCancel(ctx)
	defer stopAsking()
	type answer struct {
		how string
		err error
	}
	var (
		answers     chan answer
		asked       int // in vain
		seen        int64
		broken      error
		out         *copied
		outDone     = e.outDone
		inDone      = e.inDone
		streamBroke = func(err error) {
			if broken == nil {
				broken = err
				grace.Reset(e.t.limits.grace)
			}
		}
	)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx), false
		case x := <-e.exited:
			return e.verdict(ctx, x, out)
		case o := <-outDone:
			out, outDone = &o, nil
			if o.write != nil {
				return fmt.Errorf("%s: stdout: %w", e.t.op(), o.write), false
			}
			if o.read != nil {
				streamBroke(o.read)
			}
		case s := <-inDone:
			inDone = nil
			if s.read != nil {
				// Never let the script take half an input for all of it.
				return fmt.Errorf("%s: stdin: %w", e.t.op(), s.read), false
			}
			if s.write != nil && !closedStdin(s.write) {
				streamBroke(s.write)
			}
		case <-grace.C:
			return e.t.diagnose(ctx, e.sb, broken, e.stderr.rest.String()), false
		case <-tick.C:
			if now := e.progress(); now != seen || answers != nil {
				seen = now
				continue
			}
			answers = make(chan answer, 1)
			e.t.background(func() {
				how, err := ended(askCtx, e.sb)
				answers <- answer{how, err}
			})
		case a := <-answers:
			answers = nil
			if a.how != "" {
				return e.t.gone(e.sb, a.how), false
			}
			if a.err == nil {
				asked = 0
				continue
			}
			if asked++; asked >= maxAsks {
				return &backends.TransportError{Op: e.t.op(), Err: fmt.Errorf("%w: %w", errCut, a.err), Stderr: e.stderr.rest.String()}, false
			}
		}
	}
}

func (e *execution) progress() int64 {
	n := e.got.Load()
	if e.in != nil {
		n += e.in.moved.Load()
	}
	return n
}

// verdict makes an error of the end of the script, once its output has come.
func (e *execution) verdict(ctx context.Context, x exit, out *copied) (err error, over bool) {
	if x.err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx), false
		}
		return e.t.diagnose(ctx, e.sb, x.err, e.stderr.rest.String()), false
	}
	if out == nil {
		// However slow stdout is, all of it comes, unless nobody wants it any more.
		select {
		case o := <-e.outDone:
			out = &o
		case <-ctx.Done():
			return context.Cause(ctx), false
		}
	}
	if out.write != nil {
		return fmt.Errorf("%s: stdout: %w", e.t.op(), out.write), true
	}
	_, _ = within(e.errDone, stderrGrace)
	stderr := e.stderr.rest.String()
	// A signal ended it, or it says so itself: it may have been the end of the whole sandbox, of
	// which Modal learns a little later.
	if x.code == 137 || x.code == 143 || x.code == 124 || out.read != nil {
		for range 3 {
			if how, err := ended(ctx, e.sb); how != "" {
				return e.t.gone(e.sb, how), true
			} else if err != nil {
				break
			}
			if !pause(ctx, 200*time.Millisecond) {
				break
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx), true
	case out.read != nil:
		return e.t.diagnose(ctx, e.sb, out.read, stderr), true
	case x.code != 0:
		return &backends.ScriptError{Op: e.t.op(), Code: x.code, Stderr: stderr}, true
	}
	// The script ended well, yet its input may have failed while it did not look at it.
	select {
	case s := <-e.inDone:
		if s.read != nil {
			return fmt.Errorf("%s: stdin: %w", e.t.op(), s.read), true
		}
	default:
	}
	return nil, true
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
