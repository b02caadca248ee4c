package journal

import (
	"maps"
	"slices"
)

// SetPending replaces what a push is about to do, durably; a nil Base is a deletion. Replacing
// nothing by nothing costs nothing.
func (j *Journal) SetPending(paths map[string]*Base) error {
	return j.update(stepPending, func(t *txn) error {
		empty, err := t.empty(bucketPending)
		if err != nil {
			return err
		}
		if empty && len(paths) == 0 {
			return errUnchanged
		}
		if !empty {
			if err := t.reset(bucketPending); err != nil {
				return err
			}
		}
		b, err := t.bucket(bucketPending)
		if err != nil {
			return err
		}
		b.FillPercent = 1 // never updated in place
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			if base := paths[path]; base != nil {
				if err := putBase(b, bucketPending, path, *base); err != nil {
					return err
				}
				continue
			}
			if err := checkPath(path); err != nil {
				return err
			}
			key := []byte(path)
			if err := b.Put(key, seal(bucketPending, key, nil)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pending returns what SetPending last wrote and no Apply cleared; a nil Base is a deletion.
func (j *Journal) Pending() (map[string]*Base, error) {
	paths := map[string]*Base{}
	err := j.view("read pending", func(t *txn) error {
		return t.pending(func(path string, b *Base) error {
			paths[path] = b
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return paths, nil
}

func (t *txn) pending(fn func(path string, b *Base) error) error {
	return t.each(bucketPending, nil, func(key, body []byte) error {
		if len(body) == 0 {
			return fn(string(key), nil)
		}
		b, err := decodeBase(body)
		if err != nil {
			return corrupt(bucketPending, key, err)
		}
		return fn(string(key), &b)
	})
}
