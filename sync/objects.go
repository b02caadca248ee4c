package syncer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// Objects holds versions of files by the BLAKE3 of their content, as ab/cdef…. What is in it is
// never changed. It may be shared by mounts and processes.
type Objects struct{ dir string }

// OpenObjects opens the store in dir, and makes it, private, when it is missing.
func OpenObjects(dir string) (*Objects, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open objects: %w", err)
	}
	return &Objects{dir: dir}, nil
}

// ObjectName is how an object is written in reports: its BLAKE3 in hexadecimal, "" for none.
func ObjectName(sum [32]byte) string {
	if sum == [32]byte{} {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

func (o *Objects) path(sum [32]byte) string {
	name := hex.EncodeToString(sum[:])
	return filepath.Join(o.dir, name[:2], name[2:])
}

// Has says whether the store has an object.
func (o *Objects) Has(sum [32]byte) bool {
	_, err := os.Lstat(o.path(sum))
	return err == nil
}

// Open opens an object for reading; iofs.ErrNotExist when there is none. The caller closes it.
func (o *Objects) Open(sum [32]byte) (*os.File, error) {
	f, err := os.Open(o.path(sum))
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	return f, nil
}

// Put stores what r has, durably, and returns its name and size.
func (o *Objects) Put(r io.Reader) (sum [32]byte, size int64, err error) {
	tmp, err := os.CreateTemp(o.dir, "tmp-*")
	if err != nil {
		return sum, 0, fmt.Errorf("store object: %w", err)
	}
	defer func() {
		_ = tmp.Close()
		_ = os.Remove(tmp.Name())
	}()
	h := blake3.New()
	if size, err = io.Copy(io.MultiWriter(tmp, h), r); err != nil {
		return sum, size, fmt.Errorf("store object: %w", err)
	}
	sum = [32]byte(h.Sum(nil))
	if o.Has(sum) {
		return sum, size, nil
	}
	if err := errors.Join(tmp.Chmod(0o400), tmp.Sync(), tmp.Close()); err != nil {
		return sum, size, fmt.Errorf("store object: %w", err)
	}
	if err := o.shelve(sum, func(path string) error { return os.Rename(tmp.Name(), path) }); err != nil {
		return sum, size, err
	}
	return sum, size, syncDir(filepath.Dir(o.path(sum)))
}

// shelve gives an object its name by place, which is called with it.
func (o *Objects) shelve(sum [32]byte, place func(path string) error) error {
	path := o.path(sum)
	err := place(path)
	if errors.Is(err, iofs.ErrNotExist) {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
			return fmt.Errorf("store object: %w", err)
		}
		if err := syncDir(o.dir); err != nil {
			return err
		}
		err = place(path)
	}
	if err != nil {
		return fmt.Errorf("store object: %w", err)
	}
	return nil
}

// take moves the file name of dir into the store, where sum is its BLAKE3, and durably only with
// the next sync of its file system. Across file systems, and when the file has other names by
// which it may be changed, it is copied, durably.
func (o *Objects) take(dir int, name string, sum [32]byte) error {
	st, err := statAt(dir, name)
	if err != nil {
		return fmt.Errorf("store object: %w", err)
	}
	switch {
	case o.Has(sum):
		return unlinkAt(dir, name, 0)
	case st.Nlink == 1:
		err := o.shelve(sum, func(path string) error {
			return retry(func() error { return unix.Renameat(dir, name, unix.AT_FDCWD, path) })
		})
		if err == nil {
			// Best effort: a store that is on another user's file system keeps the mode.
			_ = os.Chmod(o.path(sum), 0o400)
			return nil
		}
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	f, err := openFileAt(dir, name)
	if err != nil {
		return fmt.Errorf("store object: %w", err)
	}
	defer f.Close()
	if _, _, err := o.Put(f); err != nil {
		return err
	}
	return unlinkAt(dir, name, 0)
}

// sync makes everything in the store durable.
func (o *Objects) sync() error {
	f, err := os.Open(o.dir)
	if err != nil {
		return fmt.Errorf("sync objects: %w", err)
	}
	defer f.Close()
	if err := syncFS(int(f.Fd())); err != nil {
		return fmt.Errorf("sync objects: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
