package fs

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// keep hands what the next daemon needs to the keeper, if there is one.
func (o *Overlay) keep(keeper *Keeper, first []byte) error {
	if keeper == nil {
		return nil
	}
	table, err := newNodeTable(o.tableFailed)
	if err != nil {
		return err
	}
	o.table = table
	device := os.NewFile(uintptr(o.device.fd), "fuse")
	err = keeper.keep(Kept{Device: device, Table: table.file, First: first})
	// The descriptor is the device's: the file must not close it when it is collected.
	o.device.file = device
	o.device.keeper = keeper
	return err
}

func (o *Overlay) tableFailed(err error) {
	o.log.Warn("nodes are not written down: the mount will not survive a kill of the daemon", "error", err)
}

// Resume goes on serving a mount whose daemon died, which the keeper of o held. Open files,
// directories, working directories and mappings go on, and requests that were under way are
// served. Only a file that was unlinked while it was open is lost: it answers ESTALE.
func Resume(mountpoint string, o Options) (*Overlay, error) {
	k, err := o.Keeper.take()
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w", mountpoint, err)
	}
	ov, err := newOverlay(mountpoint, o)
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w", mountpoint, err)
	}
	ov.device.keeper = o.Keeper
	if err := ov.resume(k); err != nil {
		return nil, errors.Join(fmt.Errorf("resume %s: %w", mountpoint, err), ov.watch.file.Close())
	}
	ov.background()
	ov.forgetLower() // what changed meanwhile, nobody told
	ov.changed()
	return ov, nil
}

func (o *Overlay) resume(k Kept) error {
	table, records, err := openNodeTable(k.Table, o.tableFailed)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.tableMu.Lock()
	o.restoreLocked(records)
	// Directory handles of the process before are not ours; new ones must not be theirs.
	o.nextDir = uint64(time.Now().UnixNano())
	o.tableMu.Unlock()
	o.verifyLocked()
	o.table = table
	o.mu.Unlock()
	o.device.file, o.device.fd = k.Device, int(k.Device.Fd())
	o.notify = newNotifier(o.device, o.log)
	return o.device.resume(k.First)
}
