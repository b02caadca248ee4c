package syncer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is the file in the home that hermes-agent locks while it syncs.
const lockName = ".sync.lock"

// lockPoll is how often a lock that another process holds is tried: flock(2) itself could not be
// cancelled.
const lockPoll = 50 * time.Millisecond

// lock takes the home's lock and waits for it as long as ctx lets. Closing the file releases it.
func (e *Engine) lock(ctx context.Context, h *home) (*os.File, error) {
	waiting := false
	for {
		f, err := tryLock(h)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s/%s: %w", h.path, lockName, err)
		}
		if !waiting {
			waiting = true
			e.log.Info("waiting for another process to release the lock of the home", "lock", h.path+"/"+lockName)
		}
		// Real time: what is waited for is another process.
		if err := (systemClock{}).Sleep(ctx, lockPoll); err != nil {
			return nil, fmt.Errorf("lock %s/%s: %w", h.path, lockName, err)
		}
	}
}

func tryLock(h *home) (*os.File, error) {
	dir := int(h.file.Fd())
	fd, err := openAt(dir, lockName, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), lockName)
	if err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Whoever held it may have removed it: then the lock is on a file that nobody else sees.
	var ours unix.Stat_t
	now, err := statAt(dir, lockName)
	if err != nil || unix.Fstat(fd, &ours) != nil || now.Ino != ours.Ino || now.Dev != ours.Dev {
		return nil, errors.Join(unix.EWOULDBLOCK, f.Close())
	}
	return f, nil
}
