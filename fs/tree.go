package fs

import (
	"context"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// The methods below are those of layer.Stack for who works on the view while it is mounted: what
// changes upper goes through here, so that the kernel is told.

// LowerPath is the home.
func (o *Overlay) LowerPath() string { return o.stack.LowerPath() }

// Walk is layer.Stack's.
func (o *Overlay) Walk(ctx context.Context, fn func(layer.Entry) error) error {
	return o.stack.Walk(ctx, fn)
}

// Lstat is layer.Stack's.
func (o *Overlay) Lstat(path string) (layer.Entry, error) { return o.stack.Lstat(path) }

// OpenFile is layer.Stack's.
func (o *Overlay) OpenFile(path string) (*os.File, layer.Entry, error) {
	return o.stack.OpenFile(path)
}

// Changes is layer.Stack's.
func (o *Overlay) Changes(ctx context.Context, fn func(layer.Change) error) error {
	return o.stack.Changes(ctx, fn)
}

// Stage is layer.Stack's.
func (o *Overlay) Stage() (*layer.Staged, error) { return o.stack.Stage() }

// Put writes one path of the view atomically. Who has the old file open keeps it.
func (o *Overlay) Put(p layer.Put) error {
	return o.replace(p.Path, func() error { return o.stack.Put(p) })
}

// Remove removes one path of the view. Who has the file open keeps it.
func (o *Overlay) Remove(path string, origin *layer.Origin) error {
	return o.replace(path, func() error { return o.stack.Remove(path, origin) })
}

// replace changes what stands at a path and tells the kernel.
func (o *Overlay) replace(path string, change func() error) error {
	o.mu.Lock()
	n := o.knownPathLocked(path)
	if n != nil {
		if err := o.pinLocked(n); err != nil {
			o.mu.Unlock()
			return &os.PathError{Op: "keep open file", Path: path, Err: err}
		}
	}
	if err := change(); err != nil {
		o.mu.Unlock()
		return err
	}
	told := o.refreshLocked(path)
	o.mu.Unlock()
	o.notify.send(told...)
	o.notify.flush()
	return nil
}

// Drop makes upper forget a path that lower has by now. Who has the file open goes on with it: the
// node is lower's from here on, until the next write copies it up again. layer.ErrChanged when a
// write came first.
func (o *Overlay) Drop(path string, was layer.Identity) error {
	told, err := o.drop(path, was)
	if err != nil {
		return err
	}
	// Without a lock: the kernel may wait for a write that waits for one.
	o.notify.send(told...)
	o.notify.flush()
	return nil
}

func (o *Overlay) drop(path string, was layer.Identity) ([]notification, error) {
	o.mu.RLock()
	n := o.knownPathLocked(path)
	o.mu.RUnlock()
	if n != nil {
		n.dataMu.Lock()
		defer n.dataMu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.stack.Drop(path, was); err != nil {
		return nil, err
	}
	return o.loweredLocked(path), nil
}

// knownPathLocked is the node at a path if the kernel knows it. The caller holds mu.
func (o *Overlay) knownPathLocked(path string) *node {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	n := o.root
	if path == "." {
		return n
	}
	for part := range strings.SplitSeq(path, "/") {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// refreshLocked brings the known nodes on the way to a path in line with the disk after something
// else than a request changed it, and says what the kernel must be told.
func (o *Overlay) refreshLocked(path string) []notification {
	var told []notification
	n := o.root
	parts := strings.Split(path, "/")
	for i, part := range parts {
		told = append(told, notification{node: n.id, data: true}, notification{parent: n.id, name: part})
		o.tableMu.Lock()
		child := n.children[part]
		o.tableMu.Unlock()
		if child == nil {
			break
		}
		pair, err := o.pairLocked(n)
		var f layer.Found
		if err == nil {
			f, err = o.stack.Lookup(pair, part)
		}
		switch {
		case err == nil && child.isDir() && f.Stat.Mode&unix.S_IFMT == unix.S_IFDIR:
			if child.upper != f.Upper || child.dev != f.Stat.Dev || child.real != f.Stat.Ino {
				child.upper, child.dev, child.real = f.Upper, f.Stat.Dev, f.Stat.Ino
				child.forgetPair()
			}
		case err == nil && child.same(&f):
		default:
			o.unname(child, n, part)
			return told
		}
		if i < len(parts)-1 {
			n = child
		}
	}
	return told
}

// loweredLocked notes that lower shows at a path from now on.
func (o *Overlay) loweredLocked(path string) []notification {
	n := o.knownPathLocked(path)
	if n == nil {
		return o.refreshLocked(path)
	}
	o.tableMu.Lock()
	at := n.names[0]
	o.tableMu.Unlock()
	told := []notification{{parent: at.parent.id, name: at.name}, {node: n.id}}
	pair, err := o.pairLocked(at.parent)
	var f layer.Found
	if err == nil {
		f, err = o.stack.Lookup(pair, at.name)
	}
	if err != nil || f.Stat.Mode&unix.S_IFMT != n.kind {
		o.unname(n, at.parent, at.name)
		return told
	}
	n.upper, n.dev, n.real = f.Upper, f.Stat.Dev, f.Stat.Ino
	if n.isDir() {
		n.forgetPair()
	}
	o.closeFile(n)
	return told
}
