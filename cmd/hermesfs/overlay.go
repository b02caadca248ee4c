package main

import (
	"hermesfs/fs"
	syncer "hermesfs/sync"
)

// An overlay is a mounted merged view, as the daemon uses it; *fs.Overlay is it.
type overlay interface {
	syncer.Tree
	Unmount() error // fs.ErrBusy while a process uses it
	Detach() error
	Wait()
}

var _ overlay = (*fs.Overlay)(nil)

// mountOverlay mounts; the mount answers when it returns.
func mountOverlay(point string, o fs.Options) (overlay, error) {
	ov, err := fs.Mount(point, o)
	if err != nil {
		return nil, err // an interface with a nil *fs.Overlay is not nil
	}
	return ov, nil
}
