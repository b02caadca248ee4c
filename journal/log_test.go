package journal

import (
	"fmt"
	"testing"
	"time"
)

func TestLogIsBounded(t *testing.T) {
	j := newJournal(t)
	const extra = 1000
	batch := []Event{}
	for i := range maxEvents + extra {
		batch = append(batch, Event{At: noon.Add(time.Duration(i)), Path: fmt.Sprint(i), What: "pushed"})
		if len(batch) == 9_999 {
			must(t, j.Apply(Update{Events: batch}))
			batch = nil
		}
	}
	must(t, j.Apply(Update{Events: batch}))
	first, next, n := -1, -1, 0
	must(t, j.Log("", func(e Event) error {
		var at int
		if _, err := fmt.Sscan(e.Path, &at); err != nil {
			return err
		}
		if first < 0 {
			first, next = at, at
		}
		if at != next {
			return fmt.Errorf("event %d follows %d", at, next-1)
		}
		next++
		n++
		return nil
	}))
	if n < maxEvents || n >= maxEvents+blockEvents || next != maxEvents+extra {
		t.Errorf("%d events from %d up to %d, want the newest %d", n, first, next, maxEvents)
	}
}

// TestLogPacksSingleEvents holds small pushes to the same blocks as a large one.
func TestLogPacksSingleEvents(t *testing.T) {
	j := newJournal(t)
	for i := range 3 * blockEvents {
		must(t, j.Apply(Update{Events: []Event{{At: noon, Path: fmt.Sprint(i), What: "pushed"}}}))
	}
	blocks := 0
	must(t, j.view("test", func(tx *txn) error {
		return tx.log(func(uint64, []Event) error { blocks++; return nil })
	}))
	if blocks != 3 {
		t.Errorf("%d single events are in %d blocks, want 3", 3*blockEvents, blocks)
	}
}
