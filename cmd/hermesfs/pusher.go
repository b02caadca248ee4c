package main

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	debounce    = 200 * time.Millisecond // after the last change
	maxDebounce = 2 * time.Second        // after the first, when changes do not end
	maxBackoff  = time.Minute            // between attempts that fail
)

// A pusher pushes when something changed: debounced, one push at a time, and nothing while
// nothing changes.
type pusher struct {
	wake  chan struct{} // holds a token when something changed
	stale atomic.Bool   // changed since the last push began
}

func newPusher() *pusher { return &pusher{wake: make(chan struct{}, 1)} }

// changed says that something in the mount changed. It is cheap and never blocks.
func (p *pusher) changed() {
	p.stale.Store(true)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// dirty says whether a change waits to be pushed.
func (p *pusher) dirty() bool { return p.stale.Load() }

// run calls push after changes until ctx is done. A push that failed is repeated, later and
// later, unless the next change comes first.
func (p *pusher) run(ctx context.Context, push func(context.Context) error) {
	var retry <-chan time.Time
	backoff := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			if !p.settle(ctx) {
				return
			}
		case <-retry:
		}
		p.stale.Store(false)
		retry = nil
		if err := push(ctx); err == nil {
			backoff = 0
			continue
		}
		p.stale.Store(true)
		backoff = min(max(2*backoff, 2*time.Second), maxBackoff)
		retry = time.After(backoff)
	}
}

// settle waits until changes pause, but not for ever.
func (p *pusher) settle(ctx context.Context) bool {
	limit := time.NewTimer(maxDebounce)
	defer limit.Stop()
	quiet := time.NewTimer(debounce)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return true
		case <-quiet.C:
			return true
		case <-p.wake:
			quiet.Reset(debounce)
		}
	}
}
