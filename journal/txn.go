package journal

import (
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// errUnchanged ends an update that has nothing to write, without the cost of a commit.
var errUnchanged = errors.New("nothing to write")

// txn is one bbolt transaction.
type txn struct {
	*bolt.Tx
	calling bool  // a caller's function runs: its panics are its own
	stop    error // what that function returned
}

// call runs a caller's function, and notes that it is the caller's.
func (t *txn) call(fn func() error) error {
	t.calling = true
	t.stop = fn()
	t.calling = false
	return t.stop
}

// view runs fn in a read transaction.
func (j *Journal) view(act string, fn func(t *txn) error) error {
	db, err := j.enter(false)
	if err != nil {
		return err
	}
	defer j.leave()
	t := &txn{}
	err = j.guard(t, false, func() error {
		return db.View(func(tx *bolt.Tx) error {
			t.Tx = tx
			return fn(t)
		})
	})
	return j.named(act, t, err)
}

// update runs fn in a write transaction, which is durable when update returns nil.
func (j *Journal) update(step string, fn func(t *txn) error) error {
	db, err := j.enter(true)
	if err != nil {
		return err
	}
	defer j.leave()
	t := &txn{}
	err = j.guard(t, true, func() error {
		return db.Update(func(tx *bolt.Tx) error {
			t.Tx = tx
			if err := fn(t); err != nil {
				return err
			}
			return t.call(func() error { return reach(j.failAt, step+":before") })
		})
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return j.named(step, t, err)
	}
	j.mu.Lock()
	j.wrote = true
	j.mu.Unlock()
	return reach(j.failAt, step+":after")
}

// named says which journal and which act failed, except of a caller's own error.
func (j *Journal) named(act string, t *txn, err error) error {
	if err == nil || t.stop != nil {
		return err
	}
	return fmt.Errorf("journal %s: %s: %w", j.path, act, err)
}

// guard turns a panic or a memory fault inside bbolt into ErrCorrupt. Faults are what reading a
// mapped file that shrank or whose disk fails raises; without SetPanicOnFault they kill the process.
func (j *Journal) guard(t *txn, write bool, do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if t.calling {
			return // not ours: let it pass
		}
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, r)
			j.breakDown(write, fmt.Errorf("journal %s: %w", j.path, err))
		}
	}()
	return do()
}

// breakDown bars writes to a file found damaged, and everything once a write panicked.
func (j *Journal) breakDown(write bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if write && j.stuck == nil {
		j.stuck = err
	}
	if j.broken == nil {
		j.broken = err
	}
}

// errEnough ends an iteration before its end.
var errEnough = errors.New("enough")
