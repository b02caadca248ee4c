package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// pushes runs a pusher in a bubble and records when it pushes.
func pushes(t *testing.T, fail func(n int) error, drive func(p *pusher)) (at []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPusher()
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(ctx, func(context.Context) error {
				at = append(at, time.Since(start))
				return fail(len(at))
			})
		}()
		drive(p)
		synctest.Wait()
		cancel()
		<-done
	})
	return at
}

func never(int) error { return nil }

func TestPusherDebounces(t *testing.T) {
	at := pushes(t, never, func(p *pusher) {
		for range 10_000 {
			p.changed()
		}
		time.Sleep(time.Hour)
	})
	if len(at) != 1 || at[0] != debounce {
		t.Errorf("a burst was pushed at %v, want once at %v", at, debounce)
	}
}

func TestPusherDoesNotWaitForEver(t *testing.T) {
	at := pushes(t, never, func(p *pusher) {
		for range 100 { // 10 s of changes without a pause
			p.changed()
			time.Sleep(100 * time.Millisecond)
		}
	})
	if len(at) < 4 || at[0] != maxDebounce {
		t.Errorf("changes without a pause were pushed at %v, want the first at %v and more", at, maxDebounce)
	}
}

func TestPusherIdles(t *testing.T) {
	if at := pushes(t, never, func(*pusher) { time.Sleep(24 * time.Hour) }); len(at) != 0 {
		t.Errorf("nothing changed, pushed at %v", at)
	}
}

func TestPusherRetriesLaterAndLater(t *testing.T) {
	var dirty bool
	at := pushes(t, func(n int) error {
		if n < 9 {
			return errors.New("no route")
		}
		return nil
	}, func(p *pusher) {
		p.changed()
		time.Sleep(time.Minute)
		dirty = p.dirty()
		time.Sleep(24 * time.Hour)
	})
	if len(at) != 9 {
		t.Fatalf("pushed %d times at %v, want 9: eight that fail and one that does not", len(at), at)
	}
	if !dirty {
		t.Error("dirty = false while no push succeeded")
	}
	for i, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60, 60} {
		if got := at[i+1] - at[i]; got != want*time.Second {
			t.Errorf("wait %d = %v, want %v", i+1, got, want*time.Second)
		}
	}
}
