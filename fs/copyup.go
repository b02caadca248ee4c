package fs

import (
	"errors"

	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// copyUp makes upper have a node: its parents, then the file itself. It is called without mu.
func (o *Overlay) copyUp(n *node) error {
	o.mu.RLock()
	upper := n.upper
	o.mu.RUnlock()
	if upper {
		return nil
	}
	n.copyMu.Lock()
	defer n.copyMu.Unlock()
	if n.kind == unix.S_IFREG {
		return o.copyUpFile(n)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.copyUpLocked(n)
}

// copyUpFile copies the content without holding the tree, then gives it its name.
func (o *Overlay) copyUpFile(n *node) error {
	src, err := o.acquire(n, false)
	if err != nil {
		return err
	}
	defer o.release(src)
	if src.upper {
		return nil
	}
	c, err := o.stack.StartCopy(src.fd)
	if err != nil {
		return err
	}
	defer c.Abort()
	o.mu.Lock()
	defer o.mu.Unlock()
	if n.upper {
		return nil
	}
	pair, base, err := o.upperWhereLocked(n)
	if errors.Is(err, unix.ESTALE) {
		return o.adoptOrphanLocked(n, c)
	}
	if err != nil {
		return err
	}
	if err := c.Place(pair, base); err != nil {
		return err
	}
	return o.raisedLocked(n, pair, base)
}

// adoptOrphanLocked makes the copy the content of a lower file that was unlinked while it is
// open. The caller holds mu for writing.
func (o *Overlay) adoptOrphanLocked(n *node, c *layer.Copy) error {
	fd, err := c.Orphan()
	if err != nil {
		return err
	}
	o.fileMu.Lock()
	defer o.fileMu.Unlock()
	n.upper = true
	o.replaceLocked(n, &openFile{fd: fd, node: n, write: true, upper: true, pinned: true})
	return nil
}

// copyUpLocked makes upper have a node, whatever it is. The caller holds mu for writing.
func (o *Overlay) copyUpLocked(n *node) error {
	if n.upper {
		return nil
	}
	pair, base, err := o.upperWhereLocked(n)
	if err != nil {
		return err
	}
	if err := o.stack.CopyUp(pair, base); err != nil {
		return err
	}
	return o.raisedLocked(n, pair, base)
}

// upperWhereLocked is whereLocked with the directory in upper. The caller holds mu for writing.
func (o *Overlay) upperWhereLocked(n *node) (layer.Pair, string, error) {
	o.tableMu.Lock()
	var parent *node
	if len(n.names) > 0 {
		parent = n.names[0].parent
	}
	o.tableMu.Unlock()
	if parent == nil {
		return layer.Pair{}, "", unix.ESTALE
	}
	if err := o.copyUpLocked(parent); err != nil {
		return layer.Pair{}, "", err
	}
	return o.whereLocked(n)
}

// raisedLocked notes that upper has a node now. The caller holds mu for writing.
func (o *Overlay) raisedLocked(n *node, pair layer.Pair, base string) error {
	var st unix.Stat_t
	if err := layer.StatAt(pair.Upper, base, &st); err != nil {
		return err
	}
	n.upper, n.dev, n.real = true, st.Dev, st.Ino
	n.forgetPair()
	o.linkedLocked()
	return nil
}

// linkedLocked has the other names of files that were copied up looked at anew. The caller holds mu
// for writing.
func (o *Overlay) linkedLocked() {
	for _, path := range o.stack.Linked() {
		o.notify.send(o.refreshLocked(path)...)
	}
}

// copyUpTreeLocked makes upper have a directory with all that the view shows below it, and hide
// lower there: what a directory needs before it can get another name. The caller holds mu for
// writing.
func (o *Overlay) copyUpTreeLocked(n *node, pair layer.Pair, base string) error {
	if err := o.copyUpLocked(n); err != nil {
		return err
	}
	if err := o.stack.Detach(pair, base); err != nil {
		return err
	}
	o.detachedLocked(n)
	o.linkedLocked()
	return nil
}

// detachedLocked has the nodes below a directory looked at anew, which upper has alone now.
func (o *Overlay) detachedLocked(n *node) {
	n.forgetPair()
	o.tableMu.Lock()
	children := make(map[string]*node, len(n.children))
	for base, child := range n.children {
		children[base] = child
	}
	o.tableMu.Unlock()
	for base, child := range children {
		if child.isDir() {
			o.detachedLocked(child)
		}
		if child.upper {
			continue
		}
		o.closeFile(child)
		if pair, err := o.pairLocked(n); err == nil {
			if err := o.raisedLocked(child, pair, base); err != nil {
				o.log.Warn("copied file is gone", "path", o.path(child), "error", err)
			}
		}
	}
}
