package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	compactFrom  = 1 << 20 // a smaller file is not worth it
	compactBatch = 4 << 20 // bytes a transaction of the copy, which is what it holds in memory
)

// Compact rewrites the file without its unused space, durably. bbolt reuses space but never gives it
// back: after many changes the file is about twice as large as what it holds. Close, and an Apply that
// fills an empty base, compact by themselves when a quarter is unused. Compact waits for running
// calls, and other calls wait for it (about 7 ms a megabyte).
func (j *Journal) Compact() error {
	db, err := j.hold(true)
	if err != nil {
		return err
	}
	return j.replace(db)
}

// tidy compacts if that is worth it and nobody would have to wait. What it cannot do does no harm.
func (j *Journal) tidy() {
	db, err := j.hold(false)
	if err != nil {
		return
	}
	if !j.wasteful(db) {
		j.unhold()
		return
	}
	_ = j.replace(db)
}

// replace puts the rewritten file in the place of db, which is held, and ends the hold.
func (j *Journal) replace(db *bolt.DB) error {
	defer j.unhold()
	next, err := j.rewrite(db)
	if err != nil {
		return fmt.Errorf("compact journal %s: %w", j.path, err)
	}
	j.mu.Lock()
	j.db, j.file = next.db, next.file
	j.mu.Unlock()
	if err := db.Close(); err != nil {
		return fmt.Errorf("compact journal %s: %w", j.path, err)
	}
	return reach(j.failAt, stepCompact+":after")
}

var errBusy = errors.New("journal is being used")

// hold keeps the database from being used, once nothing uses it: it waits for that, or gives up.
func (j *Journal) hold(wait bool) (*bolt.DB, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for (j.active > 0 || j.held) && !j.closed {
		if !wait {
			return nil, errBusy
		}
		j.idle.Wait()
	}
	if err := j.refuseLocked(true); err != nil {
		return nil, err
	}
	j.held = true
	return j.db, nil
}

func (j *Journal) unhold() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.held = false
	j.idle.Broadcast()
}

// opened is a database with its file.
type opened struct {
	db   *bolt.DB
	file *os.File
}

// rewrite copies db into a new file and renames that over the journal, with the new one's lock held
// before it has the name. The caller closes db, and uses what is returned.
func (j *Journal) rewrite(db *bolt.DB) (next opened, err error) {
	f, err := os.CreateTemp(filepath.Dir(j.path), tempPrefix(j.path)+"*")
	if err != nil {
		return next, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name()) // the next Open sweeps it
		}
	}()
	if err := lock(f, false, time.Time{}); err != nil {
		return next, errors.Join(err, f.Close())
	}
	copied, err := openBolt(f, false)
	if err != nil {
		return next, errors.Join(err, release(f))
	}
	if err := j.copyAll(copied, db, f); err != nil {
		return next, errors.Join(err, copied.Close())
	}
	if err := os.Rename(f.Name(), j.path); err != nil {
		return next, errors.Join(err, copied.Close())
	}
	// From here on the new file is the journal, whatever happens. Without the fsync the old one may
	// come back after a power cut, with the same content.
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return opened{copied, f}, nil // see above
	}
	return opened{copied, f}, nil
}

// copyAll copies every record and makes the copy durable.
func (j *Journal) copyAll(dst, src *bolt.DB, f *os.File) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	dst.NoSync, dst.NoGrowSync = true, true
	err = src.View(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if err := copyBucket(dst, tx, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	dst.NoSync, dst.NoGrowSync = false, false
	return reach(j.failAt, stepCompact+":before")
}

func copyBucket(dst *bolt.DB, src *bolt.Tx, name string) error {
	from, err := (&txn{Tx: src}).bucket(name)
	if err != nil {
		return err
	}
	c := from.Cursor()
	key, value := c.First()
	for more := true; more; {
		err := dst.Update(func(tx *bolt.Tx) error {
			to, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			to.FillPercent = fillBulk
			for size := 0; key != nil && size < compactBatch; key, value = c.Next() {
				size += len(key) + len(value)
				if err := to.Put(key, value); err != nil {
					return err
				}
			}
			more = key != nil
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wasteful says whether more than a quarter of a file worth the effort is unused.
func (j *Journal) wasteful(db *bolt.DB) bool {
	var size, used int64
	err := j.guard(&txn{}, false, func() error {
		return db.View(func(tx *bolt.Tx) error {
			size = tx.Size()
			if size < compactFrom {
				return nil
			}
			return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
				s := b.Stats()
				used += int64(s.BranchInuse + s.LeafInuse)
				return nil
			})
		})
	})
	return err == nil && size >= compactFrom && size-used > size/4
}
