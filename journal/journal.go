// Package journal records what a mount and its sandbox last agreed on, durably and in order.
package journal

import (
	"errors"
	"time"
)

// Format is the number of the on-disk format that this package reads and writes.
const Format = 1

// Errors that callers branch on; test with errors.Is.
var (
	ErrFormat   = errors.New("unknown journal format")
	ErrCorrupt  = errors.New("journal is damaged")
	ErrLocked   = errors.New("journal is in use by another process")
	ErrNotFound = errors.New("not in the journal")
	ErrReadOnly = errors.New("journal is open read-only")
	ErrClosed   = errors.New("journal is closed")
)

// Options are how Open opens a journal; the zero value is ready to use.
type Options struct {
	ReadOnly bool          // shared lock, never creates, every write is ErrReadOnly
	Timeout  time.Duration // how long to wait for the lock; 0 means 5 s, negative means try once
	// Fail is called at each named point around a durable step (see Points); an error stops the
	// step there. For tests only; nil in production.
	Fail func(point string) error
}

// Journal is an open journal file. It is safe for concurrent use.
type Journal struct{ path string }

// Open opens the journal at path, and creates it unless o.ReadOnly.
func Open(path string, o Options) (*Journal, error) { return nil, errors.ErrUnsupported }

// Close releases the file and its lock. It may be called twice.
func (j *Journal) Close() error { return errors.ErrUnsupported }
