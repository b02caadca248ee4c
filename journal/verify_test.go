package journal

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVerifyReports plants one fault each that the page check and the checksums let pass.
func TestVerifyReports(t *testing.T) {
	putRaw := func(bucket, key string, body []byte) func(*txn) error {
		return func(tx *txn) error { return tx.put(bucket, []byte(key), body) }
	}
	number := func(n uint64) string { return string(numberKey(n)) }
	for _, tc := range []struct {
		name  string
		plant func(*txn) error
		want  string
	}{
		{"pending kind", putRaw(bucketPending, "a", []byte{recordVersion<<4 | 7, 0}), `bucket pending, "a": unknown kind`},
		{"base version", putRaw(bucketBase, "a", []byte{5 << 4, 0}), `bucket base, "a": unknown record version`},
		{"symlink without target", putRaw(bucketBase, "a", encodeBase(Base{Kind: Symlink})), `a symlink with target ""`},
		{"file with target", putRaw(bucketBase, "a", encodeBase(Base{Kind: File, Target: "x"})), `a file with target "x"`},
		{"negative size", putRaw(bucketBase, "a", encodeBase(Base{Kind: File, Size: -1})), "size -1"},
		{"path that leaves", putRaw(bucketBase, "../a", encodeBase(Base{Kind: File})), `"../a": not a clean relative path`},
		{"absolute path", putRaw(bucketPending, "/a", nil), `"/a": not a clean relative path`},
		{"foreign cut", putRaw(bucketForeign, "a", []byte{recordVersion}), `bucket foreign, "a": record is cut short`},
		{"steps missing", putRaw(bucketCommits, number(2), encodeCommit(Commit{Kind: "commit", Open: true, Steps: 3})), "number 2: 3 steps, of which 0 are there"},
		{"steps of no commit", putRaw(bucketSteps, string(stepKey(3, 0)), encodeStep(Step{Path: "a", Op: "put"})), "commit 3 step 0: there is no such commit"},
		{"step too many", putRaw(bucketSteps, string(stepKey(1, 1)), encodeStep(Step{Path: "a", Op: "put"})), "commit 1 step 1: its commit has 1 steps"},
		{"step without path", putRaw(bucketSteps, string(stepKey(1, 0)), encodeStep(Step{Op: "put"})), `"put" of kind 0`},
		{"ended before it started", putRaw(bucketCommits, number(1), encodeCommit(Commit{StartedAt: noon, EndedAt: noon.Add(-time.Hour), Steps: 1})), "before it started"},
		{"open and ended", putRaw(bucketCommits, number(1), encodeCommit(Commit{StartedAt: noon, EndedAt: noon, Open: true, Steps: 1})), "open is true, but it ended"},
		{"commit not given out", putRaw(bucketCommits, number(99), encodeCommit(Commit{Open: true})), "only 2 were ever begun"},
		{"log gap", putRaw(bucketLog, number(40), encodeEvents([]Event{{What: "x"}})), "number 40: 1 events, and the one before ended at 2"},
		{"unknown meta", putRaw(bucketMeta, "what", nil), `bucket meta, "what": unknown key`},
		{"unknown bucket", func(tx *txn) error { _, err := tx.CreateBucket([]byte("more")); return err }, `bucket "more" is not of this format`},
		{"missing bucket", func(tx *txn) error { return tx.DeleteBucket([]byte(bucketLog)) }, "bucket log is missing"},
		{"checksum", func(tx *txn) error {
			b, err := tx.bucket(bucketBase)
			if err != nil {
				return err
			}
			return b.Put([]byte("a\n"), []byte("xxxxxxxx"))
		}, `bucket base, "a\n": checksum does not match`},
	} {
		j, err := Open(filepath.Join(t.TempDir(), "journal.db"), Options{})
		must(t, err)
		seq, err := j.BeginCommit(Commit{Kind: "commit", StartedAt: noon}, []Step{{Path: "a", Op: "put"}})
		must(t, err)
		must(t, j.EndCommit(seq, noon))
		_, err = j.BeginCommit(Commit{Kind: "commit", StartedAt: noon}, nil)
		must(t, err)
		must(t, j.ForgetCommits())
		must(t, j.Apply(Update{Events: []Event{{What: "x"}}}))
		if found := problems(t, j); len(found) > 0 {
			t.Fatalf("%s: problems before the fault: %q", tc.name, found)
		}
		must(t, j.update("test", tc.plant))
		if found := strings.Join(problems(t, j), "\n"); !strings.Contains(found, tc.want) {
			t.Errorf("%s: Verify found %q, want %q", tc.name, found, tc.want)
		}
		must(t, j.Close())
	}
}

// TestTreeStaysSound checks what the page check takes for granted of what bbolt writes, over many
// splits and merges: a false alarm would lock a user out of a sound journal.
func TestTreeStaysSound(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	rnd := rand.New(rand.NewPCG(5, 5))
	const paths = 4000
	have := map[string]bool{}
	for round := range 60 {
		u := Update{Put: map[string]Base{}}
		grow := rnd.IntN(3) > 0
		for range rnd.IntN(1200) {
			path := samplePath(rnd.IntN(paths)) + strings.Repeat("/deep", rnd.IntN(3)*rnd.IntN(3))
			if rnd.IntN(200) == 0 {
				path += strings.Repeat("/very-deep", 900)
			}
			if grow == (rnd.IntN(4) > 0) {
				b := sampleBase(path, rnd.IntN(paths))
				b.Generation = rnd.Uint64N(1 << (1 + rnd.UintN(40)))
				u.Put[path] = b
			} else {
				u.Delete = append(u.Delete, path)
			}
		}
		if rnd.IntN(12) == 0 {
			for path := range have {
				u.Delete = append(u.Delete, path)
			}
		}
		must(t, j.Apply(u))
		for _, path := range u.Delete {
			delete(have, path)
		}
		for path := range u.Put {
			have[path] = true
		}
		if found := problems(t, j); len(found) > 0 {
			t.Fatalf("round %d: %s", round, found)
		}
		if n, err := j.CountBases(); err != nil || n != len(have) {
			t.Fatalf("round %d: CountBases() = %d, %v, want %d", round, n, err, len(have))
		}
		for i := range 20 {
			path := samplePath(rnd.IntN(paths))
			if _, ok, err := j.Base(path); err != nil || ok != have[path] {
				t.Fatalf("round %d.%d: Base(%s) = %v, %v, want %v", round, i, path, ok, err, have[path])
			}
		}
		if round%10 == 9 {
			must(t, j.Close())
			for _, o := range []Options{{ReadOnly: true}, {ReadOnly: true, lightScan: true}, {}} {
				var err error
				j, err = Open(j.path, o)
				must(t, err)
				if o.ReadOnly {
					must(t, j.Close())
				}
			}
		}
	}
	must(t, j.Close())
}
