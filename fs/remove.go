package fs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// Unlink removes a file.
func (o *Overlay) Unlink(_ <-chan struct{}, h *fuse.InHeader, base string) fuse.Status {
	return o.remove(h, base, false)
}

// Rmdir removes a directory that is empty in the merged view.
func (o *Overlay) Rmdir(_ <-chan struct{}, h *fuse.InHeader, base string) fuse.Status {
	return o.remove(h, base, true)
}

func (o *Overlay) remove(h *fuse.InHeader, base string, dir bool) fuse.Status {
	parent := o.node(h.NodeId)
	o.mu.Lock()
	defer o.mu.Unlock()
	pair, err := o.pairLocked(parent)
	if err == nil {
		var f layer.Found
		if f, err = o.removableLocked(pair, base, dir); err == nil {
			err = o.removeLocked(parent, base, f)
		}
	}
	if errors.Is(err, unix.ENOENT) && resent(h) {
		err = nil
	}
	if err == nil {
		o.changed()
	}
	return o.status(err, "remove", layer.Join(pair.Path, base))
}

// removableLocked finds a name and checks that it can be removed.
func (o *Overlay) removableLocked(pair layer.Pair, base string, dir bool) (layer.Found, error) {
	f, err := o.stack.Lookup(pair, base)
	if err != nil {
		return f, err
	}
	isDir := f.Stat.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case dir && !isDir:
		return f, unix.ENOTDIR
	case !dir && isDir:
		return f, unix.EISDIR
	case !dir:
		return f, nil
	}
	sub, err := o.stack.OpenDir(pair, base, f)
	if err != nil {
		return f, err
	}
	defer sub.Close()
	ents, err := o.stack.ReadDir(sub)
	if err == nil && len(ents) > 0 {
		err = unix.ENOTEMPTY
	}
	return f, err
}

// removeLocked takes a name that was found out of the view. The caller holds mu for writing.
func (o *Overlay) removeLocked(parent *node, base string, f layer.Found) error {
	pair, err := o.upperPairLocked(parent)
	if err != nil {
		return err
	}
	if err := o.raiseLinkedLocked(parent, pair, base, &f); err != nil {
		return err
	}
	o.tableMu.Lock()
	n := parent.children[base]
	o.tableMu.Unlock()
	if n != nil {
		if err := o.pinLocked(n); err != nil {
			return err
		}
		if n.isDir() {
			// Who has it open still has the descriptors.
			if _, err := o.pairLocked(n); err != nil {
				return err
			}
		}
	}
	if err := o.stack.Hide(pair, base); err != nil {
		return err
	}
	if err := o.stack.RemoveAt(pair, base, f); err != nil {
		return err
	}
	if n != nil {
		o.unname(n, parent, base)
	}
	return nil
}

// raiseLinkedLocked has upper have a file of several names before it loses one, so that it counts
// the others right. The caller holds mu for writing.
func (o *Overlay) raiseLinkedLocked(parent *node, pair layer.Pair, base string, f *layer.Found) error {
	if f.Upper || f.Stat.Nlink < 2 || f.Stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err := o.copyUpLocked(o.childLocked(parent, base, f)); err != nil {
		return err
	}
	var err error
	*f, err = o.stack.Lookup(pair, base)
	return err
}

func (o *Overlay) unname(n, parent *node, base string) {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	o.unnameLocked(n, parent, base)
	o.reapLocked(n)
	o.reapLocked(parent)
}

// Rename renames, replaces or exchanges.
func (o *Overlay) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldBase, newBase string) fuse.Status {
	if in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	oldParent, newParent := o.node(in.NodeId), o.node(in.Newdir)
	// The content of a big file is copied before the tree is locked.
	o.tableMu.Lock()
	n := oldParent.children[oldBase]
	o.tableMu.Unlock()
	if n != nil && n.kind == unix.S_IFREG {
		if err := o.copyUp(n); err != nil {
			return o.status(err, "rename", o.path(n))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &renaming{overlay: o, oldParent: oldParent, newParent: newParent, oldBase: oldBase, newBase: newBase}
	err := r.run(in.Flags)
	if errors.Is(err, unix.ENOENT) && resent(&in.InHeader) {
		var pair layer.Pair
		if pair, err = o.pairLocked(newParent); err == nil {
			_, err = o.stack.Lookup(pair, newBase)
		}
	}
	r.reap()
	if err == nil {
		o.changed()
	}
	return o.status(err, "rename", layer.Join(o.path(oldParent), oldBase))
}

// childLocked is the node of a name that was found, made known if it is not, without counting a
// lookup. The caller holds mu for writing.
func (o *Overlay) childLocked(parent *node, base string, f *layer.Found) *node {
	n := o.knownLocked(parent, base, f)
	o.tableMu.Lock()
	n.lookups--
	o.tableMu.Unlock()
	return n
}
