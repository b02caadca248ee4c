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
	Live() bool // changes of the home show at once
}

var _ overlay = (*fs.Overlay)(nil)
