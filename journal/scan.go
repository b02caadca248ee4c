package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"runtime/debug"
	"syscall"
)

// bbolt maps its file and follows what it reads: a page that is its own child ends in a stack
// overflow, a wrong page count in gigabytes of memory, a used page in the free list in lost data.
// None of that can be recovered from, so the page structure is checked here first, each page once:
// both metas, the trees of all buckets, the free list, and that no page is used twice.

const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	headerSize  = 16 // id u64, flags u16, count u16, overflow u32
	elementSize = 16 // branch: pos, ksize u32, pgid u64; leaf: flags, pos, ksize, vsize u32
	bucketSize  = 16 // root pgid u64, sequence u64
	maxDepth    = 32

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10

	leafIsBucket = 0x01
)

// scanDepth is how much to look at.
type scanDepth struct {
	// leaves: also all leaf pages, with every key, and the free list. Without, there must be no writer.
	leaves bool
	deep   bool // also what does no harm: an invalid meta page, pages that are neither used nor free
}

// A reader of a larger file looks only at the branch pages, which is what keeps it from a crash, to
// find one path among a million in milliseconds. Records have checksums of their own; what it can miss
// is that a leaf page holds fewer records than it should. Verify and every writer look at all.
const fullScanSize = 64 << 20

// scan is one pass over the pages.
type scan struct {
	data  []byte // the pages below the high-water mark
	pages uint64
	seen  []bool
	scanDepth
	limit int // stop after so many problems
	found []string
}

// checkFile says whether f, which nobody else writes, is fit to be handed to bbolt.
func checkFile(f *os.File, leaves bool) error {
	problems, err := scanFile(f, scanDepth{leaves: leaves}, 1)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", ErrCorrupt, problems[0])
	}
	return nil
}

// scanFile returns the first problems of the page structure, at most limit.
func scanFile(f *os.File, depth scanDepth, limit int) (problems []string, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &scan{scanDepth: depth, limit: limit}
	m, ok := s.readMetas(f, info.Size())
	if !ok {
		return s.found, nil
	}
	s.pages = m.pages
	s.data, err = syscall.Mmap(int(f.Fd()), 0, int(m.pages)*pageSize, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	defer func() { _ = syscall.Munmap(s.data) }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil { // the disk cannot be read, or the file shrinks under us
			s.bad("%v", r)
			problems, err = s.found, nil
		}
	}()
	s.seen = make([]bool, m.pages)
	s.seen[0], s.seen[1] = true, true
	s.tree(m.root, nil, nil, true, 0)
	if s.leaves {
		s.freelist(m.freelist)
	}
	if s.deep {
		for id, seen := range s.seen {
			if !seen {
				s.bad("page %d: neither used nor free", id)
			}
		}
	}
	return s.found, nil
}

func (s *scan) full() bool { return len(s.found) >= s.limit }

func (s *scan) bad(format string, args ...any) {
	if !s.full() {
		s.found = append(s.found, fmt.Sprintf(format, args...))
	}
}

type boltMeta struct{ root, freelist, pages, txid uint64 }

// readMetas picks the state that bbolt will pick: the newer of the two valid metas. One invalid meta
// is what a power cut in the middle of writing it leaves; the other one then is the state.
func (s *scan) readMetas(f io.ReaderAt, size int64) (m boltMeta, ok bool) {
	if size < 4*pageSize {
		s.bad("file has %d bytes, fewer than the smallest journal", size)
		return m, false
	}
	for i := range 2 {
		got, err := readMeta(f, i)
		if err != nil {
			if s.deep {
				s.bad("meta page %d: %v", i, err)
			}
			continue
		}
		if !ok || got.txid > m.txid {
			m, ok = got, true
		}
	}
	switch {
	case !ok:
		s.bad("neither meta page is valid")
		return m, false
	case m.pages > uint64(size)/pageSize:
		s.bad("file has %d bytes, its meta page says %d pages of %d: it was truncated", size, m.pages, pageSize)
		return m, false
	}
	return m, true
}

