package fs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Open answers ENOSYS: the kernel opens files by itself from then on, see the package comment.
func (o *Overlay) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS
}

// Create answers ENOSYS: the kernel makes files with MKNOD, which needs no handle.
func (o *Overlay) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.ENOSYS
}

// Flush answers ENOSYS: there is nothing to do at close(2).
func (o *Overlay) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Access answers ENOSYS: the kernel checks permissions (default_permissions).
func (o *Overlay) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// Read reads a file.
func (o *Overlay) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := o.node(in.NodeId)
	f, err := o.acquire(n, false)
	if err != nil {
		return nil, o.status(err, "read", o.path(n))
	}
	defer o.release(f)
	read := 0
	for read < len(buf) {
		got, err := unix.Pread(f.fd, buf[read:], int64(in.Offset)+int64(read))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, o.status(err, "read", o.path(n))
		}
		if got == 0 {
			break
		}
		read += got
	}
	return fuse.ReadResultData(buf[:read]), fuse.OK
}

// Write writes to a file, which is copied up first.
func (o *Overlay) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n := o.node(in.NodeId)
	wrote := 0
	err := o.modify(n, func(f *openFile) error {
		if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
			if err := killPrivileges(f.fd); err != nil {
				return err
			}
		}
		for wrote < len(data) {
			did, err := unix.Pwrite(f.fd, data[wrote:], int64(in.Offset)+int64(wrote))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				if wrote > 0 {
					return nil
				}
				return err
			}
			wrote += did
		}
		return nil
	})
	return uint32(wrote), o.status(err, "write", o.path(n))
}

// modify calls do with a writable descriptor of the file in upper. Nobody takes the file out of
// upper meanwhile.
func (o *Overlay) modify(n *node, do func(*openFile) error) error {
	for {
		if err := o.copyUp(n); err != nil {
			return err
		}
		n.dataMu.RLock()
		f, err := o.acquire(n, true)
		if err == nil && !f.upper {
			// A commit took it to lower in between.
			o.release(f)
			n.dataMu.RUnlock()
			continue
		}
		if err == nil {
			err = do(f)
			o.release(f)
		}
		n.dataMu.RUnlock()
		if err == nil {
			o.changed()
		}
		return err
	}
}

// killPrivileges clears setuid, and setgid of what a group may execute, as a write by another
// user does.
func killPrivileges(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	mode := st.Mode & 0o7777 &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	if mode == st.Mode&0o7777 {
		return nil
	}
	return unix.Fchmod(fd, mode)
}

// Fsync makes a file durable. One that only lower has is not ours to sync.
func (o *Overlay) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := o.node(in.NodeId)
	if n.kind != unix.S_IFREG {
		return fuse.OK
	}
	f, err := o.acquire(n, false)
	if err != nil {
		return o.status(err, "fsync", o.path(n))
	}
	defer o.release(f)
	if !f.upper {
		return fuse.OK
	}
	if in.FsyncFlags&1 != 0 {
		return o.status(unix.Fdatasync(f.fd), "fdatasync", o.path(n))
	}
	return o.status(unix.Fsync(f.fd), "fsync", o.path(n))
}

// Fallocate reserves, punches or zeroes a range.
func (o *Overlay) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	n := o.node(in.NodeId)
	err := o.modify(n, func(f *openFile) error {
		return unix.Fallocate(f.fd, in.Mode, int64(in.Offset), int64(in.Length))
	})
	return o.status(err, "fallocate", o.path(n))
}

// Lseek finds data and holes.
func (o *Overlay) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	n := o.node(in.NodeId)
	f, err := o.acquire(n, false)
	if err != nil {
		return o.status(err, "lseek", o.path(n))
	}
	defer o.release(f)
	off, err := unix.Seek(f.fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return o.status(err, "lseek", o.path(n))
}

// CopyFileRange copies between two files without the data passing through the kernel's caches of
// this mount.
func (o *Overlay) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := o.node(in.NodeId), o.node(in.NodeIdOut)
	var did int
	err := o.modify(to, func(out *openFile) error {
		f, err := o.acquire(from, false)
		if err != nil {
			return err
		}
		defer o.release(f)
		offIn, offOut := int64(in.OffIn), int64(in.OffOut)
		did, err = unix.CopyFileRange(f.fd, &offIn, out.fd, &offOut, int(min(in.Len, 1<<30)), int(in.Flags))
		return err
	})
	return uint32(max(did, 0)), o.status(err, "copy_file_range", o.path(to))
}
