package journal

import (
	"bytes"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// The buckets of format 1. Every value in them is sealed.
const (
	bucketMeta    = "meta"
	bucketBase    = "base"    // path -> Base
	bucketPending = "pending" // path -> nothing (a deletion) or Base
	bucketForeign = "foreign" // path -> Stat
	bucketCommits = "commits" // number -> Commit
	bucketSteps   = "steps"   // number of the commit, index -> Step
	bucketLog     = "log"     // number of the block's first event -> block of events
)

func buckets() []string {
	return []string{bucketMeta, bucketBase, bucketPending, bucketForeign, bucketCommits, bucketSteps, bucketLog}
}

// Pages are filled almost fully by bulk loads, which come sorted, and with room by small updates,
// which would otherwise split every full page that they touch into a full one and a tiny one.
const (
	fillBulk    = 0.96
	fillScatter = 0.7
	bulkPuts    = 4096
)

var (
	errEmptyPath = errors.New("empty path")
	errLongPath  = fmt.Errorf("path is longer than %d bytes", bolt.MaxKeySize)
)

// checkPath refuses what cannot be a key.
func checkPath(path string) error {
	if path == "" {
		return errEmptyPath
	}
	if len(path) > bolt.MaxKeySize {
		return fmt.Errorf("%q...: %w", path[:64], errLongPath)
	}
	return nil
}

// bucket returns a bucket, which Open made sure of.
func (t *txn) bucket(name string) (*bolt.Bucket, error) {
	b := t.Bucket([]byte(name))
	if b == nil {
		return nil, fmt.Errorf("%w: bucket %s is missing", ErrCorrupt, name)
	}
	return b, nil
}

// get returns a record's body, valid in this transaction only, or nil.
func (t *txn) get(bucket string, key []byte) ([]byte, error) {
	b, err := t.bucket(bucket)
	if err != nil {
		return nil, err
	}
	value := b.Get(key)
	if value == nil {
		return nil, nil
	}
	body, err := unseal(bucket, key, value)
	if err != nil {
		return nil, corrupt(bucket, key, err)
	}
	return body, nil
}

// put writes a record.
func (t *txn) put(bucket string, key, body []byte) error {
	b, err := t.bucket(bucket)
	if err != nil {
		return err
	}
	return b.Put(key, seal(bucket, key, body))
}

// each calls fn for every record from the key start on, in key order, until fn returns an error.
// Key and body are valid in this transaction only.
func (t *txn) each(bucket string, start []byte, fn func(key, body []byte) error) error {
	b, err := t.bucket(bucket)
	if err != nil {
		return err
	}
	c := b.Cursor()
	key, value := c.Seek(start)
	var prev []byte
	for ; key != nil; key, value = c.Next() {
		if prev != nil && bytes.Compare(prev, key) >= 0 {
			return corrupt(bucket, key, errMisplaced)
		}
		prev = key
		body, err := unseal(bucket, key, value)
		if err != nil {
			return corrupt(bucket, key, err)
		}
		if err := fn(key, body); err != nil {
			return err
		}
	}
	return nil
}

// reset empties a bucket.
func (t *txn) reset(bucket string) error {
	if err := t.DeleteBucket([]byte(bucket)); err != nil {
		return err
	}
	_, err := t.CreateBucket([]byte(bucket))
	return err
}

// empty says whether a bucket holds nothing.
func (t *txn) empty(bucket string) (bool, error) {
	b, err := t.bucket(bucket)
	if err != nil {
		return false, err
	}
	key, _ := b.Cursor().First()
	return key == nil, nil
}
