package syncer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hermesfs/journal"
)

// restoreRig has a home that commit 1 changed in every way.
func restoreRig(t *testing.T) *rig {
	r := newFastRig(t, crashHome, inGo)
	r.start()
	crashFar(t, r)
	if back := r.syncBack(); back.Commit.Seq != 1 {
		t.Fatalf("sync back: %+v", back)
	}
	r.wantHome(crashWant)
	return r
}

func (r *rig) restore(seq uint64, paths ...string) RestoreReport {
	r.t.Helper()
	report, err := r.Restore(ctx, seq, paths)
	must(r.t, err)
	return report
}

// restoredHome is crashHome as it was when commit 1 came.
func restoredHome() tree {
	want := tree{}
	for p, v := range crashHome {
		want[p] = v
	}
	want["both"] = "ours"
	return want
}

func TestRestore(t *testing.T) {
	r := restoreRig(t)
	before := statOf(t, filepath.Join(r.home, "same"))
	report := r.restore(1)
	if report.Of != 1 || report.Seq != 2 || len(report.Conflicts)+len(report.Problems)+len(report.Equal) > 0 {
		t.Errorf("report %+v", report)
	}
	r.wantHome(restoredHome())
	if !untouched(before, statOf(t, filepath.Join(r.home, "same"))) {
		t.Error("a file that the commit did not change was touched")
	}
	if again := r.restore(1); again.Seq != 0 || len(again.Equal) == 0 {
		t.Errorf("a second restore does %+v", again)
	}
	// It is a commit like any other: taken back, and that one again.
	if report = r.restore(2); len(report.Conflicts)+len(report.Problems) > 0 {
		t.Errorf("restore of a restore: %+v", report)
	}
	r.wantHome(crashWant)
	r.restore(3)
	r.wantHome(restoredHome())
	// The sandbox gets what was restored.
	r.push()
	r.wantFar(restoredHome())
	var kinds []string
	must(t, r.journal.Commits(func(c journal.Commit) error {
		kinds = append(kinds, c.Kind)
		return nil
	}))
	if diff := cmp.Diff([]string{"commit", "restore", "restore", "restore"}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestRestoreKeepsMtimes(t *testing.T) {
	r := newFastRig(t, tree{"a": "1"}, noSandbox)
	old := statOf(t, filepath.Join(r.home, "a")).Mtim
	r.put("a", "2", 0o600)
	r.commit()
	r.restore(1, "a")
	if got := statOf(t, filepath.Join(r.home, "a")); got.Mtim != old || got.Mode&0o777 != 0o644 {
		t.Errorf("mtime %v mode %o, want %v 644", got.Mtim, got.Mode&0o777, old)
	}
}

func TestRestorePaths(t *testing.T) {
	r := restoreRig(t)
	r.restore(1, "edited", "tree/sub")
	want := tree{"tree/sub/deep": "deep"}
	for p, v := range crashWant {
		want[p] = v
	}
	want["edited"] = "old"
	r.wantHome(want)
	for _, paths := range [][]string{{"nothing"}, {"edited", "same"}} {
		_, err := r.Restore(ctx, 1, paths)
		if not := (*NotInCommitError)(nil); !errors.As(err, &not) || not.Seq != 1 {
			t.Errorf("Restore(1, %q) = %v, want a NotInCommitError", paths, err)
		}
	}
	if _, err := r.Restore(ctx, 99, nil); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("Restore(99) = %v, want ErrNotFound", err)
	}
	r.wantHome(want)
}

// What the home got since the commit is a conflict: it loses, and is kept. What the commit created
// and was changed since stays.
func TestRestoreConflicts(t *testing.T) {
	r := restoreRig(t)
	tree{"edited": "later", "new/dir/file": "later too", "mode": "mode content|0755"}.write(t, r.home)
	must(t, os.Remove(filepath.Join(r.home, "link")))
	report := r.restore(1)
	want := restoredHome()
	want["new/dir/file"] = "later too"
	want["mode"] = "mode content" // the commit changed the mode alone, and so does the restore
	r.wantHome(want)
	if len(report.Problems) > 0 {
		t.Errorf("problems %v", report.Problems)
	}
	if len(report.Conflicts) != 1 {
		t.Fatalf("conflicts %+v, want one", report.Conflicts)
	}
	c := report.Conflicts[0]
	if c.Path != "edited" || c.Winner != Restored || r.object(c.Preimage) != "later" {
		t.Errorf("conflict %+v", c)
	}
	for _, p := range []string{"new/dir/file", "link"} {
		if !slices.Contains(report.Kept, p) {
			t.Errorf("kept %q lacks %s", report.Kept, p)
		}
	}
	// The way back has the later version.
	r.restore(report.Seq, "edited")
	if got := readTree(t, r.home)["edited"]; got != "later" {
		t.Errorf("edited = %q after the restore was restored, want later", got)
	}
}

// What took the place of a directory since stays, and so does what it points to.
func TestRestoreBelowSymlink(t *testing.T) {
	r := newFastRig(t, tree{"d/sub/a": "1", "b": "1", "elsewhere/sub/a": "not ours"}, noSandbox)
	r.put("d/sub/a", "2", 0o644)
	r.put("b", "2", 0o644)
	r.commit()
	must(t, os.RemoveAll(filepath.Join(r.home, "d")))
	must(t, os.Symlink("elsewhere", filepath.Join(r.home, "d")))
	report := r.restore(1)
	r.wantHome(tree{"d": "->elsewhere", "b": "1", "elsewhere/sub/a": "not ours"})
	if len(report.Problems) != 1 || report.Problems[0].Path != "d/sub/a" {
		t.Errorf("problems %v, want one at d/sub/a", report.Problems)
	}
	must(t, os.Remove(filepath.Join(r.home, "d")))
	r.restore(1)
	r.wantHome(tree{"d/sub/a": "1", "b": "1", "elsewhere/sub/a": "not ours"})
}

func TestRestoreLostObject(t *testing.T) {
	r := restoreRig(t)
	for _, v := range []string{"old", "deep"} {
		must(t, filepath.WalkDir(filepath.Join(r.state, "objects"), func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if b, err := os.ReadFile(p); err != nil || string(b) != v {
				return err
			}
			if v == "old" {
				return os.Remove(p)
			}
			must(t, os.Chmod(p, 0o600))
			return os.WriteFile(p, []byte("dead"), 0o400)
		}))
	}
	report := r.restore(1)
	want := restoredHome()
	want["edited"] = "new"
	delete(want, "tree/sub/deep")
	want["tree/sub/"] = ""
	r.wantHome(want)
	got := map[string]string{}
	for _, p := range report.Problems {
		got[p.Path] = p.Message
	}
	if diff := cmp.Diff(map[string]string{"edited": errNoObject.Error(), "tree/sub/deep": errBadObject.Error()}, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestRestoreObject(t *testing.T) {
	r := restoreRig(t)
	sum, _, err := r.Engine.objects.Put(strings.NewReader("from an object"))
	must(t, err)
	for _, path := range []string{"mode", "made/for/it"} {
		report, err := r.RestoreObject(ctx, sum, path)
		must(t, err)
		if len(report.Conflicts)+len(report.Problems) > 0 {
			t.Errorf("%s: %+v", path, report)
		}
	}
	got := readTree(t, r.home)
	if got["mode"] != "from an object|0755" || got["made/for/it"] != "from an object" {
		t.Errorf("home has %q", got)
	}
	if _, err := r.RestoreObject(ctx, [32]byte{1}, "x"); !errors.Is(err, errNoObject) {
		t.Errorf("an object that is not there: %v", err)
	}
}

func TestCrashInRestore(t *testing.T) {
	for _, point := range FailPoints() {
		if !strings.HasPrefix(point, "commit-") || point == "commit-dropped" { // nothing leaves upper
			continue
		}
		t.Run(point, func(t *testing.T) {
			for n := 1; ; n++ {
				if !crashRestore(t, point, n) {
					if n == 1 {
						t.Errorf("no restore passes %s", point)
					}
					t.Logf("died there %d times", n-1)
					return
				}
			}
		})
	}
}

func crashRestore(t *testing.T, point string, n int) bool {
	r := restoreRig(t)
	tree{"edited": "later"}.write(t, r.home)
	if !r.crash("restore", point, n) {
		return false
	}
	r.finishRestore(fmt.Sprintf("%s %d", point, n))
	return !t.Failed()
}

// What finishes an interrupted restore is killed as well.
func TestCrashInRecoveredRestore(t *testing.T) {
	for _, point := range FailPoints() {
		if !strings.HasPrefix(point, "commit-") || point == "commit-dropped" {
			continue
		}
		t.Run(point, func(t *testing.T) {
			r := restoreRig(t)
			tree{"edited": "later"}.write(t, r.home)
			if !r.crash("restore", "commit-applied", 3) {
				t.Fatal("the restore did not come to its third path")
			}
			if !r.crash("recover", point, 1) {
				t.Fatal("the recovery did not pass it")
			}
			r.finishRestore(point)
		})
	}
}

// finishRestore recovers after a restore of commit 1 that was killed, and checks what came of it.
func (r *rig) finishRestore(where string) {
	t := r.t
	t.Helper()
	report, err := r.Recover(ctx)
	must(t, err)
	for _, done := range report.Restores {
		if len(done.Problems) > 0 {
			t.Errorf("%s: problems %v", where, done.Problems)
		}
	}
	r.wantHome(restoredHome())
	recorded := map[string]bool{}
	must(t, r.journal.Commits(func(c journal.Commit) error {
		if c.Open {
			t.Errorf("%s: commit %d is open", where, c.Seq)
		}
		return r.journal.Steps(c.Seq, func(_ int, s journal.Step) error {
			if o := ObjectName(s.Before.Object); o != "" {
				recorded[r.object(o)] = true
			}
			return nil
		})
	}))
	for _, v := range append([]string{"later", "theirs", "n", "file now", "i"}, crashLost...) {
		if !recorded[v] {
			t.Errorf("%s: no commit has the preimage %q", where, v)
		}
	}
	if again := r.restore(1); again.Seq != 0 {
		t.Errorf("%s: a second restore does %+v", where, again)
	}
	if back := r.syncBack(); len(back.Commit.Applied) > 0 {
		t.Errorf("%s: a sync back commits %+v", where, back.Commit)
	}
	r.wantHome(restoredHome())
}
