package fs

import (
	"errors"

	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// maxOpenFiles bounds the descriptors kept of files that are not unlinked.
const maxOpenFiles = 1024

// An openFile is a descriptor of the file that a node is, kept for the next read or write. All
// fields are guarded by Overlay.fileMu.
type openFile struct {
	fd     int
	node   *node
	refs   int
	write  bool
	upper  bool
	pinned bool // of an unlinked file: stays until the kernel forgets the node
	stale  bool // closed when the last user is done

	prev, next *openFile // in the list of those that may be closed; most recently used first
}

// fileList is the open files that are not pinned, most recently used first.
type fileList struct {
	head, tail *openFile
	len        int
}

func (l *fileList) push(f *openFile) {
	f.prev, f.next = nil, l.head
	if l.head != nil {
		l.head.prev = f
	} else {
		l.tail = f
	}
	l.head = f
	l.len++
}

func (l *fileList) remove(f *openFile) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.head = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	} else {
		l.tail = f.prev
	}
	f.prev, f.next = nil, nil
	l.len--
}

// acquire gives a descriptor of a regular file, to be released.
func (o *Overlay) acquire(n *node, write bool) (*openFile, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.acquireLocked(n, write)
}

// acquireLocked is acquire for who holds mu.
func (o *Overlay) acquireLocked(n *node, write bool) (*openFile, error) {
	if n.kind != unix.S_IFREG {
		return nil, unix.EINVAL
	}
	if f := o.cached(n, write); f != nil {
		return f, nil
	}
	pair, base, err := o.whereLocked(n)
	if err != nil {
		return nil, err
	}
	fd, err := o.openNodeLocked(n, pair, base, write)
	if err != nil {
		return nil, err
	}
	f := &openFile{fd: fd, node: n, refs: 1, write: write, upper: n.upper}
	o.fileMu.Lock()
	defer o.fileMu.Unlock()
	o.replaceLocked(n, f)
	o.files.push(f)
	for last := o.files.tail; o.files.len > maxOpenFiles && last != nil; {
		prev := last.prev
		if last.refs == 0 {
			o.dropLocked(last)
		}
		last = prev
	}
	return f, nil
}

func (o *Overlay) cached(n *node, write bool) *openFile {
	o.fileMu.Lock()
	defer o.fileMu.Unlock()
	f := n.file
	if f == nil || f.upper != n.upper || write && !f.write {
		return nil
	}
	f.refs++
	if !f.pinned && o.files.head != f {
		o.files.remove(f)
		o.files.push(f)
	}
	return f
}

func (o *Overlay) release(f *openFile) {
	o.fileMu.Lock()
	defer o.fileMu.Unlock()
	f.refs--
	if f.refs == 0 && f.stale {
		_ = unix.Close(f.fd)
	}
}

// replaceLocked makes f the open file of n. The caller holds fileMu.
func (o *Overlay) replaceLocked(n *node, f *openFile) {
	if n.file != nil {
		o.dropLocked(n.file)
	}
	n.file = f
}

// dropLocked closes an open file as soon as nobody uses it. The caller holds fileMu.
func (o *Overlay) dropLocked(f *openFile) {
	if !f.pinned {
		o.files.remove(f)
	}
	if f.node.file == f {
		f.node.file = nil
	}
	f.stale = true
	if f.refs == 0 {
		_ = unix.Close(f.fd)
	}
}

// closeFile gives the descriptor of a node back.
func (o *Overlay) closeFile(n *node) {
	o.fileMu.Lock()
	defer o.fileMu.Unlock()
	if n.file != nil {
		o.dropLocked(n.file)
	}
}

// openNodeLocked opens the file that a node is. The caller holds mu.
func (o *Overlay) openNodeLocked(n *node, pair layer.Pair, base string, write bool) (int, error) {
	dir, flags := pair.Lower, unix.O_RDONLY
	if n.upper {
		dir = pair.Upper
	}
	if write {
		flags = unix.O_RDWR
	}
	fd, err := layer.OpenAt(dir, base, flags|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, unix.ESTALE
	}
	if !errors.Is(err, unix.EACCES) || !n.upper {
		return fd, err
	}
	// The caller was let in by the kernel, perhaps when the mode was another; the file is ours.
	var st unix.Stat_t
	if err := layer.StatAt(dir, base, &st); err != nil {
		return -1, err
	}
	if err := layer.ChmodAt(dir, base, st.Mode&0o7777|0o600); err != nil {
		return -1, err
	}
	fd, err = layer.OpenAt(dir, base, flags|unix.O_NONBLOCK, 0)
	return fd, errors.Join(err, layer.ChmodAt(dir, base, st.Mode&0o7777))
}

// pinLocked keeps a file usable that is about to lose its last name, if the kernel may have it
// open. The caller holds mu for writing.
func (o *Overlay) pinLocked(n *node) error {
	o.tableMu.Lock()
	wanted := n.lookups > 0 && len(n.names) == 1 && n.kind == unix.S_IFREG
	o.tableMu.Unlock()
	if !wanted {
		return nil
	}
	f, err := o.acquireLocked(n, n.upper)
	if err != nil {
		return err
	}
	o.fileMu.Lock()
	o.pinOpenLocked(f)
	o.fileMu.Unlock()
	o.release(f)
	return nil
}

// pinOpenLocked pins an open file. The caller holds fileMu.
func (o *Overlay) pinOpenLocked(f *openFile) {
	if !f.pinned {
		o.files.remove(f)
		f.pinned = true
	}
}

// statOrphan stats an unlinked file by its descriptor.
func (o *Overlay) statOrphan(n *node, st *unix.Stat_t) error {
	f := o.cached(n, false)
	if f == nil {
		return unix.ESTALE
	}
	defer o.release(f)
	if err := unix.Fstat(f.fd, st); err != nil {
		return err
	}
	if !n.upper {
		st.Nlink = 0 // lower still has it, the view does not
	}
	return nil
}

func (o *Overlay) statxOrphan(n *node, sx *unix.Statx_t) error {
	f := o.cached(n, false)
	if f == nil {
		return unix.ESTALE
	}
	defer o.release(f)
	if err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_BTIME, sx); err != nil {
		return err
	}
	if !n.upper {
		sx.Nlink = 0
	}
	return nil
}
