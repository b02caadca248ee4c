package journal

import (
	"errors"
	"time"
)

// Event is one line of the log: what happened to a path, when.
type Event struct {
	At                 time.Time
	Path, What, Detail string // What: pushed, deleted, pulled, conflict, committed, refused, ...
}

// Log calls fn for each event of path, or of every path if it is "", oldest first.
func (j *Journal) Log(path string, fn func(Event) error) error { return errors.ErrUnsupported }
