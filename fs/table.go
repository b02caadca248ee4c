package fs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A nodeTable writes down which nodes the kernel was told of and what they are called, in memory
// that outlives this process, so that another one can go on serving them. It is a log; when most
// of it is out of date the current state is appended, the first eight bytes are set to where that
// begins, and what is before is given back. All methods are called with Overlay.tableMu held; a
// nil *nodeTable keeps nothing.
type nodeTable struct {
	file *os.File
	end  int64 // where the next record goes
	live int64 // bytes of the log when it was last rewritten
	buf  []byte
	warn func(error)
	once sync.Once
}

// Kinds of record.
const (
	recordName   = 1 // a node has a name
	recordUnname = 2 // a node lost a name
	recordDrop   = 3 // the kernel has forgotten a node
)

// A record is one change of the table.
type record struct {
	kind        byte
	id, gen     uint64
	ino, parent uint64
	mode        uint32
	name        string
}

const tableHeader = 8

func newNodeTable(warn func(error)) (*nodeTable, error) {
	fd, err := unix.MemfdCreate("hermesfs-nodes", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make node table: %w", err)
	}
	t := &nodeTable{file: os.NewFile(uintptr(fd), "nodes"), end: tableHeader, live: 1 << 20, warn: warn}
	return t, t.setStart(tableHeader)
}

func (t *nodeTable) setStart(off int64) error {
	_, err := t.file.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(off)), 0)
	return err
}

func (t *nodeTable) named(n, parent *node, name string) {
	t.add(record{kind: recordName, id: n.id, gen: n.gen, ino: n.ino, parent: parent.id, mode: n.kind, name: name})
}

func (t *nodeTable) unnamed(n, parent *node, name string) {
	t.add(record{kind: recordUnname, id: n.id, parent: parent.id, name: name})
}

func (t *nodeTable) dropped(n *node) { t.add(record{kind: recordDrop, id: n.id}) }

func (t *nodeTable) add(r record) {
	if t == nil {
		return
	}
	t.buf = appendTableRecord(t.buf[:0], r)
	t.write(t.buf)
}

// write appends to the log. Without it a killed process cannot be taken over from, and that is all.
func (t *nodeTable) write(b []byte) {
	if _, err := t.file.WriteAt(b, t.end); err != nil {
		t.once.Do(func() { t.warn(err) })
		return
	}
	t.end += int64(len(b))
}

// tidy rewrites the log when most of it is out of date.
func (t *nodeTable) tidy(nodes map[uint64]*node) {
	if t == nil || t.end < 0 {
		return
	}
	var start uint64
	var head [tableHeader]byte
	if _, err := t.file.ReadAt(head[:], 0); err == nil {
		start = binary.LittleEndian.Uint64(head[:])
	}
	if t.end-int64(start) < 4*t.live {
		return
	}
	begin := t.end
	var b []byte
	for _, n := range nodes {
		for _, at := range n.names {
			b = appendTableRecord(b, record{kind: recordName, id: n.id, gen: n.gen, ino: n.ino, parent: at.parent.id, mode: n.kind, name: at.name})
		}
	}
	t.write(b)
	if t.end == begin || t.setStart(begin) != nil {
		return
	}
	t.live = max(1<<20, int64(len(b)))
	// Page by page; what remains of the first page is never read.
	_ = unix.Fallocate(int(t.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, max(0, begin&^4095-4096))
}

func appendTableRecord(b []byte, r record) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, r.kind)
	for _, v := range []uint64{r.id, r.gen, r.ino, r.parent, uint64(r.mode)} {
		b = binary.AppendUvarint(b, v)
	}
	b = append(b, r.name...)
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-8))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.ChecksumIEEE(b[start+8:]))
	return b
}

// decodeTable reads the log as far as it is whole.
func decodeTable(log []byte) (records []record, size int) {
	for len(log) >= size+8 {
		n := int(binary.LittleEndian.Uint32(log[size:]))
		if n > len(log)-size-8 {
			break
		}
		body := log[size+8 : size+8+n]
		r, ok := decodeTableRecord(body)
		if !ok || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(log[size+4:]) {
			break
		}
		records = append(records, r)
		size += 8 + n
	}
	return records, size
}

