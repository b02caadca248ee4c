package fs

import (
	"errors"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// A dirStream is an open directory: the merged listing as it was when it was opened or rewound. An
// offset is an index into it, so it stays good while names come and go.
type dirStream struct {
	node *node

	mu   sync.Mutex // guards ents
	ents []layer.Dirent
}

// OpenDir opens a directory.
func (o *Overlay) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := o.node(in.NodeId)
	o.mu.RLock()
	pair, err := o.pairLocked(n)
	o.mu.RUnlock()
	if err != nil {
		return o.status(err, "opendir", o.path(n))
	}
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	o.nextDir++
	o.dirs[o.nextDir] = &dirStream{node: n}
	out.Fh = o.nextDir
	if pair.Lower < 0 || n.watched.Load() {
		// Nothing changes it without the kernel being told: the listing may be kept.
		out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

// ReleaseDir closes a directory.
func (o *Overlay) ReleaseDir(in *fuse.ReleaseIn) {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	delete(o.dirs, in.Fh)
}

// dirStream is the stream of a handle. One of a process that we took over from begins anew: an
// offset is an index into the sorted listing, so it goes on where it was unless names came or went.
func (o *Overlay) dirStream(in *fuse.ReadIn) *dirStream {
	n := o.node(in.NodeId)
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	if o.dirs[in.Fh] == nil {
		o.dirs[in.Fh] = &dirStream{node: n}
	}
	return o.dirs[in.Fh]
}

// listLocked is the listing from an offset on. Offset 0 reads the directory anew. The caller holds
// mu, and d.mu.
func (o *Overlay) listLocked(d *dirStream, off uint64) ([]layer.Dirent, error) {
	if off == 0 || d.ents == nil {
		pair, err := o.pairLocked(d.node)
		if err != nil {
			return nil, err
		}
		ents, err := o.stack.ReadDir(pair)
		if err != nil && !errors.Is(err, unix.ENOENT) { // ENOENT: removed while it is open
			return nil, err
		}
		d.ents = append([]layer.Dirent{
			{Name: ".", Ino: d.node.ino, Type: unix.S_IFDIR},
			{Name: "..", Ino: o.parentIno(d.node), Type: unix.S_IFDIR},
		}, ents...)
	}
	if off > uint64(len(d.ents)) {
		return nil, nil
	}
	return d.ents[off:], nil
}

func (o *Overlay) parentIno(n *node) uint64 {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	if len(n.names) == 0 {
		return n.ino
	}
	return n.names[0].parent.ino
}

// inoOf is the number of an entry as stat would show it. The caller holds no lock that matters.
func (o *Overlay) inoOf(parent *node, ent *layer.Dirent) uint64 {
	o.tableMu.Lock()
	defer o.tableMu.Unlock()
	if n := parent.children[ent.Name]; n != nil && n.kind == ent.Type {
		return n.ino
	}
	return ent.Ino
}

// ReadDir lists a directory.
func (o *Overlay) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return o.readDir(in, func(d *dirStream, ent *layer.Dirent, off uint64) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: ent.Name, Ino: o.inoOf(d.node, ent), Mode: ent.Type, Off: off})
	})
}

// ReadDirPlus lists a directory and looks each name up, which spares the kernel a LOOKUP for each.
func (o *Overlay) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return o.readDir(in, func(d *dirStream, ent *layer.Dirent, off uint64) bool {
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: ent.Name, Ino: o.inoOf(d.node, ent), Mode: ent.Type, Off: off})
		if entry == nil {
			return false
		}
		if ent.Name == "." || ent.Name == ".." {
			return true
		}
		// One that is gone stays a name without a number: the kernel looks it up itself.
		if pair, err := o.pairLocked(d.node); err == nil {
			if f, err := o.stack.Lookup(pair, ent.Name); err == nil {
				o.entryLocked(d.node, ent.Name, &f, entry)
			}
		}
		return true
	})
}

func (o *Overlay) readDir(in *fuse.ReadIn, add func(d *dirStream, ent *layer.Dirent, off uint64) bool) fuse.Status {
	d := o.dirStream(in)
	o.mu.RLock()
	defer o.mu.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	ents, err := o.listLocked(d, in.Offset)
	if err != nil {
		return o.status(err, "readdir", o.path(d.node))
	}
	for i := range ents {
		if !add(d, &ents[i], in.Offset+uint64(i)+1) {
			break
		}
	}
	return fuse.OK
}

// FsyncDir makes the names in a directory durable.
func (o *Overlay) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := o.node(in.NodeId)
	o.mu.RLock()
	defer o.mu.RUnlock()
	pair, err := o.pairLocked(n)
	if err != nil || pair.Upper < 0 {
		return o.status(err, "fsyncdir", o.path(n))
	}
	fd, err := layer.OpenAt(pair.Upper, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return o.status(err, "fsyncdir", o.path(n))
	}
	defer unix.Close(fd)
	return o.status(unix.Fsync(fd), "fsyncdir", o.path(n))
}
