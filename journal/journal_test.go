package journal

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// openAt opens a journal that is closed, and found sound, at the end of the test.
func openAt(t testing.TB, path string, o Options) *Journal {
	t.Helper()
	j, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := j.Verify(func(problem string) { t.Errorf("Verify: %s", problem) })
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("Verify: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

func newJournal(t testing.TB) *Journal {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "journal.db"), Options{})
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dump is everything in a journal.
func dump(t testing.TB, j *Journal) string {
	t.Helper()
	var out bytes.Buffer
	must(t, j.Export(&out))
	return out.String()
}

func problems(t testing.TB, j *Journal) []string {
	t.Helper()
	var found []string
	must(t, j.Verify(func(problem string) { found = append(found, problem) }))
	return found
}

func TestOpenCreatesPrivateFile(t *testing.T) {
	j := newJournal(t)
	info, err := os.Stat(j.Path())
	must(t, err)
	if got, want := info.Mode(), iofs.FileMode(0o600); got != want {
		t.Errorf("mode = %v, want %v", got, want)
	}
	if m, err := j.Meta(); err != nil || m != (Meta{}) {
		t.Errorf("Meta() = %+v, %v, want zero", m, err)
	}
	entries, err := os.ReadDir(filepath.Dir(j.Path()))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files beside the journal, want none: %v", len(entries)-1, entries)
	}
}

func TestOpenReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	_, err := Open(path, Options{ReadOnly: true})
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("Open(absent) = %v, want ErrNotFound and fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("Stat = %v: a read-only Open created the file", err)
	}
	j, err := Open(path, Options{})
	must(t, err)
	must(t, j.Apply(Update{Put: map[string]Base{"a": {Kind: File, Size: 7}}}))
	must(t, j.Close())
	before, err := os.ReadFile(path)
	must(t, err)

	one := openAt(t, path, Options{ReadOnly: true})
	two := openAt(t, path, Options{ReadOnly: true})
	for _, j := range []*Journal{one, two} {
		if b, ok, err := j.Base("a"); err != nil || !ok || b.Size != 7 {
			t.Errorf("Base(a) = %+v, %v, %v", b, ok, err)
		}
	}
	for name, write := range writes(one) {
		if err := write(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s = %v, want ErrReadOnly", name, err)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("a read-only journal changed the file")
	}
}

// writes are all methods that write.
func writes(j *Journal) map[string]func() error {
	return map[string]func() error{
		"Apply": func() error { return j.Apply(Update{Put: map[string]Base{"b": {Kind: Dir}}}) },
		"SetPending": func() error {
			return j.SetPending(map[string]*Base{"a": nil})
		},
		"UpdateMeta":    func() error { return j.UpdateMeta(func(m *Meta) { m.Generation++ }) },
		"BeginCommit":   func() error { _, err := j.BeginCommit(Commit{Kind: "commit"}, nil); return err },
		"SetSteps":      func() error { return j.SetSteps(1, nil) },
		"EndCommit":     func() error { return j.EndCommit(1, time.Now()) },
		"ForgetCommits": func() error { return j.ForgetCommits(1) },
		"Compact":       j.Compact,
	}
}

func TestClosed(t *testing.T) {
	j := newJournal(t)
	must(t, j.Close())
	must(t, j.Close())
	for name, write := range writes(j) {
		if err := write(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s = %v, want ErrClosed", name, err)
		}
	}
	if _, _, err := j.Base("a"); !errors.Is(err, ErrClosed) {
		t.Errorf("Base = %v, want ErrClosed", err)
	}
}

func TestLocked(t *testing.T) {
	j := newJournal(t)
	for _, readOnly := range []bool{false, true} {
		_, err := Open(j.Path(), Options{ReadOnly: readOnly, Timeout: -1})
		if !errors.Is(err, ErrLocked) {
			t.Errorf("Open(ReadOnly: %v) = %v, want ErrLocked", readOnly, err)
		}
	}
	// A lock that is released in time is waited for, and what was written meanwhile is seen.
	got := make(chan error)
	go func() {
		second, err := Open(j.Path(), Options{Timeout: time.Minute})
		if err == nil {
			var b Base
			if b, _, err = second.Base("a"); err == nil && b.Size != 9 {
				err = fmt.Errorf("size %d", b.Size)
			}
			err = errors.Join(err, second.Close())
		}
		got <- err
	}()
	must(t, j.Apply(Update{Put: map[string]Base{"a": {Kind: File, Size: 9}}}))
	must(t, j.Close())
	must(t, <-got)
}

// TestLockFollowsTheName covers a waiter that holds the lock of a file which Compact replaced.
func TestLockFollowsTheName(t *testing.T) {
	j := newJournal(t)
	got := make(chan error)
	const waiters = 4
	for range waiters {
		go func() {
			second, err := Open(j.Path(), Options{Timeout: time.Minute})
			if err == nil {
				err = errors.Join(second.Apply(Update{Events: []Event{{What: "waited"}}}), second.Close())
			}
			got <- err
		}()
	}
	for range 5 {
		must(t, j.Compact())
	}
	must(t, j.Close())
	for range waiters {
		must(t, <-got)
	}
	j = openAt(t, j.Path(), Options{})
	n := 0
	must(t, j.Log("", func(Event) error { n++; return nil }))
	if n != waiters {
		t.Errorf("%d of %d events survived", n, waiters)
	}
}

