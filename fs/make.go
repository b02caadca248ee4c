package fs

import (
	"errors"
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// newName begins the names of files that are made beside a whiteout before they replace it, so
// that they inherit from their directory. access hides such names.
const newName = ".hermesfs-new-"

// Mknod makes a file, or a fifo, socket or device.
func (o *Overlay) Mknod(_ <-chan struct{}, in *fuse.MknodIn, base string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&unix.S_IFMT == unix.S_IFCHR && in.Rdev == 0 {
		return fuse.EPERM // would be a whiteout
	}
	return o.make(&in.InHeader, base, out, func(dir int, name string, mask bool) error {
		return unix.Mknodat(dir, name, masked(in.Mode, in.Umask, mask), int(in.Rdev))
	})
}

// Mkdir makes a directory.
func (o *Overlay) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, base string, out *fuse.EntryOut) fuse.Status {
	return o.make(&in.InHeader, base, out, func(dir int, name string, mask bool) error {
		return unix.Mkdirat(dir, name, masked(in.Mode, in.Umask, mask)&0o7777)
	})
}

// Symlink makes a symlink.
func (o *Overlay) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, base string, out *fuse.EntryOut) fuse.Status {
	return o.make(h, base, out, func(dir int, name string, _ bool) error {
		return unix.Symlinkat(target, dir, name)
	})
}

// masked applies the caller's umask, unless a default ACL takes its place.
func masked(mode, umask uint32, mask bool) uint32 {
	if mask {
		return mode &^ (umask & 0o777)
	}
	return mode
}

// make makes a new name in a directory with create, and gives it the caller as its owner.
func (o *Overlay) make(h *fuse.InHeader, base string, out *fuse.EntryOut, create func(dir int, name string, mask bool) error) fuse.Status {
	parent := o.node(h.NodeId)
	o.mu.Lock()
	defer o.mu.Unlock()
	f, path, err := o.makeLocked(h, parent, base, create)
	if errors.Is(err, unix.EEXIST) && resent(h) {
		var pair layer.Pair
		if pair, err = o.pairLocked(parent); err == nil {
			f, err = o.stack.Lookup(pair, base)
		}
	}
	if err != nil {
		return o.status(err, "make", path)
	}
	o.entryLocked(parent, base, &f, out)
	o.changed()
	return fuse.OK
}

func (o *Overlay) makeLocked(h *fuse.InHeader, parent *node, base string, create func(dir int, name string, mask bool) error) (f layer.Found, path string, err error) {
	pair, hidesLower, err := o.freeNameLocked(parent, base)
	path = layer.Join(pair.Path, base)
	if err != nil {
		return f, path, err
	}
	mask := !o.hasDefaultACLLocked(parent, pair)
	tmp := base
	var st unix.Stat_t
	inUpper := layer.StatAt(pair.Upper, base, &st) == nil
	if inUpper || hidesLower {
		tmp = fmt.Sprintf("%s%d", newName, h.Unique)
	}
	if err := create(pair.Upper, tmp, mask); err != nil {
		return f, path, err
	}
	if err := o.ownNew(h, pair.Upper, tmp, &st); err != nil {
		return f, path, errors.Join(err, o.discardNew(pair.Upper, tmp, &st))
	}
	if tmp != base {
		if err := o.placeNew(pair, tmp, base, inUpper, &st); err != nil {
			return f, path, errors.Join(err, o.discardNew(pair.Upper, tmp, &st))
		}
	}
	f, err = o.stack.Lookup(pair, base)
	return f, path, err
}

