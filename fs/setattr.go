package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// SetAttr changes size, owner, mode and times, in that order: a change of owner clears setuid, and
// everything else moves the times.
func (o *Overlay) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := o.node(in.NodeId)
	if size, ok := in.GetSize(); ok {
		err := o.modify(n, func(f *openFile) error {
			if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
				if err := killPrivileges(f.fd); err != nil {
					return err
				}
			}
			return unix.Ftruncate(f.fd, int64(size))
		})
		if err != nil {
			return o.status(err, "truncate", o.path(n))
		}
	}
	if in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID|fuse.FATTR_MODE|fuse.FATTR_ATIME|fuse.FATTR_MTIME) != 0 {
		if err := o.setAttributes(n, in); err != nil {
			return o.status(err, "setattr", o.path(n))
		}
		o.changed()
	}
	return o.getattr(n, out)
}

func (o *Overlay) setAttributes(n *node, in *fuse.SetAttrIn) error {
	for {
		if err := o.copyUp(n); err != nil {
			return err
		}
		again, err := o.setAttributesUpper(n, in)
		if !again {
			return err
		}
	}
}

func (o *Overlay) setAttributesUpper(n *node, in *fuse.SetAttrIn) (again bool, err error) {
	n.dataMu.RLock()
	defer n.dataMu.RUnlock()
	o.mu.RLock()
	defer o.mu.RUnlock()
	if !n.upper {
		return true, nil // a commit took it to lower in between
	}
	pair, base, err := o.whereLocked(n)
	if err != nil {
		f := o.cached(n, true)
		if f == nil {
			return false, err
		}
		defer o.release(f)
		return false, setOpenAttributes(f.fd, in)
	}
	dir := pair.Upper
	uid, gid := owners(in)
	if uid >= 0 || gid >= 0 {
		if err := unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return false, err
		}
	}
	if mode, ok := in.GetMode(); ok && n.kind != unix.S_IFLNK {
		if err := layer.ChmodAt(dir, base, mode&0o7777); err != nil {
			return false, err
		}
	}
	if ts, ok := times(in); ok {
		return false, unix.UtimesNanoAt(dir, base, ts, unix.AT_SYMLINK_NOFOLLOW)
	}
	return false, nil
}

// setOpenAttributes is for a file that has no name any more.
func setOpenAttributes(fd int, in *fuse.SetAttrIn) error {
	uid, gid := owners(in)
	if uid >= 0 || gid >= 0 {
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return err
		}
	}
	if mode, ok := in.GetMode(); ok {
		if err := unix.Fchmod(fd, mode&0o7777); err != nil {
			return err
		}
	}
	if ts, ok := times(in); ok {
		return unix.UtimesNanoAt(unix.AT_FDCWD, layer.Path(fd, "")[:len(layer.Path(fd, ""))-1], ts, 0)
	}
	return nil
}

func owners(in *fuse.SetAttrIn) (uid, gid int) {
	uid, gid = -1, -1
	if v, ok := in.GetUID(); ok {
		uid = int(v)
	}
	if v, ok := in.GetGID(); ok {
		gid = int(v)
	}
	return uid, gid
}

func times(in *fuse.SetAttrIn) ([]unix.Timespec, bool) {
	one := func(t time.Time, set bool, now uint32) unix.Timespec {
		switch {
		case !set:
			return unix.Timespec{Nsec: unix.UTIME_OMIT}
		case in.Valid&now != 0:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		}
		return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	}
	atime, setA := in.GetATime()
	mtime, setM := in.GetMTime()
	return []unix.Timespec{one(atime, setA, fuse.FATTR_ATIME_NOW), one(mtime, setM, fuse.FATTR_MTIME_NOW)}, setA || setM
}
