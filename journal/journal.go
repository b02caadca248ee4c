// Package journal records what a mount and its sandbox last agreed on, durably and in order.
//
// One bbolt file a mount holds the base of every path, what a push is about to do, what the sandbox
// held before the first push, every commit with its steps, and a bounded log. Each method that
// writes is one durable transaction: after a crash it has happened as a whole or not at all.
//
// bbolt has no checksums, maps the file and trusts it, so this package does not: every record
// carries a CRC over its bucket, key and value; the page structure is checked before bbolt sees the
// file (see scan.go); and a panic or a fault inside a transaction becomes ErrCorrupt. A damaged file
// is therefore reported, never believed and never a crash.
//
// A file appears under its name only when complete: it is written beside, then linked (creation) or
// renamed (compaction). An empty or short file is thus damage, not a new journal.
//
// All methods are safe for concurrent use. Locks: mu is held for moments only, never across a
// transaction; bbolt's own locks nest inside a use counted by enter and leave.
package journal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Format is the number of the on-disk format that this package reads and writes.
const Format = 1

// Errors that callers branch on; test with errors.Is.
var (
	ErrFormat     = errors.New("unknown journal format")
	ErrCorrupt    = errors.New("journal is damaged")
	ErrLocked     = errors.New("journal is in use by another process")
	ErrNotFound   = errors.New("not in the journal")
	ErrReadOnly   = errors.New("journal is open read-only")
	ErrClosed     = errors.New("journal is closed")
	ErrCommitOpen = errors.New("commit is still open")
)

// Options are how Open opens a journal; the zero value is ready to use.
type Options struct {
	ReadOnly bool          // shared lock, never creates, every write is ErrReadOnly
	Timeout  time.Duration // how long to wait for the lock; 0 means 5 s, negative means try once
	// Fail is called at each of Points around a durable step; an error stops the step there.
	// For tests that cut or kill at a known place; nil in production.
	Fail func(point string) error

	lightScan bool // for tests: treat a small file as a large one
}

// Journal is an open journal file. It is safe for concurrent use.
type Journal struct {
	path     string
	readOnly bool
	failAt   func(point string) error

	mu     sync.Mutex
	idle   sync.Cond // signals that active, held or closed changed
	db     *bolt.DB  // guarded by mu; replaced by Compact while held
	file   *os.File  // guarded by mu; db's own descriptor, owned by db
	active int       // guarded by mu; uses of db between enter and leave
	held   bool      // guarded by mu; Compact is replacing db
	closed bool      // guarded by mu
	wrote  bool      // guarded by mu; something was committed since Open
	broken error     // guarded by mu; reading found damage below a record: no more writes
	stuck  error     // guarded by mu; a write panicked inside bbolt, whose locks may be left held
}

// Path returns the path that the journal was opened with.
func (j *Journal) Path() string { return j.path }

// Close waits for running calls, gives unused space back if there is much of it, and releases the
// file and its lock. It may be called twice; not from within a callback.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	for j.active > 0 || j.held {
		j.idle.Wait()
	}
	db, file, stuck := j.db, j.file, j.stuck
	tidy := j.wrote && j.broken == nil && stuck == nil
	j.mu.Unlock()

	if stuck != nil {
		// Closing would wait for bbolt's locks for ever. Nothing is unwritten; the mapping leaks.
		return release(file)
	}
	if tidy && j.wasteful(db) {
		// Everything is durable already. A compaction that cannot be done changes nothing.
		if next, err := j.rewrite(db); err == nil {
			defer next.db.Close() // rewrite made it durable
		}
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close journal %s: %w", j.path, err)
	}
	return nil
}

// enter begins a use of the database; the caller must leave.
func (j *Journal) enter(write bool) (*bolt.DB, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	// A call from within a callback never waits here: held is set only while nothing is active.
	for j.held && !j.closed {
		j.idle.Wait()
	}
	if err := j.refuseLocked(write); err != nil {
		return nil, err
	}
	j.active++
	return j.db, nil
}

// refuseLocked says why the database cannot be used.
func (j *Journal) refuseLocked(write bool) error {
	switch {
	case j.closed:
		return fmt.Errorf("journal %s: %w", j.path, ErrClosed)
	case j.stuck != nil:
		return j.stuck
	case write && j.readOnly:
		return fmt.Errorf("journal %s: %w", j.path, ErrReadOnly)
	case write && j.broken != nil:
		return j.broken
	}
	return nil
}

// leave ends a use of the database.
func (j *Journal) leave() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.active--
	j.idle.Broadcast()
}
