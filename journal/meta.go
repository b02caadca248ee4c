package journal

import (
	"errors"
	"time"
)

// Meta is what a journal knows of its mount as a whole.
type Meta struct {
	Mount, MountID, Home, SandboxURL, SandboxID string
	CreatedAt                                   time.Time
	Generation                                  uint64
	Probe                                       string
}

// Meta returns the mount's record.
func (j *Journal) Meta() (Meta, error) { return Meta{}, errors.ErrUnsupported }

// UpdateMeta lets fn change the mount's record, in one durable transaction.
func (j *Journal) UpdateMeta(fn func(*Meta)) error { return errors.ErrUnsupported }
