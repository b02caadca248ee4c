package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// damaged is a sound journal file, to be damaged in copies.
type damaged struct {
	path   string
	whole  []byte
	pages  int // below the high-water mark
	modes  []Options
	states []string // what may be read from a copy: the last state, or the one before it
}

// damagedPaths is enough for a tree of several pages.
const damagedPaths = 200

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := Open(path, Options{})
	must(t, err)
	states := run(t, j, script(damagedPaths))
	must(t, j.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	m, ok := (&scan{limit: 1}).readMetas(bytes.NewReader(whole), int64(len(whole)))
	if !ok {
		t.Fatal("no valid meta page")
	}
	// One invalid meta page means a commit that was cut, and the state before that is right.
	return &damaged{
		path: path, whole: whole, pages: int(m.pages), states: states[len(states)-2:],
		modes: []Options{{}, {ReadOnly: true}, {ReadOnly: true, lightScan: true}},
	}
}

// check opens a damaged copy in each mode. Whatever was done to it, nothing panics, an error is
// ErrCorrupt, and what is read without error is what was written.
func (d *damaged) check(t *testing.T, name string, file []byte) (reported bool) {
	t.Helper()
	for _, o := range d.modes {
		must(t, os.WriteFile(d.path, file, 0o600))
		o.Timeout = -1
		j, err := Open(d.path, o)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: Open = %v, want ErrCorrupt", name, err)
			}
			reported = true
			continue
		}
		if d.use(t, name, j, !o.lightScan) {
			reported = true
		}
		must(t, j.Close())
	}
	return reported
}

// use reads, checks and writes everything. With strict, what is read without an error must be right.
func (d *damaged) use(t *testing.T, name string, j *Journal, strict bool) (reported bool) {
	t.Helper()
	note := func(act string, err error) {
		if err == nil || (j.readOnly && errors.Is(err, ErrReadOnly)) {
			return
		}
		reported = true
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %s = %v, want ErrCorrupt", name, act, err)
		}
	}
	for i := 0; i < damagedPaths; i += 3 {
		b, ok, err := j.Base(samplePath(i))
		note("Base", err)
		if strict && err == nil && (!ok || b != sampleBase(samplePath(i), i)) {
			t.Errorf("%s: Base(%d) = %+v, %v", name, i, b, ok)
		}
	}
	var out bytes.Buffer
	err := j.Export(&out)
	note("Export", err)
	if strict && err == nil && !slices.Contains(d.states, out.String()) {
		t.Errorf("%s: Export differs from what was written, and said nothing", name)
	}
	_, err = j.CountBases()
	note("CountBases", err)
	note("Verify", j.Verify(func(string) { reported = true }))
	sound := !reported

	update := Update{Put: map[string]Base{}, Delete: []string{samplePath(7), samplePath(8)}, ClearPending: true, Events: []Event{{Path: "a", What: "x"}}}
	for i := 0; i < damagedPaths; i += 15 {
		update.Put[samplePath(i)+"x"] = sampleBase("x", i)
	}
	note("Apply", j.Apply(update))
	note("SetPending", j.SetPending(map[string]*Base{"a": nil}))
	seq, err := j.BeginCommit(Commit{Kind: "commit", StartedAt: noon}, []Step{{Path: "a", Op: "put"}})
	note("BeginCommit", err)
	if err == nil {
		note("EndCommit", j.EndCommit(seq, noon))
		note("ForgetCommits", j.ForgetCommits(seq))
	}
	note("Compact", j.Compact())
	if sound {
		// What was sound must stay so.
		if found := problems(t, j); len(found) > 0 {
			t.Errorf("%s: writing to a journal found sound broke it: %s", name, found)
		}
	}
	return reported
}

func TestTruncated(t *testing.T) {
	d := newDamaged(t)
	end := d.pages * pageSize
	sizes := []int{0, 1, 15, 16, 79, 80, pageSize - 1, pageSize, pageSize + 80, 2 * pageSize, 3 * pageSize, end - pageSize, end - 1}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		sizes = append(sizes, rnd.IntN(end))
	}
	for _, size := range sizes {
		if !d.check(t, fmt.Sprintf("truncated to %d", size), d.whole[:size]) {
			t.Errorf("truncated to %d of %d bytes: not reported", size, end)
		}
	}
	if d.check(t, "truncated behind the last page", d.whole[:end]) {
		t.Error("a file cut behind its last page lost nothing, but is reported")
	}
}

func TestZeroed(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	if !d.check(t, "all zero", make([]byte, len(d.whole))) {
		t.Error("a zeroed file is not reported")
	}
	for page := range d.pages {
		for _, part := range [][2]int{{0, pageSize}, {0, 512}, {512, 1024}, {2048, pageSize}} {
			file := slices.Clone(d.whole)
			clear(file[page*pageSize+part[0] : page*pageSize+part[1]])
			d.check(t, fmt.Sprintf("page %d zeroed from %d to %d", page, part[0], part[1]), file)
		}
	}
}