func readMeta(f io.ReaderAt, i int) (m boltMeta, err error) {
	var b [headerSize + 64]byte
	if _, err := f.ReadAt(b[:], int64(i)*pageSize); err != nil {
		return m, err
	}
	e, body := binary.NativeEndian, b[headerSize:]
	sum := fnv.New64a()
	sum.Write(body[:56]) // a hash never fails
	switch {
	case e.Uint32(body) != metaMagic:
		return m, fmt.Errorf("not a bbolt file")
	case e.Uint32(body[4:]) != metaVersion:
		return m, fmt.Errorf("bbolt version %d", e.Uint32(body[4:]))
	case e.Uint64(body[56:]) != sum.Sum64():
		return m, errChecksum
	case e.Uint32(body[8:]) != pageSize:
		return m, fmt.Errorf("page size %d", e.Uint32(body[8:]))
	}
	return boltMeta{
		root: e.Uint64(body[16:]), freelist: e.Uint64(body[32:]), pages: e.Uint64(body[40:]), txid: e.Uint64(body[48:]),
	}, nil
}

// page claims a page with its overflow pages and returns it whole, its flags and its element count.
func (s *scan) page(id uint64) (page []byte, flags, count int) {
	if !s.claim(id) {
		return nil, 0, 0
	}
	e := binary.NativeEndian
	page = s.data[id*pageSize:]
	overflow := uint64(e.Uint32(page[12:]))
	if got := e.Uint64(page); got != id {
		s.bad("page %d: calls itself %d", id, got)
		return nil, 0, 0
	}
	if id+overflow >= s.pages {
		s.bad("page %d: has %d more pages, there are %d", id, overflow, s.pages)
		return nil, 0, 0
	}
	for i := id + 1; i <= id+overflow; i++ {
		if !s.claim(i) {
			return nil, 0, 0
		}
	}
	return page[:(overflow+1)*pageSize], int(e.Uint16(page[8:])), int(e.Uint16(page[10:]))
}

// tree checks the tree below page id, whose keys must be at least low and below high, and says
// whether that is just a leaf.
func (s *scan) tree(id uint64, low, high []byte, root bool, depth int) (isLeaf bool) {
	if s.full() {
		return false
	}
	page, flags, count := s.page(id)
	switch {
	case page == nil:
	case depth > maxDepth:
		s.bad("page %d: the tree is too deep", id)
	case flags == flagBranch:
		s.branch(id, page, count, low, high, root, depth)
	case flags == flagLeaf:
		s.leaf(id, page, count, low, high, root)
		return true
	default:
		s.bad("page %d: flags %#x", id, flags)
	}
	return false
}

func (s *scan) branch(id uint64, page []byte, count int, low, high []byte, root bool, depth int) {
	keys := s.branchKeys(id, page, count)
	if keys == nil {
		return
	}
	aboveLeaves := false // all leaves are equally deep, so the first child tells
	for i, key := range keys {
		next := high
		if i+1 < count {
			next = keys[i+1]
		}
		if (i == 0 && low != nil && !bytes.Equal(key, low)) || (next != nil && bytes.Compare(key, next) >= 0) {
			s.bad("page %d: key %d is out of order", id, i)
			return
		}
		child := binary.NativeEndian.Uint64(page[headerSize+i*elementSize+8:])
		if i > 0 && aboveLeaves && !s.leaves {
			s.claim(child)
			continue
		}
		aboveLeaves = s.tree(child, key, next, root, depth+1)
	}
}

