package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked means that a daemon or another command works on a mount.
var errLocked = errors.New("in use by another hermesfs process")

// lockWait is how long a command waits for another one to end.
const lockWait = 10 * time.Second

// A stateLock is the right to work on a mount's state. The daemon holds it for its life.
type stateLock struct{ f *os.File }

// tryLock takes the lock of a mount, errLocked when another has it. The mount's directory must
// exist.
func (m mountDir) tryLock() (*stateLock, error) {
	path := filepath.Join(m.path(), "lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// forget may have removed the directory since the open: then this lock guards nothing.
		mine, err1 := f.Stat()
		now, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, now) {
			return &stateLock{f: f}, nil
		}
		f.Close()
		if errors.Is(err2, iofs.ErrNotExist) {
			return nil, err2
		}
	}
}

// lock takes the lock of a mount, waiting for a while. busy, when not nil, is asked between
// two attempts and ends the wait with its error.
func (m mountDir) lock(ctx context.Context, wait time.Duration, busy func() error) (*stateLock, error) {
	deadline := time.Now().Add(wait)
	for {
		l, err := m.tryLock()
		if !errors.Is(err, errLocked) {
			return l, err
		}
		if busy != nil {
			if err := busy(); err != nil {
				return nil, err
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("mount %s is %w", m.name, errLocked)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// locked says whether a process holds the lock of a mount.
func (m mountDir) locked() bool {
	l, err := m.tryLock()
	if err == nil {
		l.Close()
	}
	return errors.Is(err, errLocked)
}

// isLock says whether a descriptor is open on the mount's lock file.
func (m mountDir) isLock(fd int) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Stat(filepath.Join(m.path(), "lock"), &b) == nil &&
		a.Dev == b.Dev && a.Ino == b.Ino
}

// inheritedLock is a lock that the parent took and passed on as a descriptor.
func inheritedLock(fd uintptr) *stateLock {
	unix.CloseOnExec(int(fd))
	return &stateLock{f: os.NewFile(fd, "lock")}
}

// Close gives the lock up, unless the descriptor was passed to another process, which then has
// it. It may be called twice.
func (l *stateLock) Close() error {
	err := l.f.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
