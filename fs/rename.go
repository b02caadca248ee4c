package fs

import (
	"errors"

	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// A renaming is one rename under way. The tree is locked for writing.
type renaming struct {
	overlay              *Overlay
	oldParent, newParent *node
	oldBase, newBase     string

	oldPair, newPair layer.Pair
	source           *node
	target           *node // nil: there is none
	targetFound      layer.Found
}

func (r *renaming) run(flags uint32) error {
	if err := r.find(flags); err != nil {
		return err
	}
	if r.target == r.source {
		return nil // two names of one file: rename(2) does nothing
	}
	if flags&unix.RENAME_EXCHANGE != 0 {
		return r.exchange()
	}
	return r.replace()
}

// find looks both names up and has upper have what is renamed, alone.
func (r *renaming) find(flags uint32) error {
	o := r.overlay
	var err error
	if r.oldPair, err = o.upperPairLocked(r.oldParent); err != nil {
		return err
	}
	if r.newPair, err = o.upperPairLocked(r.newParent); err != nil {
		return err
	}
	if o.stack.Policy().Hidden(layer.Join(r.newPair.Path, r.newBase)) {
		return unix.EPERM
	}
	found, err := o.stack.Lookup(r.oldPair, r.oldBase)
	if err != nil {
		return err
	}
	r.source = o.childLocked(r.oldParent, r.oldBase, &found)
	r.targetFound, err = o.stack.Lookup(r.newPair, r.newBase)
	switch {
	case err == nil && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case err == nil:
		r.target = o.childLocked(r.newParent, r.newBase, &r.targetFound)
	case !errors.Is(err, unix.ENOENT):
		return err
	case flags&unix.RENAME_EXCHANGE != 0:
		return unix.ENOENT
	}
	return r.raise(r.source, r.oldPair, r.oldBase)
}

// raise has upper have what is renamed.
func (r *renaming) raise(n *node, pair layer.Pair, base string) error {
	if n.isDir() {
		return r.overlay.copyUpTreeLocked(n, pair, base)
	}
	return r.overlay.copyUpLocked(n)
}

// hideBelow makes a directory that is about to get a name hide what lower has at that name.
func (r *renaming) hideBelow(n *node, at layer.Pair, base string, to layer.Pair, toBase string) error {
	if !n.isDir() || to.Lower < 0 {
		return nil
	}
	var st unix.Stat_t
	if err := layer.StatAt(to.Lower, toBase, &st); err != nil {
		return nil
	}
	return r.overlay.stack.SetOpaque(at, base)
}

// written notes in the node table that a node may have a name, or does not.
func (o *Overlay) written(n, parent *node, base string, has bool) {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	if has {
		o.table.named(n, parent, base)
	} else {
		o.table.unnamed(n, parent, base)
	}
}

// exchange swaps two names that upper has both.
func (r *renaming) exchange() error {
	o := r.overlay
	if err := r.raise(r.target, r.newPair, r.newBase); err != nil {
		return err
	}
	if err := r.hideBelow(r.source, r.oldPair, r.oldBase, r.newPair, r.newBase); err != nil {
		return err
	}
	if err := r.hideBelow(r.target, r.newPair, r.newBase, r.oldPair, r.oldBase); err != nil {
		return err
	}
	o.written(r.source, r.newParent, r.newBase, true)
	o.written(r.target, r.oldParent, r.oldBase, true)
	if err := layer.RenameAt(r.oldPair.Upper, r.oldBase, r.newPair.Upper, r.newBase, unix.RENAME_EXCHANGE); err != nil {
		o.written(r.source, r.newParent, r.newBase, false)
		o.written(r.target, r.oldParent, r.oldBase, false)
		return err
	}
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	o.unnameLocked(r.source, r.oldParent, r.oldBase)
	o.unnameLocked(r.target, r.newParent, r.newBase)
	o.nameLocked(r.source, r.newParent, r.newBase)
	o.nameLocked(r.target, r.oldParent, r.oldBase)
	return nil
}

// reap drops nodes that the kernel did not know and that were needed for the renaming alone.
func (r *renaming) reap() {
	r.overlay.tableMu.Lock()
	defer r.overlay.tableMu.Unlock()
	for _, n := range []*node{r.source, r.target} {
		if n != nil {
			r.overlay.reapLocked(n)
		}
	}
}

// replace gives the source the new name, in place of the target if there is one. Where lower shows
// the old name, a whiteout takes its place.
func (r *renaming) replace() error {
	o := r.overlay
	if err := r.checkTarget(); err != nil {
		return err
	}
	if err := o.stack.Hide(r.newPair, r.newBase); err != nil {
		return err
	}
	if err := r.hideBelow(r.source, r.oldPair, r.oldBase, r.newPair, r.newBase); err != nil {
		return err
	}
	whiteout, err := o.stack.HidesLower(r.oldPair, r.oldBase)
	if err != nil {
		return err
	}
	// Written down first: killed after the rename, whoever takes over looks at both names.
	o.written(r.source, r.newParent, r.newBase, true)
	if err := r.move(whiteout); err != nil {
		o.written(r.source, r.newParent, r.newBase, false)
		return err
	}
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	if r.target != nil {
		o.unnameLocked(r.target, r.newParent, r.newBase)
	}
	o.unnameLocked(r.source, r.oldParent, r.oldBase)
	o.nameLocked(r.source, r.newParent, r.newBase)
	return nil
}

// checkTarget refuses what rename(2) refuses and keeps a target usable that is open.
func (r *renaming) checkTarget() error {
	o := r.overlay
	if r.target == nil {
		return nil
	}
	switch {
	case r.source.isDir() && !r.target.isDir():
		return unix.ENOTDIR
	case !r.source.isDir() && r.target.isDir():
		return unix.EISDIR
	case !r.target.isDir():
		if err := o.raiseLinkedLocked(r.newParent, r.newPair, r.newBase, &r.targetFound); err != nil {
			return err
		}
		return o.pinLocked(r.target)
	}
	if _, err := o.removableLocked(r.newPair, r.newBase, true); err != nil {
		return err
	}
	_, err := o.pairLocked(r.target)
	return err
}

// move renames in upper. One system call does all of it but for a directory that takes the place
// of something: then the names are exchanged first. Killed in between, the old name is what was
// replaced, and nothing is lost.
func (r *renaming) move(whiteout bool) error {
	o := r.overlay
	var st unix.Stat_t
	exists := layer.StatAt(r.newPair.Upper, r.newBase, &st) == nil
	if exists && (r.source.isDir() || st.Mode&unix.S_IFMT == unix.S_IFDIR) {
		if err := layer.RenameAt(r.oldPair.Upper, r.oldBase, r.newPair.Upper, r.newBase, unix.RENAME_EXCHANGE); err != nil {
			return err
		}
		return o.stack.RemoveAt(r.oldPair, r.oldBase, layer.Found{Stat: st, Upper: true})
	}
	var flags uint
	if whiteout && !o.stack.XWhiteouts() {
		flags = unix.RENAME_WHITEOUT
	}
	err := layer.RenameAt(r.oldPair.Upper, r.oldBase, r.newPair.Upper, r.newBase, flags)
	if flags != 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)) {
		flags = 0
		err = layer.RenameAt(r.oldPair.Upper, r.oldBase, r.newPair.Upper, r.newBase, 0)
	}
	if err != nil {
		return err
	}
	if whiteout && flags == 0 {
		return o.stack.Whiteout(r.oldPair.Upper, r.oldBase)
	}
	if !whiteout {
		return o.stack.Unhide(layer.Join(r.oldPair.Path, r.oldBase))
	}
	return nil
}
