package journal

import "errors"

// SetPending replaces what a push is about to do, durably; a nil Base is a deletion.
func (j *Journal) SetPending(paths map[string]*Base) error { return errors.ErrUnsupported }

// Pending returns what SetPending last wrote and no Apply cleared.
func (j *Journal) Pending() (map[string]*Base, error) { return nil, errors.ErrUnsupported }