func TestBitFlips(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	pages := d.pages
	rnd := rand.New(rand.NewPCG(2, 2))
	var bits []int
	for range 60 {
		bits = append(bits, rnd.IntN(pages*pageSize*8))
	}
	for page := range pages { // headers and first elements are where it hurts
		for word := range 5 {
			bits = append(bits, page*pageSize*8+word*32+rnd.IntN(32))
		}
	}
	reported := 0
	for _, bit := range bits {
		file := slices.Clone(d.whole)
		file[bit/8] ^= 1 << (bit % 8)
		if d.check(t, fmt.Sprintf("page %d byte %d bit %d flipped", bit/8/pageSize, bit/8%pageSize, bit%8), file) {
			reported++
		}
	}
	t.Logf("%d of %d flips reported, the others did no harm", reported, len(bits))
	if reported < len(bits)/10 {
		t.Errorf("only %d of %d flips reported: the test hits nothing", reported, len(bits))
	}
}

// TestGarbagePages gives pages contents that pass bbolt's own look at them.
func TestGarbagePages(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	rnd := rand.New(rand.NewPCG(3, 3))
	for page := 2; page < d.pages; page++ {
		for _, flags := range []uint16{flagBranch, flagLeaf, flagFreelist} {
			file := slices.Clone(d.whole)
			b := file[page*pageSize : (page+1)*pageSize]
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			binary.NativeEndian.PutUint64(b, uint64(page))
			binary.NativeEndian.PutUint16(b[8:], flags)
			binary.NativeEndian.PutUint32(b[12:], uint32(rnd.IntN(2)))
			d.check(t, fmt.Sprintf("page %d garbage with flags %d", page, flags), file)
		}
	}
}

// TestPagesInCircles makes pages branches whose children are themselves, their neighbours, and every
// other page, in order and with all the right marks.
func TestPagesInCircles(t *testing.T) {
	d := newDamaged(t)
	d.modes = d.modes[:2] // this is not an accident, and the light scan does not look
	for page := 2; page < d.pages; page++ {
		file := slices.Clone(d.whole)
		b := file[page*pageSize : (page+1)*pageSize]
		clear(b)
		binary.NativeEndian.PutUint64(b, uint64(page))
		binary.NativeEndian.PutUint16(b[8:], flagBranch)
		binary.NativeEndian.PutUint16(b[10:], 100)
		for i := range 100 {
			element := b[headerSize+i*elementSize:]
			binary.NativeEndian.PutUint32(element, uint32(elementSize*(100-i)+4*i))
			binary.NativeEndian.PutUint32(element[4:], 4)
			binary.NativeEndian.PutUint64(element[8:], uint64(2+(page+i-2)%(d.pages-2)))
			binary.BigEndian.PutUint32(b[headerSize+100*elementSize+4*i:], uint32(i))
		}
		d.check(t, fmt.Sprintf("page %d is its own child", page), file)
	}
}

// TestTruncatedWhileOpen cuts the file under a mapping: reading it raises SIGBUS.
func TestTruncatedWhileOpen(t *testing.T) {
	d := newDamaged(t)
	for _, readOnly := range []bool{true, false} {
		must(t, os.WriteFile(d.path, d.whole, 0o600))
		j, err := Open(d.path, Options{ReadOnly: readOnly})
		must(t, err)
		must(t, os.Truncate(d.path, 5*pageSize))
		if err := j.Bases(func(string, Base) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Bases = %v, want ErrCorrupt", err)
		}
		if !readOnly {
			if err := j.Apply(Update{Put: map[string]Base{"a": {Kind: Dir}}}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Apply = %v, want ErrCorrupt", err)
			}
		}
		if found := problems(t, j); len(found) == 0 || !strings.Contains(found[0], "truncated") {
			t.Errorf("Verify found %q", found)
		}
		must(t, j.Close())
	}
	// A write that finds out only inside bbolt leaves its locks held; Close must not wait for them.
	must(t, os.WriteFile(d.path, d.whole, 0o600))
	j, err := Open(d.path, Options{})
	must(t, err)
	must(t, os.Truncate(d.path, 5*pageSize))
	if err := j.Apply(Update{Put: map[string]Base{"a": {Kind: Dir}}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Apply = %v, want ErrCorrupt", err)
	}
	if _, _, err := j.Base("a"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Base after that = %v, want ErrCorrupt", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- j.Close() }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	if _, err := Open(d.path, Options{Timeout: -1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open = %v, want ErrCorrupt: the lock must be free", err)
	}
}

func TestCorruptNamesBucketAndPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := Open(path, Options{})
	must(t, err)
	must(t, j.Apply(Update{Put: map[string]Base{"odd\nname": {Kind: Dir}}}))
	must(t, j.update("test", func(tx *txn) error {
		b, err := tx.bucket(bucketBase)
		if err != nil {
			return err
		}
		return b.Put([]byte("odd\nname"), []byte("not a record"))
	}))
	_, _, err = j.Base("odd\nname")
	for _, want := range []string{"bucket base", `"odd\nname"`, path} {
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("Base = %v, want ErrCorrupt with %s", err, want)
		}
	}
	must(t, j.Close())
}
