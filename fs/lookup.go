package fs

import (
	"errors"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// Lookup finds a name.
func (o *Overlay) Lookup(_ <-chan struct{}, h *fuse.InHeader, base string, out *fuse.EntryOut) fuse.Status {
	parent := o.node(h.NodeId)
	o.mu.RLock()
	defer o.mu.RUnlock()
	pair, err := o.pairLocked(parent)
	if err != nil {
		return o.status(err, "lookup", base)
	}
	f, err := o.stack.Lookup(pair, base)
	if errors.Is(err, unix.ENOENT) {
		// A number of 0 lets the kernel remember that there is nothing.
		out.SetEntryTimeout(parent.timeout(pair.Lower >= 0))
		return fuse.OK
	}
	if err != nil {
		return o.status(err, "lookup", layer.Join(pair.Path, base))
	}
	o.entryLocked(parent, base, &f, out)
	return fuse.OK
}

// timeout is how long the kernel may believe what it learnt of a name in the directory n, or of the
// file there, if it depends on lower.
func (n *node) timeout(lower bool) time.Duration {
	if lower && !n.watched.Load() {
		return unwatchedTimeout
	}
	return toldTimeout
}

// entryLocked makes the answer to a request that found or made a name. The caller holds mu.
func (o *Overlay) entryLocked(parent *node, base string, f *layer.Found, out *fuse.EntryOut) *node {
	n := o.knownLocked(parent, base, f)
	out.NodeId = n.id
	out.Generation = n.gen
	n.attr(&f.Stat, &out.Attr)
	out.SetEntryTimeout(parent.timeout(!f.Upper))
	out.SetAttrTimeout(parent.timeout(f.Lower))
	return n
}

// attr fills in what stat shows of a node.
func (n *node) attr(st *unix.Stat_t, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: n.ino, Size: uint64(st.Size), Blocks: uint64(st.Blocks), Blksize: uint32(st.Blksize),
		Atime: uint64(st.Atim.Sec), Atimensec: uint32(st.Atim.Nsec),
		Mtime: uint64(st.Mtim.Sec), Mtimensec: uint32(st.Mtim.Nsec),
		Ctime: uint64(st.Ctim.Sec), Ctimensec: uint32(st.Ctim.Nsec),
		Mode: st.Mode, Nlink: uint32(st.Nlink), Rdev: uint32(st.Rdev),
		Owner: fuse.Owner{Uid: st.Uid, Gid: st.Gid},
	}
}

// GetAttr stats a node.
func (o *Overlay) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return o.getattr(o.node(in.NodeId), out)
}

func (o *Overlay) getattr(n *node, out *fuse.AttrOut) fuse.Status {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var st unix.Stat_t
	timeout, err := o.statLocked(n, &st)
	if err != nil {
		return o.status(err, "getattr", o.path(n))
	}
	n.attr(&st, &out.Attr)
	out.SetTimeout(timeout)
	return fuse.OK
}

// statLocked stats the file that a node is, and says how long the kernel may believe it. The
// caller holds mu.
func (o *Overlay) statLocked(n *node, st *unix.Stat_t) (time.Duration, error) {
	pair, base, err := o.whereLocked(n)
	switch {
	case err == nil:
		dir := pair.Lower
		if n.upper {
			dir = pair.Upper
		}
		err = layer.StatAt(dir, base, st)
	case n.isDir() && n.opened.Load():
		if err = layer.StatAt(n.pair.Upper, ".", st); err != nil {
			err = layer.StatAt(n.pair.Lower, ".", st)
		}
		st.Nlink = 0
	default:
		err = o.statOrphan(n, st)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EBADF) {
		err = unix.ESTALE // lower lost it; the kernel looks the path up again
	}
	return o.attrTimeout(n), err
}

// attrTimeout is how long the kernel may believe the attributes of a node.
func (o *Overlay) attrTimeout(n *node) time.Duration {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	switch {
	case n.upper && !n.isDir():
		return toldTimeout
	case n.id == fuse.FUSE_ROOT_ID:
		return n.timeout(true)
	case len(n.names) > 0:
		return n.names[0].parent.timeout(true)
	}
	return unwatchedTimeout
}

// Readlink reads a symlink.
func (o *Overlay) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	n := o.node(h.NodeId)
	o.mu.RLock()
	defer o.mu.RUnlock()
	pair, base, err := o.whereLocked(n)
	if err != nil {
		return nil, o.status(err, "readlink", o.path(n))
	}
	dir := pair.Lower
	if n.upper {
		dir = pair.Upper
	}
	target, err := layer.ReadlinkAt(dir, base)
	return []byte(target), o.status(err, "readlink", layer.Join(pair.Path, base))
}

// StatFs tells of the file system that upper is on: that is where what is written goes.
func (o *Overlay) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st unix.Statfs_t
	fd, err := layer.OpenAt(o.root.pair.Upper, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return o.status(err, "statfs", ".")
	}
	defer unix.Close(fd)
	if err := unix.Fstatfs(fd, &st); err != nil {
		return o.status(err, "statfs", ".")
	}
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Bfree, st.Bavail
	out.Files, out.Ffree = st.Files, st.Ffree
	out.Bsize, out.Frsize = uint32(st.Bsize), uint32(st.Frsize)
	out.NameLen = 255
	return fuse.OK
}

// Statx stats a node with its time of birth.
func (o *Overlay) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n := o.node(in.NodeId)
	o.mu.RLock()
	defer o.mu.RUnlock()
	var st unix.Stat_t
	timeout, err := o.statLocked(n, &st)
	if err != nil {
		return o.status(err, "statx", o.path(n))
	}
	var sx unix.Statx_t
	pair, base, err := o.whereLocked(n)
	if err == nil {
		dir := pair.Lower
		if n.upper {
			dir = pair.Upper
		}
		err = unix.Statx(dir, base, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &sx)
	} else {
		err = o.statxOrphan(n, &sx)
	}
	if err != nil {
		return o.status(err, "statx", o.path(n))
	}
	out.Mask = sx.Mask
	out.Blksize, out.Attributes, out.AttributesMask = sx.Blksize, 0, 0
	out.Nlink, out.Uid, out.Gid, out.Mode = sx.Nlink, sx.Uid, sx.Gid, sx.Mode
	out.Ino, out.Size, out.Blocks = n.ino, sx.Size, sx.Blocks
	for _, t := range []struct {
		to   *fuse.SxTime
		from unix.StatxTimestamp
	}{{&out.Atime, sx.Atime}, {&out.Btime, sx.Btime}, {&out.Ctime, sx.Ctime}, {&out.Mtime, sx.Mtime}} {
		t.to.Sec, t.to.Nsec = uint64(t.from.Sec), t.from.Nsec
	}
	out.RdevMajor, out.RdevMinor = sx.Rdev_major, sx.Rdev_minor
	out.AttrValid, out.AttrValidNsec = uint64(timeout/time.Second), uint32(timeout%time.Second)
	return fuse.OK
}
