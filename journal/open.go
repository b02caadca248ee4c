package journal

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	defaultTimeout = 5 * time.Second

	// One page size everywhere, so that a file does not depend on the machine that made it.
	pageSize = 4096
	// Address space only. While the file fits, a writer never has to wait for a reader to remap it.
	mmapSize = 1 << 30
	// By how much the file grows at a time; bbolt's own 16 MiB would be most of a small journal.
	growSize = 256 << 10
)

// Open opens the journal at path, and creates it (0600) unless o.ReadOnly. ErrLocked: another process
// holds it. ErrFormat: it is of another version of hermesfs. ErrCorrupt: it is damaged. ErrNotFound
// (and fs.ErrNotExist): there is none and o.ReadOnly. The caller closes it.
func Open(path string, o Options) (*Journal, error) {
	j, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return j, nil
}

func open(path string, o Options) (*Journal, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	deadline := time.Now().Add(o.Timeout)
	for {
		f, err := openLocked(path, o.ReadOnly, deadline)
		if err == nil {
			return openFile(path, f, o)
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return nil, err
		}
		if o.ReadOnly {
			return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		if err := create(path, o); err != nil {
			return nil, err
		}
	}
}

// openFile takes over f, which is locked.
func openFile(path string, f *os.File, o Options) (*Journal, error) {
	j := &Journal{path: path, readOnly: o.ReadOnly, failAt: o.Fail, file: f}
	j.idle.L = &j.mu
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, release(f))
	}
	if err := checkFile(f, !o.ReadOnly || info.Size() <= fullScanSize && !o.lightScan); err != nil {
		return nil, errors.Join(err, release(f))
	}
	db, err := openBolt(f, o.ReadOnly)
	if err != nil {
		return nil, errors.Join(err, release(f))
	}
	j.db = db
	err = j.view("check", func(t *txn) error {
		if err := t.checkFormat(); err != nil {
			return err
		}
		for _, name := range buckets() {
			if _, err := t.bucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(errors.Unwrap(err), j.Close())
	}
	if !o.ReadOnly {
		sweep(path)
	}
	return j, nil
}

// openBolt hands f to bbolt, which closes it. Whatever bbolt panics with is damage.
func openBolt(f *os.File, readOnly bool) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	size := mmapSize
	if readOnly {
		size = 0 // it never grows
	}
	db, err = bolt.Open(f.Name(), 0o600, &bolt.Options{
		ReadOnly:        readOnly,
		Timeout:         time.Second, // f is locked already; this takes the same lock again
		PageSize:        pageSize,
		InitialMmapSize: size,
		FreelistType:    bolt.FreelistMapType,
		NoStatistics:    true,
		OpenFile:        func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = growSize
	return db, nil
}

// create makes a new, complete journal and links it to path. That somebody else was faster is fine.
func create(path string, o Options) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // its other name, if it got one, stays
	if err := fill(f); err != nil {
		return err
	}
	if err := reach(o.Fail, stepCreate+":before"); err != nil {
		return err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, iofs.ErrExist) {
		return nil
	}
	if errors.Is(err, iofs.ErrNotExist) {
		if _, err := os.Stat(path); err == nil {
			return nil // whoever was faster has swept our file
		}
	}
	if err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return reach(o.Fail, stepCreate+":after")
}

// fill makes f an empty journal, and closes it.
func fill(f *os.File) error {
	db, err := openBolt(f, false)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return (&txn{Tx: tx}).putFormat(Format)
	})
	return errors.Join(err, db.Close())
}

// tempPrefix begins the names of files that are to become the journal. They stand beside it.
func tempPrefix(path string) string { return "." + filepath.Base(path) + ".new-" }

// sweep removes what a killed create or Compact left. Whoever holds the journal's lock may: a create
// that still runs will find the journal there and not miss its file.
func sweep(path string) {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix(path)) {
			os.Remove(filepath.Join(dir, e.Name())) // the next Open tries again
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
