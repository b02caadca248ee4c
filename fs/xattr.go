package fs

import (
	"errors"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

const defaultACL = "system.posix_acl_default"

// GetXAttr reads an extended attribute. The layers' own are not there.
func (o *Overlay) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	if layer.PrivateXattr(attr) {
		return 0, fuse.Status(unix.ENODATA)
	}
	n := o.node(h.NodeId)
	var size int
	err := o.withPath(n, func(path string, follow bool) (err error) {
		if follow {
			size, err = unix.Getxattr(path, attr, dest)
		} else {
			size, err = unix.Lgetxattr(path, attr, dest)
		}
		if errors.Is(err, unix.ERANGE) {
			// go-fuse wants the size with it.
			size, _ = unix.Lgetxattr(path, attr, nil)
		}
		return err
	})
	return uint32(max(size, 0)), o.status(err, "getxattr", "")
}

// withPath calls do with a path of the file that a node is, and whether its last component is to
// be followed.
func (o *Overlay) withPath(n *node, do func(path string, follow bool) error) error {
	o.mu.RLock()
	defer o.mu.RUnlock()
	pair, base, err := o.whereLocked(n)
	if err == nil {
		dir := pair.Lower
		if n.upper {
			dir = pair.Upper
		}
		return do(layer.Path(dir, base), false)
	}
	f := o.cached(n, false)
	if f == nil {
		return err
	}
	defer o.release(f)
	return do(strings.TrimSuffix(layer.Path(f.fd, ""), "/"), true)
}

// ListXAttr lists the extended attributes but for the layers' own.
func (o *Overlay) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n := o.node(h.NodeId)
	var names []byte
	err := o.withPath(n, func(path string, follow bool) error {
		list := unix.Llistxattr
		if follow {
			list = unix.Listxattr
		}
		size, err := list(path, nil)
		if err != nil || size == 0 {
			return err
		}
		names = make([]byte, size+1024)
		size, err = list(path, names)
		names = names[:max(size, 0)]
		return err
	})
	if err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return 0, fuse.OK
		}
		return 0, o.status(err, "listxattr", "")
	}
	var shown []byte
	for _, attr := range strings.SplitAfter(string(names), "\x00") {
		if attr != "" && !layer.PrivateXattr(attr) {
			shown = append(shown, attr...)
		}
	}
	if len(shown) > len(dest) {
		return uint32(len(shown)), fuse.ERANGE
	}
	copy(dest, shown)
	return uint32(len(shown)), fuse.OK
}

// SetXAttr writes an extended attribute.
func (o *Overlay) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return o.changeXattr(&in.InHeader, attr, func(path string, follow bool) error {
		if follow {
			return unix.Setxattr(path, attr, data, int(in.Flags))
		}
		return unix.Lsetxattr(path, attr, data, int(in.Flags))
	})
}

// RemoveXAttr removes an extended attribute.
func (o *Overlay) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string) fuse.Status {
	return o.changeXattr(h, attr, func(path string, follow bool) error {
		if follow {
			return unix.Removexattr(path, attr)
		}
		return unix.Lremovexattr(path, attr)
	})
}

func (o *Overlay) changeXattr(h *fuse.InHeader, attr string, do func(path string, follow bool) error) fuse.Status {
	if layer.PrivateXattr(attr) {
		return fuse.EPERM
	}
	n := o.node(h.NodeId)
	if err := o.copyUp(n); err != nil {
		return o.status(err, "setxattr", o.path(n))
	}
	n.dataMu.RLock()
	defer n.dataMu.RUnlock()
	if attr == defaultACL {
		n.pairMu.Lock()
		n.defaultACL = 0
		n.pairMu.Unlock()
	}
	err := o.withPath(n, do)
	if err == nil {
		o.changed()
	}
	return o.status(err, "setxattr", o.path(n))
}
