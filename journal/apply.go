package journal

import (
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Update is what one durable transaction changes: Delete before Put, ForeignDelete before Foreign.
type Update struct {
	Put           map[string]Base
	Delete        []string // a path that is not there is fine
	ClearPending  bool
	Foreign       map[string]Stat // added
	ForeignDelete []string
	Events        []Event
}

// Apply writes u in one durable transaction; an empty u costs nothing.
func (j *Journal) Apply(u Update) error {
	filled := false
	err := j.update(stepApply, func(t *txn) error {
		empty, err := t.empty(bucketBase)
		if err != nil {
			return err
		}
		filled = empty && len(u.Put) >= bulkPuts
		changed, err := t.applyBases(u)
		if err != nil {
			return err
		}
		if u.ClearPending {
			empty, err := t.empty(bucketPending)
			if err != nil {
				return err
			}
			if !empty {
				changed = true
				if err := t.reset(bucketPending); err != nil {
					return err
				}
			}
		}
		if !changed && len(u.Foreign)+len(u.ForeignDelete)+len(u.Events) == 0 {
			return errUnchanged
		}
		if err := t.applyForeign(u.Foreign, u.ForeignDelete); err != nil {
			return err
		}
		return t.appendEvents(u.Events)
	})
	if err == nil && filled {
		j.tidy() // a first push leaves its pending behind, as large as the base
	}
	return err
}

func (t *txn) applyBases(u Update) (changed bool, err error) {
	b, err := t.bucket(bucketBase)
	if err != nil {
		return false, err
	}
	b.FillPercent = fillFor(len(u.Put))
	if err := deleteKeys(b, u.Delete); err != nil {
		return false, err
	}
	for _, path := range slices.Sorted(maps.Keys(u.Put)) {
		if err := putBase(b, bucketBase, path, u.Put[path]); err != nil {
			return false, err
		}
	}
	return len(u.Put)+len(u.Delete) > 0, nil
}

func fillFor(puts int) float64 {
	if puts >= bulkPuts {
		return fillBulk
	}
	return fillScatter
}

func deleteKeys(b *bolt.Bucket, paths []string) error {
	for _, path := range slices.Sorted(slices.Values(paths)) {
		if err := b.Delete([]byte(path)); err != nil {
			return err
		}
	}
	return nil
}

func putBase(b *bolt.Bucket, bucket, path string, base Base) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if base.Kind < File || base.Kind > Symlink {
		return fmt.Errorf("%q: %w %d", path, errKind, base.Kind)
	}
	key := []byte(path)
	return b.Put(key, seal(bucket, key, encodeBase(base)))
}
