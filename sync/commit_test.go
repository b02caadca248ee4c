package syncer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

func TestCommitConflicts(t *testing.T) {
	for _, tc := range []struct {
		policy Policy
		home   tree
		winner string
		lost   string
		beside string
	}{
		{Theirs, tree{"d/a.md": "mount"}, "theirs", "host", ""},
		{Merge, tree{"d/a.md": "mount"}, "theirs", "host", ""},
		{Ours, tree{"d/a.md": "host"}, "ours", "mount", ""},
		{Both, tree{"d/a.md": "host", "d/a.sandbox-one.md": "mount"}, "ours", "", "d/a.sandbox-one.md"},
	} {
		t.Run(string(tc.policy), func(t *testing.T) {
			r := newRig(t, tree{"d/a.md": "base"}, noSandbox, func(r *rig) { r.options.Conflict = tc.policy })
			r.put("d/a.md", "mount", 0o644)
			tree{"d/a.md": "host"}.write(t, r.home)
			report := r.commit()
			r.wantHome(tc.home)
			if len(report.Conflicts) != 1 {
				t.Fatalf("conflicts %+v, want one", report.Conflicts)
			}
			c := report.Conflicts[0]
			if tc.lost != "" && r.object(c.Preimage) != tc.lost {
				t.Errorf("the object is %q, want %q", r.object(c.Preimage), tc.lost)
			}
			c.Preimage = ""
			want := Conflict{Path: "d/a.md", Kind: "content", Where: "home", Winner: tc.winner, Beside: tc.beside}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("conflict (-want +got):\n%s", diff)
			}
			if !r.log.has("level=WARN", "conflict", "d/a.md") {
				t.Error("no warning")
			}
			wantUpper(t, r)
			events := 0
			must(t, r.journal.Log("d/a.md", func(e journal.Event) error {
				if e.What == "conflict" {
					events++
				}
				return nil
			}))
			if events != 1 {
				t.Errorf("%d conflicts in the log, want 1", events)
			}
		})
	}
}

// wantUpper checks what upper still changes.
func wantUpper(t *testing.T, r *rig, want ...string) {
	t.Helper()
	var got []string
	must(t, r.stack.Changes(ctx, func(c layer.Change) error {
		got = append(got, c.Path)
		return nil
	}))
	if !slices.Equal(got, want) {
		t.Errorf("upper changes %q, want %q", got, want)
	}
}

func TestCommitTree(t *testing.T) {
	r := newRig(t, tree{
		"edit": "1", "chmod": "c", "del": "d", "dir/a": "a", "dir/b/c": "c", "file-to-dir": "f", "dir-to-file/x": "x", "l": "->edit",
		"touched": "t", "keep/other": "o",
	}, noSandbox)
	r.put("edit", "2", 0o644)
	r.put("chmod", "c", 0o755)
	r.put("touched", "t", 0o644)
	for _, p := range []string{"del", "dir/a", "dir/b/c", "dir/b", "dir", "file-to-dir", "dir-to-file/x", "dir-to-file", "l"} {
		r.remove(p)
	}
	r.put("file-to-dir/in/deep", "i", 0o600)
	r.put("dir-to-file", "f", 0o644)
	must(t, r.stack.Put(layer.Put{Path: "l", Kind: layer.Symlink, Target: "chmod"}))
	must(t, r.stack.Put(layer.Put{Path: "new", Kind: layer.Dir, Mode: 0o750}))
	must(t, r.stack.Put(layer.Put{Path: "locked", Kind: layer.Dir, Mode: 0o755}))
	r.put("locked/f", "l", 0o644)
	must(t, r.stack.Put(layer.Put{Path: "locked", Kind: layer.Dir, Mode: 0o555}))
	touched := statOf(t, filepath.Join(r.home, "touched"))
	chmod := statOf(t, filepath.Join(r.home, "chmod"))
	report := r.commit()
	if len(report.Problems)+len(report.Conflicts) > 0 {
		t.Errorf("report %+v", report)
	}
	r.wantHome(tree{
		"edit": "2", "chmod": "c|0755", "file-to-dir/in/deep": "i|0600", "dir-to-file": "f", "l": "->chmod", "new/": "",
		"touched": "t", "keep/other": "o", "locked/f": "l",
	})
	if got := statOf(t, filepath.Join(r.home, "touched")); !untouched(got, touched) {
		t.Error("a file with the same content was written")
	}
	if got := statOf(t, filepath.Join(r.home, "chmod")); got.Ino != chmod.Ino || got.Mtim != chmod.Mtim {
		t.Error("a new mode alone replaced the file")
	}
	for p, mode := range map[string]uint32{"new": 0o750, "locked": 0o555} {
		if got := statOf(t, filepath.Join(r.home, p)).Mode & 0o777; got != mode {
			t.Errorf("%s has mode %o, want %o", p, got, mode)
		}
	}
	wantUpper(t, r)
	want := map[string]string{}
	for _, a := range report.Applied {
		if a.Preimage != "" {
			want[a.Path] = r.object(a.Preimage)
		}
	}
	if diff := cmp.Diff(map[string]string{
		"edit": "1", "del": "d", "dir/a": "a", "dir/b/c": "c", "file-to-dir": "f", "dir-to-file/x": "x",
	}, want); diff != "" {
		t.Errorf("preimages (-want +got):\n%s", diff)
	}
	must(t, os.Chmod(filepath.Join(r.home, "locked"), 0o755))
	if again := r.commit(); again.Seq != 0 {
		t.Errorf("a second commit does %+v", again)
	}
}

