package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const lockPoll = 10 * time.Millisecond

// openLocked opens the file at path with its lock held: shared to read, else exclusive. Compact puts
// a new file under the name, so a lock counts only if the name still leads to the file locked.
func openLocked(path string, readOnly bool, deadline time.Time) (*os.File, error) {
	for {
		f, err := openRegular(path, readOnly)
		if err != nil {
			return nil, err
		}
		if err := lock(f, readOnly, deadline); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		ours, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		named, err := os.Stat(path)
		if err == nil && os.SameFile(ours, named) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func openRegular(path string, readOnly bool) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrCorrupt)
	}
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	return os.OpenFile(path, flag, 0)
}

// lock takes the lock that bbolt takes, on the same descriptor, before anything is read: a file that
// somebody writes must not be judged.
func lock(f *os.File, shared bool, deadline time.Time) error {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock: %w", err)
		case time.Until(deadline) <= 0:
			return ErrLocked
		}
		time.Sleep(lockPoll)
	}
}

// release unlocks and closes f even if a mapping, which bbolt may have left, still holds it. That f
// is closed already is fine.
func release(f *os.File) error {
	if conn, err := f.SyscallConn(); err == nil {
		// An error means closed, and so unlocked.
		_ = conn.Control(func(fd uintptr) { _ = syscall.Flock(int(fd), syscall.LOCK_UN) })
	}
	if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