// branchKeys returns the keys of a branch page. bbolt writes the elements of a page one after the
// other and then, in the same order and without gaps, what they point to, so a wrong count shows.
func (s *scan) branchKeys(id uint64, page []byte, count int) [][]byte {
	data := headerSize + count*elementSize
	if count == 0 || data > len(page) {
		s.bad("page %d: %d children", id, count)
		return nil
	}
	e := binary.NativeEndian
	keys := make([][]byte, count)
	for i := range keys {
		at := headerSize + i*elementSize
		size := uint64(e.Uint32(page[at+4:]))
		if at+int(e.Uint32(page[at:])) != data || size == 0 || size > uint64(len(page)-data) {
			s.bad("page %d: key %d is not where it belongs", id, i)
			return nil
		}
		keys[i] = page[data:][:size]
		data += int(size)
	}
	return keys
}

// claim notes that a page is used, without looking at it.
func (s *scan) claim(id uint64) bool {
	if id < 2 || id >= s.pages {
		s.bad("page %d: there are %d pages", id, s.pages)
		return false
	}
	if s.seen[id] {
		s.bad("page %d: used twice", id)
		return false
	}
	s.seen[id] = true
	return true
}

// leaf checks a leaf page. The root's leaves hold the buckets, other leaves none.
func (s *scan) leaf(id uint64, page []byte, count int, low, high []byte, root bool) {
	data := headerSize + count*elementSize
	if data > len(page) {
		s.bad("page %d: %d records", id, count)
		return
	}
	e := binary.NativeEndian
	prev := low
	for i := range count {
		at := headerSize + i*elementSize
		flags, pos := e.Uint32(page[at:]), int(e.Uint32(page[at+4:]))
		ksize, vsize := uint64(e.Uint32(page[at+8:])), uint64(e.Uint32(page[at+12:]))
		if at+pos != data || ksize == 0 || ksize+vsize > uint64(len(page)-data) {
			s.bad("page %d: record %d is not where it belongs", id, i)
			return
		}
		key, value := page[data:][:ksize], page[data+int(ksize):][:vsize]
		data += int(ksize + vsize)
		if (flags&leafIsBucket != 0) != root {
			s.bad("page %d: record %d is of the wrong sort", id, i)
			return
		}
		// A node is found again in its parent by its first key: were they to differ, bbolt would add
		// it a second time when it writes, and leave the old page in the tree.
		order := bytes.Compare(prev, key)
		if order > 0 || (order == 0) != (i == 0 && low != nil) || (high != nil && bytes.Compare(key, high) >= 0) {
			s.bad("page %d: record %d is out of order", id, i)
			return
		}
		prev = key
		if root {
			s.bucket(id, key, value)
		}
	}
}

// bucket checks what a bucket's record leads to: its own tree, or a small page inside the record.
func (s *scan) bucket(id uint64, name, value []byte) {
	if len(value) < bucketSize {
		s.bad("page %d: bucket %q is cut short", id, name)
		return
	}
	e := binary.NativeEndian
	if inside := e.Uint64(value); inside != 0 {
		s.tree(inside, nil, nil, false, 0)
		return
	}
	page := value[bucketSize:]
	if len(page) < headerSize || e.Uint16(page[8:]) != flagLeaf || e.Uint32(page[12:]) != 0 {
		s.bad("page %d: bucket %q has no page", id, name)
		return
	}
	s.leaf(id, page, int(e.Uint16(page[10:])), nil, nil, false)
}

// freelist checks that every free page is one, in order, and is used by nothing else.
func (s *scan) freelist(id uint64) {
	if s.full() {
		return
	}
	page, flags, n := s.page(id)
	if page == nil {
		return
	}
	if flags != flagFreelist {
		s.bad("page %d: is not the free list, flags %#x", id, flags)
		return
	}
	e := binary.NativeEndian
	ids := page[headerSize:]
	count := uint64(n)
	if n == math.MaxUint16 { // then the first entry is the count
		count, ids = e.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		s.bad("page %d: the free list counts %d pages", id, count)
		return
	}
	last := uint64(1)
	for i := range count {
		free := e.Uint64(ids[i*8:])
		if free <= last || free >= s.pages || s.seen[free] {
			s.bad("page %d: the free list holds page %d, which is in use or out of order", id, free)
			return
		}
		s.seen[free] = true
		last = free
	}
}
