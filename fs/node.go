package fs

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// A node is an inode that the kernel knows, or the directory of one.
type node struct {
	id   uint64 // the kernel's number; 1 is the root
	ino  uint64 // what stat shows; the same but for the root
	gen  uint64 // how often the number was used again
	kind uint32 // S_IFMT bits

	copyMu sync.Mutex   // held over a copy-up of the file
	dataMu sync.RWMutex // see doc.go

	// Guarded by Overlay.mu.
	upper bool   // the layer that has it; of a directory, upper has a part in it
	dev   uint64 // the file on disk that it is
	real  uint64

	// Guarded by Overlay.tableMu.
	lookups  uint64 // what the kernel will forget
	names    []name // none: unlinked, or the root
	children map[string]*node

	// Of directories, opened when first needed; guarded by pairMu and closed only with
	// Overlay.mu held for writing.
	pairMu sync.Mutex
	pair   layer.Pair
	opened atomic.Bool
	// watched says that the kernel is told when lower's directory changes.
	watched atomic.Bool
	// defaultACL says whether upper's directory has a default ACL: 0 unknown, 1 no, 2 yes.
	defaultACL int

	file *openFile // guarded by Overlay.fileMu
}

// A name is one link of a node.
type name struct {
	parent *node
	name   string
}

func (n *node) isDir() bool { return n.kind == unix.S_IFDIR }

func (o *Overlay) makeRoot() error {
	pair := o.stack.Root()
	var st unix.Stat_t
	if err := layer.StatAt(pair.Lower, ".", &st); err != nil {
		return err
	}
	o.root = &node{
		id: fuse.FUSE_ROOT_ID, ino: st.Ino, kind: unix.S_IFDIR, upper: true, lookups: 1,
		children: map[string]*node{}, pair: pair,
	}
	o.root.opened.Store(true)
	o.nodes[o.root.id] = o.root
	return nil
}

// node is the node of a request. The kernel names only nodes that it was given and has not
// forgotten.
func (o *Overlay) node(id uint64) *node {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	n := o.nodes[id]
	if n == nil {
		panic(fmt.Sprintf("unknown node %d", id))
	}
	return n
}

// path is the first name of a node, for messages and for access; "" when it is unlinked.
func (o *Overlay) path(n *node) string {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	return pathLocked(n)
}

func pathLocked(n *node) string {
	if n.id == fuse.FUSE_ROOT_ID {
		return "."
	}
	if len(n.names) == 0 {
		return ""
	}
	parent := pathLocked(n.names[0].parent)
	if parent == "" {
		return ""
	}
	return layer.Join(parent, n.names[0].name)
}

// where is a link of a node: the descriptors of its directory and its name there. ESTALE when it
// has none. The caller holds mu.
func (o *Overlay) whereLocked(n *node) (layer.Pair, string, error) {
	if n.id == fuse.FUSE_ROOT_ID {
		return n.pair, ".", nil
	}
	o.tableMu.Lock()
	var at name
	if len(n.names) > 0 {
		at = n.names[0]
	}
	o.tableMu.Unlock()
	if at.parent == nil {
		return layer.Pair{}, "", unix.ESTALE
	}
	pair, err := o.pairLocked(at.parent)
	return pair, at.name, err
}

// pairLocked is the descriptors of a directory. The caller holds mu.
func (o *Overlay) pairLocked(n *node) (layer.Pair, error) {
	n.pairMu.Lock()
	defer n.pairMu.Unlock()
	if n.opened.Load() {
		p := n.pair
		if n.id != fuse.FUSE_ROOT_ID {
			p.Path = o.path(n)
		}
		return p, nil
	}
	parent, base, err := o.whereLocked(n)
	if err != nil {
		return layer.Pair{}, err
	}
	f, err := o.stack.Lookup(parent, base)
	if err != nil {
		return layer.Pair{}, err
	}
	if f.Stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return layer.Pair{}, unix.ENOTDIR
	}
	pair, err := o.stack.OpenDir(parent, base, f)
	if err != nil {
		return layer.Pair{}, err
	}
	n.pair = pair
	n.watched.Store(pair.Lower >= 0 && o.watch.watch(pair.Path, pair.Lower))
	n.opened.Store(true)
	return pair, nil
}

// forgetPair makes a directory be opened anew. The caller holds mu for writing, or nobody uses
// the descriptors.
func (n *node) forgetPair() {
	n.pairMu.Lock()
	defer n.pairMu.Unlock()
	if n.opened.Load() && n.id != fuse.FUSE_ROOT_ID {
		n.pair.Close()
		n.opened.Store(false)
		n.watched.Store(false)
	}
	n.defaultACL = 0
}

// known returns the node of a name that was just found, making it when the kernel does not know it
// yet, and counts one lookup. The caller holds mu.
func (o *Overlay) knownLocked(parent *node, base string, f *layer.Found) *node {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	n := o.matchLocked(parent, base, f)
	if n == nil {
		n = &node{
			id: f.Ino, ino: f.Ino, kind: f.Stat.Mode & unix.S_IFMT,
			upper: f.Upper, dev: f.Stat.Dev, real: f.Stat.Ino,
		}
		o.numberLocked(n)
		if n.isDir() {
			n.children = map[string]*node{}
		}
	}
	if !slices.Contains(n.names, name{parent, base}) {
		if old := parent.children[base]; old != nil {
			o.unnameLocked(old, parent, base)
		}
		o.nameLocked(n, parent, base)
	}
	n.lookups++
	return n
}