// freeNameLocked checks that a name can be made in a directory and has upper have the directory.
// hidesLower says that lower has something there that access hides. The caller holds mu for
// writing.
func (o *Overlay) freeNameLocked(parent *node, base string) (pair layer.Pair, hidesLower bool, err error) {
	if pair, err = o.pairLocked(parent); err != nil {
		return pair, false, err
	}
	if o.stack.Policy().Hidden(layer.Join(pair.Path, base)) {
		return pair, false, unix.EPERM
	}
	_, err = o.stack.Lookup(pair, base)
	if err == nil {
		return pair, false, unix.EEXIST
	}
	if !errors.Is(err, unix.ENOENT) {
		return pair, false, err
	}
	if pair, err = o.upperPairLocked(parent); err != nil {
		return pair, false, err
	}
	if pair.Lower >= 0 {
		var st unix.Stat_t
		hidesLower = layer.StatAt(pair.Lower, base, &st) == nil
	}
	return pair, hidesLower, nil
}

// upperPairLocked is the descriptors of a directory that upper is made to have. A directory that
// was removed is ENOENT, as for any file system. The caller holds mu for writing.
func (o *Overlay) upperPairLocked(n *node) (layer.Pair, error) {
	if n.id != fuse.FUSE_ROOT_ID && o.path(n) == "" {
		return layer.Pair{Path: "?", Upper: -1, Lower: -1}, unix.ENOENT
	}
	if err := o.copyUpLocked(n); err != nil {
		return layer.Pair{Path: o.path(n), Upper: -1, Lower: -1}, err
	}
	return o.pairLocked(n)
}

// ownNew gives a new file the caller as its owner, who may not be us. The directory's setgid bit
// decides its group.
func (o *Overlay) ownNew(h *fuse.InHeader, dir int, name string, st *unix.Stat_t) error {
	if err := layer.StatAt(dir, name, st); err != nil {
		return err
	}
	if o.uid != 0 || h.Uid == st.Uid && h.Gid == st.Gid {
		return nil
	}
	var parent unix.Stat_t
	if err := layer.StatAt(dir, ".", &parent); err != nil {
		return err
	}
	gid := int(h.Gid)
	if parent.Mode&unix.S_ISGID != 0 {
		gid = -1 // inherited
	}
	if err := unix.Fchownat(dir, name, int(h.Uid), gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return layer.ChmodAt(dir, name, st.Mode&0o7777) // chown cleared them
	}
	return nil
}

// placeNew gives a new file the name of a whiteout, or one that hides something of lower.
func (o *Overlay) placeNew(pair layer.Pair, tmp, base string, inUpper bool, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return layer.RenameAt(pair.Upper, tmp, pair.Upper, base, 0)
	}
	if err := o.stack.SetOpaque(pair, tmp); err != nil {
		return err
	}
	if !inUpper {
		return layer.RenameAt(pair.Upper, tmp, pair.Upper, base, unix.RENAME_NOREPLACE)
	}
	if err := layer.RenameAt(pair.Upper, tmp, pair.Upper, base, unix.RENAME_EXCHANGE); err != nil {
		return err
	}
	return unix.Unlinkat(pair.Upper, tmp, 0)
}

func (o *Overlay) discardNew(dir int, name string, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	return unix.Unlinkat(dir, name, 0)
}

// hasDefaultACLLocked says whether a directory gives new files an ACL. The caller holds mu for
// writing.
func (o *Overlay) hasDefaultACLLocked(n *node, pair layer.Pair) bool {
	n.pairMu.Lock()
	defer n.pairMu.Unlock()
	if n.defaultACL == 0 {
		n.defaultACL = 1
		if size, err := unix.Lgetxattr(layer.Path(pair.Upper, "."), defaultACL, nil); err == nil && size > 0 {
			n.defaultACL = 2
		}
	}
	return n.defaultACL == 2
}