func TestOpenUnknownFormat(t *testing.T) {
	j := newJournal(t)
	must(t, j.update("test", func(tx *txn) error { return tx.putFormat(77) }))
	must(t, j.Close())
	for _, readOnly := range []bool{false, true} {
		_, err := Open(j.Path(), Options{ReadOnly: readOnly})
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "77") || !strings.Contains(err.Error(), "knows format 1") {
			t.Errorf("Open = %v, want ErrFormat with both numbers", err)
		}
	}
	must(t, setFormat(j.Path(), Format))
}

func setFormat(path string, format uint32) error {
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return (&txn{Tx: tx}).putFormat(format) })
	return errors.Join(err, db.Close())
}

func TestOpenNotAJournal(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		make func(path string) error
	}{
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"text", func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("hello ", 9999)), 0o600) }},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"fifo", func(p string) error { return syscall.Mkfifo(p, 0o600) }},
		{"bbolt file of somebody else", func(p string) error {
			db, err := bolt.Open(p, 0o600, nil)
			if err != nil {
				return err
			}
			return db.Close()
		}},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(tc.name, " ", "-"))
		must(t, tc.make(path))
		for _, readOnly := range []bool{false, true} {
			if _, err := Open(path, Options{ReadOnly: readOnly}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Open(%s, ReadOnly: %v) = %v, want ErrCorrupt", tc.name, readOnly, err)
			}
		}
	}
	if _, err := Open(filepath.Join(dir, "missing", "journal.db"), Options{}); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("Open(in a missing directory) = %v, want fs.ErrNotExist", err)
	}
}

func TestCallbacks(t *testing.T) {
	j := newJournal(t)
	must(t, j.Apply(Update{
		Put:    map[string]Base{"a": {Kind: File}, "b": {Kind: Dir}},
		Events: []Event{{Path: "a", What: "pushed"}},
	}))
	seq, err := j.BeginCommit(Commit{Kind: "commit"}, []Step{{Path: "a", Op: "put"}})
	must(t, err)
	mine := errors.New("mine")
	iterations := map[string]func(fn func() error) error{
		"Bases":   func(fn func() error) error { return j.Bases(func(string, Base) error { return fn() }) },
		"Log":     func(fn func() error) error { return j.Log("", func(Event) error { return fn() }) },
		"Commits": func(fn func() error) error { return j.Commits(func(Commit) error { return fn() }) },
		"Steps":   func(fn func() error) error { return j.Steps(seq, func(int, Step) error { return fn() }) },
	}
	for name, iterate := range iterations {
		calls := 0
		err := iterate(func() error { calls++; return mine })
		if err != mine || calls != 1 { // unwrapped is the promise
			t.Errorf("%s = %v after %d calls, want the callback's own error after 1", name, err, calls)
		}
		must(t, iterate(func() error { // reads may nest
			_, ok, err := j.Base("b")
			if err == nil && !ok {
				err = errors.New("b is missing")
			}
			return err
		}))
		func() {
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("%s: recovered %v, want the callback's own panic", name, r)
				}
			}()
			_ = iterate(func() error { panic("mine") })
		}()
	}
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Errorf("UpdateMeta: recovered %v, want the callback's own panic", r)
			}
		}()
		_ = j.UpdateMeta(func(*Meta) { panic("mine") })
	}()
	// None of that did any harm.
	must(t, j.UpdateMeta(func(m *Meta) { m.Mount = "one" }))
}

func TestConcurrentUse(t *testing.T) {
	j := newJournal(t)
	const workers, rounds, each = 4, 15, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for r := range rounds {
				put := map[string]Base{}
				for i := range each {
					put[fmt.Sprintf("%d/%d", w, i)] = Base{Kind: File, Generation: uint64(r + 1)}
				}
				if err := j.Apply(Update{Put: put, Events: []Event{{Path: fmt.Sprint(w), What: "pushed"}}}); err != nil {
					t.Errorf("Apply: %v", err)
				}
				if r%5 == w {
					if err := j.Compact(); err != nil {
						t.Errorf("Compact: %v", err)
					}
				}
			}
		})
		wg.Go(func() {
			for range rounds {
				gens := map[uint64]bool{}
				err := j.Bases(func(path string, b Base) error {
					if strings.HasPrefix(path, fmt.Sprintf("%d/", w)) {
						gens[b.Generation] = true
					}
					return nil
				})
				if err != nil || len(gens) > 1 {
					t.Errorf("Bases saw half an Apply: %v, %v", gens, err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := j.CountBases(); err != nil || n != workers*each {
		t.Errorf("CountBases() = %d, %v, want %d", n, err, workers*each)
	}
}