func TestCommitDirectoryWithHostFilesInside(t *testing.T) {
	r := newRig(t, tree{"d/a": "a", "e/a": "a"}, noSandbox)
	r.remove("d/a")
	r.remove("d")
	r.remove("e/a")
	r.remove("e")
	r.put("e", "a file now", 0o644)
	tree{"d/host": "made by the host", "e/host": "made by the host"}.write(t, r.home)
	report := r.commit()
	// d stays for what the host made; e is a clash, and what the host made is a preimage.
	r.wantHome(tree{"d/host": "made by the host", "e": "a file now"})
	if !slices.Contains(report.Kept, "d") {
		t.Errorf("kept %q lacks d", report.Kept)
	}
	if !slices.Contains(r.allObjects(), "made by the host") {
		t.Error("what the host made in e is lost")
	}
	wantUpper(t, r)
}

func TestCommitRefuses(t *testing.T) {
	r := newRig(t, tree{"skills/a": "a", ".env": "secret"}, noSandbox, func(r *rig) { r.access = access.Options{} })
	r.put("skills/a", "b", 0o644)
	r.put("notes/x", "not shown", 0o644)
	r.put(".env", "forged", 0o600)
	must(t, r.stack.Put(layer.Put{Path: "skills/abs", Kind: layer.Symlink, Target: "/etc/passwd"}))
	must(t, r.stack.Put(layer.Put{Path: "skills/leaves", Kind: layer.Symlink, Target: "../../x"}))
	must(t, r.stack.Put(layer.Put{Path: "skills/secret", Kind: layer.Symlink, Target: "../.env"}))
	report := r.commit()
	r.wantHome(tree{"skills/a": "b", ".env": "secret"})
	var got []string
	for _, f := range report.Refused {
		got = append(got, f.Path)
		if f.Reason == "" {
			t.Errorf("%s is refused without a reason", f.Path)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{".env", "notes", "notes/x", "skills/abs", "skills/leaves", "skills/secret"}, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func TestCommitWritesThroughNoSymlink(t *testing.T) {
	r := newRig(t, tree{"d/a": "a"}, noSandbox)
	outside := t.TempDir()
	r.put("d/a", "b", 0o644)
	r.put("d/new", "n", 0o644)
	must(t, os.Rename(filepath.Join(r.home, "d"), filepath.Join(outside, "d")))
	must(t, os.Symlink(filepath.Join(outside, "d"), filepath.Join(r.home, "d")))
	r.commit()
	wantTree(t, "outside", outside, tree{"d/a": "a"})
}

func TestCommitWaitsForAFileOpenForWriting(t *testing.T) {
	r := newRig(t, tree{"log": "1", "b": "1"}, noSandbox)
	r.put("log", "mount", 0o644)
	r.put("b", "2", 0o644)
	f, err := os.OpenFile(filepath.Join(r.home, "log"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	report := r.commit()
	if len(report.Problems) != 1 || report.Problems[0].Path != "log" {
		t.Fatalf("problems %+v, want one for log", report.Problems)
	}
	r.wantHome(tree{"log": "1", "b": "2"})
	// One that is closed while the commit waits is no problem.
	time.AfterFunc(150*time.Millisecond, func() { _ = f.Close() })
	if report := r.commit(); len(report.Problems) > 0 {
		t.Errorf("problems %+v", report.Problems)
	}
	r.wantHome(tree{"log": "mount", "b": "2"})
}

// What changes in upper while it is committed stays there, based on what the home got.
func TestCommitUpperChangesMeanwhile(t *testing.T) {
	armed := true
	r := newRig(t, tree{"a": "base"}, noSandbox, func(r *rig) {
		r.options.Fail = func(point string) error {
			if point == "commit-synced" && armed {
				armed = false
				r.put("a", "second", 0o644)
			}
			return nil
		}
	})
	r.put("a", "first", 0o644)
	r.commit()
	r.wantHome(tree{"a": "first"})
	wantUpper(t, r, "a")
	report := r.commit()
	r.wantHome(tree{"a": "second"})
	if len(report.Conflicts) > 0 {
		t.Errorf("conflicts %+v: the home has only what the first commit brought", report.Conflicts)
	}
}

func TestCommitKeepsAttributes(t *testing.T) {
	r := newRig(t, tree{"a": "base"}, noSandbox)
	full := filepath.Join(r.home, "a")
	if err := unix.Setxattr(full, "user.note", []byte("mine"), 0); err != nil {
		t.Fatalf("the test needs extended attributes: %v", err)
	}
	r.put("a", "new", 0o644)
	r.commit()
	buf := make([]byte, 16)
	n, err := unix.Getxattr(full, "user.note", buf)
	if err != nil || string(buf[:n]) != "mine" {
		t.Errorf("user.note is %q, %v", buf[:max(n, 0)], err)
	}
}

func TestCommitHardLinkedPreimageIsCopied(t *testing.T) {
	r := newRig(t, tree{"a": "base"}, noSandbox)
	must(t, os.Link(filepath.Join(r.home, "a"), filepath.Join(r.home, "b")))
	r.put("a", "new", 0o644)
	report := r.commit()
	must(t, os.WriteFile(filepath.Join(r.home, "b"), []byte("later"), 0o644))
	if got := r.object(report.Applied[0].Preimage); got != "base" {
		t.Errorf("the preimage is %q", got)
	}
	r.wantHome(tree{"a": "new", "b": "later"})
}

func TestCommitSparseFile(t *testing.T) {
	r := newRig(t, tree{}, noSandbox)
	st, err := r.stack.Stage()
	must(t, err)
	must(t, st.Truncate(64<<20))
	must(t, r.stack.Put(layer.Put{Path: "sparse", Kind: layer.File, Mode: 0o644, Staged: st}))
	r.commit()
	got := statOf(t, filepath.Join(r.home, "sparse"))
	if got.Size != 64<<20 || got.Blocks > 2048 {
		t.Errorf("size %d, %d blocks, want 64 MiB of nothing", got.Size, got.Blocks)
	}
}

func TestCommitHomeGone(t *testing.T) {
	r := newRig(t, tree{"a": "1"}, noSandbox)
	r.put("a", "2", 0o644)
	must(t, os.Rename(r.home, r.home+"-away"))
	_, err := r.Commit(ctx, CommitOptions{})
	must(t, os.Rename(r.home+"-away", r.home))
	if !errors.Is(err, ErrNoHome) {
		t.Errorf("Commit = %v, want ErrNoHome", err)
	}
}

func TestCommitGoesOnWhenCancelled(t *testing.T) {
	cancelled, cancel := withCancel()
	r := newRig(t, tree{"a": "1", "b": "1"}, noSandbox, func(r *rig) {
		r.options.Fail = func(point string) error {
			if point == "commit-planned" {
				cancel()
			}
			return nil
		}
	})
	r.put("a", "2", 0o644)
	r.put("b", "2", 0o644)
	_, err := r.Commit(cancelled, CommitOptions{})
	must(t, err)
	r.wantHome(tree{"a": "2", "b": "2"})
}

func TestLockFileIsNotFollowed(t *testing.T) {
	r := newRig(t, tree{"a": "1"}, noSandbox)
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.Symlink(other, filepath.Join(r.home, ".sync.lock")))
	r.put("a", "2", 0o644)
	if _, err := r.Commit(ctx, CommitOptions{}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("Commit = %v, want ELOOP", err)
	}
	if _, err := os.Lstat(other); err == nil {
		t.Error("the lock was made through a symlink")
	}
}

// A commit that fails half-way gives the home back, but for what was done.
func TestCommitFailureLeavesNothingBehind(t *testing.T) {
	for _, point := range []string{"commit-planned", "commit-written", "commit-staged", "commit-applied", "commit-recorded", "commit-taken", "commit-synced"} {
		t.Run(point, func(t *testing.T) {
			armed := true
			r := newRig(t, tree{"a": "1", "b": "1", "gone": "g"}, noSandbox, func(r *rig) {
				r.options.Fail = func(p string) error {
					if p == point && armed {
						armed = false
						return errors.New("no space left")
					}
					return nil
				}
			})
			r.put("a", "2", 0o644)
			r.put("b", "2", 0o644)
			r.put("n/n", "n", 0o644)
			r.remove("gone")
			if _, err := r.Commit(ctx, CommitOptions{}); err == nil {
				t.Fatal("Commit = nil, want the fault")
			}
			for p := range readTree(t, r.home) {
				if strings.Contains(p, ".hermesfs-") {
					t.Errorf("%s was left in the home", p)
				}
			}
			r.commit()
			r.wantHome(tree{"a": "2", "b": "2", "n/n": "n"})
			wantUpper(t, r)
			for _, v := range []string{"1", "g"} {
				if !slices.Contains(r.allObjects(), v) {
					t.Errorf("%q is lost", v)
				}
			}
		})
	}
}