func decodeTableRecord(b []byte) (r record, ok bool) {
	if len(b) == 0 || b[0] < recordName || b[0] > recordDrop {
		return r, false
	}
	r.kind, b = b[0], b[1:]
	var mode uint64
	for _, v := range []*uint64{&r.id, &r.gen, &r.ino, &r.parent, &mode} {
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return r, false
		}
		*v, b = value, b[n:]
	}
	r.mode, r.name = uint32(mode), string(b)
	return r, true
}

// openNodeTable takes a table over and reads it.
func openNodeTable(file *os.File, warn func(error)) (*nodeTable, []record, error) {
	t := &nodeTable{file: file, live: 1 << 20, warn: warn}
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read node table: %w", err)
	}
	var head [tableHeader]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return nil, nil, fmt.Errorf("read node table: %w", err)
	}
	start := int64(binary.LittleEndian.Uint64(head[:]))
	if start < tableHeader || start > info.Size() {
		return nil, nil, fmt.Errorf("read node table: begins at %d of %d bytes", start, info.Size())
	}
	log := make([]byte, info.Size()-start)
	if _, err := file.ReadAt(log, start); err != nil && len(log) > 0 {
		return nil, nil, fmt.Errorf("read node table: %w", err)
	}
	records, size := decodeTable(log)
	t.end = start + int64(size)
	return t, records, nil
}

// restore makes the nodes of a table. Whether their names still hold is for verify to say.
func (o *Overlay) restoreLocked(records []record) {
	for _, r := range records {
		n := o.nodes[r.id]
		if n == nil && r.kind == recordName {
			n = &node{id: r.id, ino: r.ino, kind: r.mode}
			if n.isDir() {
				n.children = map[string]*node{}
			}
			o.nodes[r.id] = n
		}
		if n == nil || n == o.root {
			continue
		}
		if r.id>>60 == 1 {
			o.altIno = max(o.altIno, r.id&^(1<<60))
		}
		parent := o.nodes[r.parent]
		switch {
		case r.kind == recordDrop:
			delete(o.nodes, r.id)
		case parent == nil || !parent.isDir():
		case r.kind == recordUnname:
			n.names = slices.DeleteFunc(n.names, func(at name) bool { return at.parent == parent && at.name == r.name })
		default:
			if n.gen != r.gen || n.kind != r.mode { // the number was used again
				n.gen, n.kind, n.names = r.gen, r.mode, nil
				n.children = nil
				if n.isDir() {
					n.children = map[string]*node{}
				}
			}
			n.names = append(slices.DeleteFunc(n.names, func(at name) bool { return at == name{parent, r.name} }), name{parent, r.name})
		}
	}
	// What the kernel will forget of them is not known: they stay.
	for _, n := range o.nodes {
		n.lookups = 1 << 40
	}
}

// verifyLocked looks the names of restored nodes up, from the root down, and keeps those that
// still are what they were. The caller holds mu for writing.
func (o *Overlay) verifyLocked() {
	below := map[*node][]*node{}
	for _, n := range o.nodes {
		for _, at := range n.names {
			below[at.parent] = append(below[at.parent], n)
		}
	}
	done := map[*node]bool{}
	var visit func(dir *node)
	visit = func(dir *node) {
		if done[dir] {
			return
		}
		done[dir] = true
		pair, err := o.pairLocked(dir)
		if err != nil {
			return
		}
		for _, n := range below[dir] {
			for _, at := range slices.Clone(n.names) {
				if at.parent != dir {
					continue
				}
				f, err := o.stack.Lookup(pair, at.name)
				if err != nil || f.Ino != n.ino && n.id>>60 != 1 || f.Stat.Mode&unix.S_IFMT != n.kind {
					continue
				}
				n.upper, n.dev, n.real = f.Upper, f.Stat.Dev, f.Stat.Ino
				dir.children[at.name] = n
			}
			if n.isDir() && dir.children[pathBase(n, dir)] == n {
				visit(n)
			}
		}
	}
	visit(o.root)
	for _, n := range o.nodes {
		n.names = slices.DeleteFunc(n.names, func(at name) bool { return at.parent.children[at.name] != n })
	}
}

// pathBase is a name of n in dir that was found to hold.
func pathBase(n, dir *node) string {
	for _, at := range n.names {
		if at.parent == dir && dir.children[at.name] == n {
			return at.name
		}
	}
	return ""
}

// resent says that a request was read by a process that died before it answered: it may have been
// carried out.
func resent(h *fuse.InHeader) bool { return h.Unique>>63 == 1 }