// nameLocked gives a node a name. The caller holds tableMu.
func (o *Overlay) nameLocked(n, parent *node, base string) {
	n.names = append(n.names, name{parent, base})
	parent.children[base] = n
	o.table.named(n, parent, base)
}

// numberLocked finds a number for a new node and enters it. The caller holds tableMu.
func (o *Overlay) numberLocked(n *node) {
	if old := o.nodes[n.id]; old != nil && o.isDeadLocked(old) {
		// The file is gone from the disk and its number is used again before the kernel has
		// forgotten it. The new generation tells them apart; what the kernel forgets of the
		// old one is counted here.
		n.gen, n.lookups = old.gen+1, old.lookups
	} else {
		for n.id <= fuse.FUSE_ROOT_ID || o.nodes[n.id] != nil {
			// Another file has the number: a lower file was replaced and its number used
			// again while upper remembers it.
			o.altIno++
			n.id = 1<<60 | o.altIno
			n.ino = n.id
		}
	}
	o.nodes[n.id] = n
}

// isDeadLocked says that a node is of a file that is nowhere any more. The caller holds tableMu.
func (o *Overlay) isDeadLocked(n *node) bool {
	o.fileMu.Lock()
	defer o.fileMu.Unlock()
	return n.id != fuse.FUSE_ROOT_ID && len(n.names) == 0 && !n.opened.Load() && n.file == nil
}

// matchLocked finds the node that is the file found. The caller holds tableMu.
func (o *Overlay) matchLocked(parent *node, base string, f *layer.Found) *node {
	if n := parent.children[base]; n != nil && n.same(f) {
		return n
	}
	// Another name of a file that we know.
	if n := o.nodes[f.Ino]; n != nil && n.id != fuse.FUSE_ROOT_ID && n.same(f) && !n.isDir() && f.Stat.Nlink > 1 {
		return n
	}
	return nil
}

// same says whether a node is the file that was found.
func (n *node) same(f *layer.Found) bool {
	if n.kind != f.Stat.Mode&unix.S_IFMT || n.upper != f.Upper {
		return false
	}
	if n.isDir() && f.Upper {
		return n.ino == f.Ino || n.real == f.Stat.Ino && n.dev == f.Stat.Dev
	}
	return n.dev == f.Stat.Dev && n.real == f.Stat.Ino
}

// unnameLocked takes a name away from a node. The caller holds tableMu, and mu for writing unless
// the name is gone on disk already.
func (o *Overlay) unnameLocked(n, parent *node, base string) {
	n.names = slices.DeleteFunc(n.names, func(at name) bool { return at.parent == parent && at.name == base })
	if parent.children[base] == n {
		delete(parent.children, base)
	}
	o.table.unnamed(n, parent, base)
}

// Forget is the kernel's: it has dropped nlookup references to a node.
func (o *Overlay) Forget(id, nlookup uint64) {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	n := o.nodes[id]
	if n == nil || n.id == fuse.FUSE_ROOT_ID {
		return
	}
	n.lookups -= min(n.lookups, nlookup)
	o.reapLocked(n)
}

// reapLocked drops a node that neither the kernel nor a child needs, and then its parents.
func (o *Overlay) reapLocked(n *node) {
	for n != nil && n.id != fuse.FUSE_ROOT_ID && n.lookups == 0 && len(n.children) == 0 {
		if o.nodes[n.id] != n {
			return
		}
		delete(o.nodes, n.id)
		o.table.dropped(n)
		parents := n.names
		for _, at := range slices.Clone(parents) {
			o.unnameLocked(n, at.parent, at.name)
		}
		// Another request may be using the descriptors by its parent's, so they are closed
		// when the tree is next locked.
		n.pairMu.Lock()
		if n.opened.Load() {
			o.retired = append(o.retired, n.pair.Upper, n.pair.Lower)
			n.opened.Store(false)
		}
		n.pairMu.Unlock()
		o.closeFile(n)
		n = nil
		if len(parents) > 0 {
			n = parents[0].parent
			for _, at := range parents[1:] {
				o.reapLocked(at.parent)
			}
		}
	}
	o.table.tidy(o.nodes)
	if len(o.retired) > 256 && o.mu.TryLock() {
		o.closeRetiredLocked()
		o.mu.Unlock()
	}
}

// closeRetiredLocked closes what nobody uses. The caller holds mu for writing, and tableMu.
func (o *Overlay) closeRetiredLocked() {
	for _, fd := range o.retired {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	o.retired = o.retired[:0]
}

// closeAll gives every descriptor back after the unmount.
func (o *Overlay) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	for _, n := range o.nodes {
		n.forgetPair()
		o.closeFile(n)
	}
	clear(o.nodes)
	o.closeRetiredLocked()
}
