package journal

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// fileSize is the length of the file; what it occupies on disk is never more.
func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}

func sampleBases(n int) map[string]Base {
	bases := make(map[string]Base, n)
	for i := range n {
		bases[samplePath(i)] = sampleBase(samplePath(i), i)
	}
	return bases
}

func pendingOf(bases map[string]Base) map[string]*Base {
	pending := make(map[string]*Base, len(bases))
	for path, b := range bases {
		pending[path] = &b
	}
	return pending
}

// someOf draws n of the bases as a later push leaves them.
func someOf(rnd *rand.Rand, bases map[string]Base, n int) map[string]Base {
	some := make(map[string]Base, n)
	for len(some) < n {
		path := samplePath(rnd.IntN(len(bases)))
		b := bases[path]
		b.Generation += 1 + rnd.Uint64N(300)
		b.Ours.Ctime += rnd.Int64N(1e15)
		b.HashedAt += rnd.Int64N(1e15)
		some[path] = b
	}
	return some
}

// TestSizePerPath holds the file to 200 bytes a path at 100,000 paths of 60 bytes, all that a first
// push and later ones leave included: pending, an event for each path, updates here and there.
func TestSizePerPath(t *testing.T) {
	t.Parallel()
	const paths, want = 100_000, 200
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := Open(path, Options{})
	must(t, err)
	bases := sampleBases(paths)
	var events []Event
	for i := range paths {
		events = append(events, Event{At: noon, Path: samplePath(i), What: "pushed"})
	}
	report := func(when string, limit int64) {
		per := fileSize(t, path) / paths
		t.Logf("%s: %d bytes a path", when, per)
		if per > limit {
			t.Errorf("%s: %d bytes a path, want at most %d", when, per, limit)
		}
	}
	must(t, j.SetPending(pendingOf(bases)))
	must(t, j.Apply(Update{Put: bases, ClearPending: true, Events: events}))
	report("mounted, after the first push", want)

	rnd := rand.New(rand.NewPCG(6, 6))
	for range 2 {
		some := someOf(rnd, bases, paths/10)
		must(t, j.SetPending(pendingOf(some)))
		must(t, j.Apply(Update{Put: some, ClearPending: true}))
	}
	for range 20 {
		must(t, j.Apply(Update{Put: someOf(rnd, bases, 50)}))
	}
	report("mounted, after more pushes", 2*want+20)
	must(t, j.Close())
	report("closed", want)

	j = openAt(t, path, Options{})
	if n, err := j.CountBases(); err != nil || n != paths {
		t.Errorf("CountBases() = %d, %v, want %d", n, err, paths)
	}
	must(t, j.Close())
	report("opened and closed", want)
}

// TestSmallJournalIsLeftAlone: Close rewrites only what is worth it.
func TestSmallJournalIsLeftAlone(t *testing.T) {
	j := newJournal(t)
	before, err := os.Stat(j.Path())
	must(t, err)
	run(t, j, script(20)[:3])
	must(t, j.Close())
	after, err := os.Stat(j.Path())
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("Close rewrote a journal of a few pages")
	}
}
