package journal

import (
	"bytes"
	"errors"
	"fmt"
)

// Kind is what stands at a path.
type Kind uint8

// The kinds; 0 means that nothing stands there.
const (
	File    Kind = 1
	Dir     Kind = 2
	Symlink Kind = 3
)

// String returns the kind as reports name it.
func (k Kind) String() string {
	switch k {
	case 0:
		return "absent"
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Stat is what identifies a version of a file without reading it; times are in ns since 1970.
type Stat struct {
	Dev, Ino           uint64
	Size, Mtime, Ctime int64
}

// Base is what both sides last agreed on for one path; times are in ns since 1970.
type Base struct {
	Kind       Kind
	SHA256     [32]byte // of a file's content
	Size       int64
	Mode       uint32
	Mtime      int64
	Target     string // of a symlink
	Generation uint64 // of the push or pull that agreed on it
	PushedAt   int64
	Ours       Stat  // our merged file when its bytes were hashed
	HashedAt   int64 // against Ours.Mtime and Ours.Ctime, the racy check
	Theirs     Stat  // the sandbox's own stat as last seen; Dev 0
}

var (
	errKind      = errors.New("unknown kind")
	errMisplaced = errors.New("record is out of order")
)

// Base returns the record of path, and whether there is one.
func (j *Journal) Base(path string) (Base, bool, error) {
	var b Base
	found := false
	err := j.view("read base", func(t *txn) error {
		key := []byte(path)
		if len(key) == 0 {
			return nil
		}
		body, err := t.get(bucketBase, key)
		if err != nil {
			return err
		}
		if body == nil {
			return t.missed(bucketBase, key)
		}
		if b, err = decodeBase(body); err != nil {
			return corrupt(bucketBase, key, err)
		}
		found = true
		return nil
	})
	return b, found, err
}

// missed makes sure that a key is really absent. A flipped bit in a key hides its record from a
// search, and can send the search for another astray, but not further than to a neighbouring page:
// the records around the place where the search ended tell, and a page never holds more than these.
func (t *txn) missed(bucket string, key []byte) error {
	const around = 64
	b, err := t.bucket(bucket)
	if err != nil {
		return err
	}
	c := b.Cursor()
	check := func(k, v []byte) error {
		if bytes.Equal(k, key) {
			return corrupt(bucket, k, errMisplaced)
		}
		if _, err := unseal(bucket, k, v); err != nil {
			return corrupt(bucket, k, err)
		}
		return nil
	}
	k, v := c.Seek(key)
	for i := 0; k != nil && i < around; i++ {
		if err := check(k, v); err != nil {
			return err
		}
		k, v = c.Next()
	}
	if k, v = c.Seek(key); k == nil {
		k, v = c.Last()
	}
	for i := 0; k != nil && i < around; i++ {
		if err := check(k, v); err != nil {
			return err
		}
		k, v = c.Prev()
	}
	return nil
}

// Bases calls fn for each base record in key order, all of one moment. fn must not write to the journal;
// an error of fn ends it and is returned as it is.
func (j *Journal) Bases(fn func(path string, b Base) error) error {
	return j.view("read bases", func(t *txn) error {
		return t.bases(fn)
	})
}

func (t *txn) bases(fn func(path string, b Base) error) error {
	return t.each(bucketBase, nil, func(key, body []byte) error {
		b, err := decodeBase(body)
		if err != nil {
			return corrupt(bucketBase, key, err)
		}
		path := string(key)
		return t.call(func() error { return fn(path, b) })
	})
}

// CountBases returns how many base records there are.
func (j *Journal) CountBases() (int, error) {
	n := 0
	err := j.view("count bases", func(t *txn) error {
		b, err := t.bucket(bucketBase)
		if err != nil {
			return err
		}
		n = b.Stats().KeyN
		return nil
	})
	return n, err
}
