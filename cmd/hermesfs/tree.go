package main

import (
	"context"
	"os"
	"sync/atomic"

	"hermesfs/fs/layer"
	syncer "hermesfs/sync"
)

// A switchTree is the layers while nothing is mounted and the overlay while it is, for one
// engine that lives through both. The switch is made while no action runs.
type switchTree struct{ current atomic.Pointer[syncer.Tree] }

var _ syncer.Tree = (*switchTree)(nil)

func newSwitchTree(t syncer.Tree) *switchTree {
	s := &switchTree{}
	s.use(t)
	return s
}

func (s *switchTree) use(t syncer.Tree) { s.current.Store(&t) }
func (s *switchTree) tree() syncer.Tree { return *s.current.Load() }

// Walk is the current tree's, as all the methods are.
func (s *switchTree) Walk(ctx context.Context, fn func(layer.Entry) error) error {
	return s.tree().Walk(ctx, fn)
}

// Lstat looks a path up.
func (s *switchTree) Lstat(path string) (layer.Entry, error) { return s.tree().Lstat(path) }

// OpenFile opens a file for reading.
func (s *switchTree) OpenFile(path string) (*os.File, layer.Entry, error) {
	return s.tree().OpenFile(path)
}

// Changes lists what upper changes.
func (s *switchTree) Changes(ctx context.Context, fn func(layer.Change) error) error {
	return s.tree().Changes(ctx, fn)
}

// Stage makes a temporary file.
func (s *switchTree) Stage() (*layer.Staged, error) { return s.tree().Stage() }

// Put writes a path.
func (s *switchTree) Put(p layer.Put) error { return s.tree().Put(p) }

// Remove removes a path.
func (s *switchTree) Remove(path string, origin *layer.Origin) error {
	return s.tree().Remove(path, origin)
}

// Drop makes upper forget a path.
func (s *switchTree) Drop(path string, was layer.Identity) error { return s.tree().Drop(path, was) }