// Link gives a file another name.
func (o *Overlay) Link(_ <-chan struct{}, in *fuse.LinkIn, base string, out *fuse.EntryOut) fuse.Status {
	parent, n := o.node(in.NodeId), o.node(in.Oldnodeid)
	if err := o.copyUp(n); err != nil {
		return o.status(err, "link", o.path(n))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	pair, _, err := o.freeNameLocked(parent, base)
	if err == nil {
		err = o.linkLocked(n, pair, base, in.Unique)
	} else if errors.Is(err, unix.EEXIST) && resent(&in.InHeader) {
		pair, err = o.pairLocked(parent)
	}
	if err != nil {
		return o.status(err, "link", layer.Join(pair.Path, base))
	}
	var f layer.Found
	if f, err = o.stack.Lookup(pair, base); err != nil {
		return o.status(err, "link", layer.Join(pair.Path, base))
	}
	o.tableMu.Lock()
	if old := parent.children[base]; old != nil && old != n {
		o.unnameLocked(old, parent, base)
	}
	o.nameLocked(n, parent, base)
	o.tableMu.Unlock()
	o.entryLocked(parent, base, &f, out)
	o.changed()
	return fuse.OK
}

// linkLocked links the file of a node into a directory of upper, over a whiteout if there is one.
// The caller holds mu for writing.
func (o *Overlay) linkLocked(n *node, to layer.Pair, base string, unique uint64) error {
	tmp := base
	var st unix.Stat_t
	if layer.StatAt(to.Upper, base, &st) == nil {
		tmp = fmt.Sprintf("%s%d", newName, unique)
	}
	if err := o.copyUpLocked(n); err != nil {
		return err
	}
	pair, old, err := o.whereLocked(n)
	if err == nil {
		err = unix.Linkat(pair.Upper, old, to.Upper, tmp, 0)
	} else if f := o.cached(n, false); f != nil {
		// Made with O_TMPFILE, or unlinked: by its descriptor.
		path := layer.Path(f.fd, "")
		err = unix.Linkat(unix.AT_FDCWD, path[:len(path)-1], to.Upper, tmp, unix.AT_SYMLINK_FOLLOW)
		o.release(f)
	}
	if err != nil || tmp == base {
		return err
	}
	if err := layer.RenameAt(to.Upper, tmp, to.Upper, base, 0); err != nil {
		return errors.Join(err, unix.Unlinkat(to.Upper, tmp, 0))
	}
	return nil
}

// Tmpfile makes a file without a name.
func (o *Overlay) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	parent := o.node(in.NodeId)
	o.mu.Lock()
	defer o.mu.Unlock()
	pair, err := o.upperPairLocked(parent)
	if err != nil {
		return o.status(err, "tmpfile", pair.Path)
	}
	mode := masked(in.Mode, in.Umask, !o.hasDefaultACLLocked(parent, pair))
	fd, err := layer.OpenAt(pair.Upper, ".", unix.O_TMPFILE|unix.O_RDWR|int(in.Flags&unix.O_EXCL), mode&0o7777)
	if err != nil {
		return o.status(err, "tmpfile", pair.Path)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && o.uid == 0 && (in.Uid != st.Uid || in.Gid != st.Gid) {
		if err = unix.Fchown(fd, int(in.Uid), int(in.Gid)); err == nil {
			err = unix.Fstat(fd, &st)
		}
	}
	if err != nil {
		return o.status(errors.Join(err, unix.Close(fd)), "tmpfile", pair.Path)
	}
	f := layer.Found{Stat: st, Ino: o.stack.Ino(&st), Upper: true}
	o.tableMu.Lock()
	n := &node{id: f.Ino, ino: f.Ino, kind: unix.S_IFREG, upper: true, dev: st.Dev, real: st.Ino}
	o.numberLocked(n)
	n.lookups++
	o.tableMu.Unlock()
	o.fileMu.Lock()
	n.file = &openFile{fd: fd, node: n, write: true, upper: true, pinned: true}
	o.fileMu.Unlock()
	out.NodeId, out.Generation = n.id, n.gen
	n.attr(&st, &out.Attr)
	out.SetAttrTimeout(toldTimeout)
	out.SetEntryTimeout(toldTimeout)
	return fuse.OK
}

// Release is sent only for what Tmpfile opened; the node keeps its descriptor.
func (o *Overlay) Release(<-chan struct{}, *fuse.ReleaseIn) {}
