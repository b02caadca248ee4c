package syncer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hermesfs/fs/access"
)

// These are the cases of the test file that this project started from, over the real engine.

func noSandbox(r *rig) { r.options.SandboxURL = "" }

func TestSyncBackNoopWithoutSandbox(t *testing.T) {
	r := newRig(t, tree{"skills/a.md": "a"}, noSandbox)
	before := statOf(t, filepath.Join(r.home, "skills/a.md"))
	report := r.syncBack()
	if diff := cmp.Diff(SyncBackReport{}, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if after := statOf(t, filepath.Join(r.home, "skills/a.md")); !untouched(after, before) {
		t.Errorf("the home's file was touched: %v, was %v", after, before)
	}
	if _, err := os.Lstat(filepath.Join(r.home, ".sync.lock")); err == nil {
		t.Error("a sync back with nothing to do made a lock file in the home")
	}
}

func TestSyncBackNoChanges(t *testing.T) {
	r := newRig(t, tree{"skills/a.md": "a", "cred.json": `{"key": "val"}|0600`})
	r.start()
	before := statOf(t, filepath.Join(r.home, "cred.json"))
	home := statOf(t, r.home)
	// Rewritten with the same bytes: a new inode and mtime there is no change.
	must(t, os.Remove(filepath.Join(r.far, "cred.json")))
	tree{"cred.json": `{"key": "val"}|0600`}.write(t, r.far)
	report := r.syncBack()
	if len(report.Pull.Pulled)+len(report.Commit.Applied) > 0 {
		t.Errorf("something was applied: %+v", report)
	}
	if after := statOf(t, filepath.Join(r.home, "cred.json")); !untouched(after, before) {
		t.Errorf("the home's file was touched: %v, was %v", after, before)
	}
	if after := statOf(t, r.home); after.Mtim != home.Mtim {
		t.Error("the home's directory was touched")
	}
}

func TestSyncBackAppliesChanged(t *testing.T) {
	r := newRig(t, tree{"skills/skill.py": "print('v1')", "skills/run.sh": "#!/bin/sh\n"})
	r.start()
	tree{"skills/skill.py": "print('v2 - edited on remote')", "skills/run.sh": "#!/bin/sh\n|0755"}.write(t, r.far)
	report := r.syncBack()
	r.wantHome(tree{"skills/skill.py": "print('v2 - edited on remote')", "skills/run.sh": "#!/bin/sh\n|0755"})
	want := []Applied{{Path: "skills/skill.py", Op: "put"}, {Path: "skills/run.sh", Op: "chmod"}}
	got := slices.Clone(report.Commit.Applied)
	if len(got) != 2 || r.object(got[0].Preimage) != "print('v1')" {
		t.Fatalf("applied %+v, want a preimage of skills/skill.py", got)
	}
	got[0].Preimage = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	// The sandbox's mtime comes along with the content.
	far, near := statOf(t, filepath.Join(r.far, "skills/skill.py")), statOf(t, filepath.Join(r.home, "skills/skill.py"))
	if far.Mtim != near.Mtim {
		t.Errorf("mtime is %v, want %v", near.Mtim, far.Mtim)
	}
}

func TestSyncBackKeepsTheModeOfTheHome(t *testing.T) {
	r := newRig(t, tree{"token.json": "old|0600"})
	r.start()
	must(t, os.WriteFile(filepath.Join(r.far, "token.json"), []byte("new"), 0o600))
	must(t, os.Chmod(filepath.Join(r.home, "token.json"), 0o640))
	r.syncBack()
	r.wantHome(tree{"token.json": "new|0640"})
}

func TestSyncBackNewFile(t *testing.T) {
	for _, tc := range []struct {
		name string
		home tree
		new  tree
	}{
		{"beside another", tree{"skills/existing.py": "existing"}, tree{"skills/new_skill.py": "# brand new"}},
		{"in a new category", tree{"skills/a/SKILL.md": "a"}, tree{"skills/b/deep/SKILL.md": "b", "skills/b/run.sh": "x|0755"}},
		{"under an empty skills", tree{"skills/": ""}, tree{"skills/made/SKILL.md": "made there"}},
		{"where there was no skills", tree{}, tree{"skills/made/SKILL.md": "made there"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.home, func(r *rig) {
				r.access = access.Options{Rules: []access.Rule{{Glob: "none-such/**", Level: access.None}}}
			})
			r.start()
			tc.new.write(t, r.far)
			r.syncBack()
			want := tree{}
			for _, part := range []tree{tc.home, tc.new} {
				for p, v := range part {
					want[p] = v
				}
			}
			if len(tc.home) == 1 {
				delete(want, "skills/")
			}
			r.wantHome(want)
		})
	}
}

func TestSyncBackConflictWarns(t *testing.T) {
	r := newRig(t, tree{"config.json": `{"v": 1}`})
	r.start()
	tree{"config.json": `{"v": 2, "host-edit": true}`}.write(t, r.home)
	tree{"config.json": `{"v": 3, "remote-edit": true}`}.write(t, r.far)
	report := r.syncBack()
	r.wantHome(tree{"config.json": `{"v": 3, "remote-edit": true}`})
	if len(report.Commit.Conflicts) != 1 || len(report.Pull.Conflicts) != 0 {
		t.Fatalf("conflicts: pull %+v, commit %+v, want one at the commit", report.Pull.Conflicts, report.Commit.Conflicts)
	}
	c := report.Commit.Conflicts[0]
	if got := r.object(c.Preimage); got != `{"v": 2, "host-edit": true}` {
		t.Errorf("preimage is %q, want the home's version", got)
	}
	if !r.log.has("level=WARN", "conflict", "path=config.json", c.Preimage) {
		t.Errorf("no warning names the path and the preimage:\n%s", r.log.b.String())
	}
}

func TestSyncBackRetriesOnFailure(t *testing.T) {
	r := newRig(t, tree{"a": "1"})
	r.start()
	tree{"a": "2"}.write(t, r.far)
	n := 0
	r.sandbox.fail = func(op string) error {
		if n++; n < 3 {
			return transient("network")
		}
		return nil
	}
	report := r.syncBack()
	if want := []time.Duration{2 * time.Second, 4 * time.Second}; !slices.Equal(r.clock.slept, want) {
		t.Errorf("slept %v, want %v", r.clock.slept, want)
	}
	if report.Pull.Attempts != 3 {
		t.Errorf("%d attempts, want 3", report.Pull.Attempts)
	}
	r.wantHome(tree{"a": "2"})
}

func TestSyncBackAllRetriesExhausted(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "1"})
	r.start()
	tree{"a": "2"}.write(t, r.far)
	r.put("b", "local", 0o644)
	r.sandbox.fail = func(string) error { return transient("network") }
	before := r.sandbox.count("manifest")
	_, err := r.SyncBack(ctx)
	if !errors.Is(err, ErrIncomplete) {
		t.Fatalf("SyncBack = %v, want ErrIncomplete", err)
	}
	if got := r.sandbox.count("manifest") - before; got != 3 {
		t.Errorf("%d attempts, want 3", got)
	}
	if !r.log.has("level=WARN", "all attempts failed") {
		t.Errorf("no warning:\n%s", r.log.b.String())
	}
	r.wantHome(tree{"a": "1", "b": "1"})
	r.sandbox.fail = nil
	r.remount()
	r.syncBack()
	r.wantHome(tree{"a": "2", "b": "local"})
}

func TestSyncBackDoesNotRetryPermanentFaults(t *testing.T) {
	r := newRig(t, tree{"a": "1"})
	r.start()
	r.sandbox.fail = func(string) error { return errors.New("no such program") }
	_, err := r.Pull(ctx)
	var incomplete *IncompleteError
	if !errors.As(err, &incomplete) || incomplete.Attempts != 1 || len(r.clock.slept) != 0 {
		t.Errorf("Pull = %v after sleeping %v, want one attempt", err, r.clock.slept)
	}
}

func TestSyncBackDeadline(t *testing.T) {
	r := newRig(t, tree{"a": "1"}, func(r *rig) { r.options.Deadline = 5 * time.Second })
	r.start()
	r.sandbox.fail = func(string) error { return transient("network") }
	_, err := r.Pull(ctx)
	if !errors.Is(err, errDeadline) || !errors.Is(err, ErrIncomplete) {
		t.Errorf("Pull = %v, want the deadline", err)
	}
	if want := []time.Duration{2 * time.Second}; !slices.Equal(r.clock.slept, want) {
		t.Errorf("slept %v, want %v: the next wait would pass the deadline", r.clock.slept, want)
	}
}

func TestPushJournalsHashes(t *testing.T) {
	r := newRig(t, tree{"data.txt": "hello world"})
	r.start()
	b, ok, err := r.journal.Base("data.txt")
	must(t, err)
	if !ok || b.SHA256 != sha("hello world") {
		t.Fatalf("base of data.txt is %+v, want the hash of what was pushed", b)
	}
	must(t, os.Remove(filepath.Join(r.home, "data.txt")))
	tree{"other": "x"}.write(t, r.home)
	report := r.push()
	if !slices.Equal(report.Deleted, []string{"data.txt"}) {
		t.Errorf("deleted %q", report.Deleted)
	}
	if _, ok, _ := r.journal.Base("data.txt"); ok {
		t.Error("the base of a deleted file is still there")
	}
	r.wantFar(tree{"other": "x"})
}

func TestCommitWaitsForTheLock(t *testing.T) {
	r := newRig(t, tree{"a": "1"}, noSandbox)
	r.put("a", "2", 0o644)
	lock := filepath.Join(r.home, ".sync.lock")
	// Another process holds the lock, if only to read, until its standard input ends.
	cmd := exec.Command("flock", "-s", lock, "sh", "-c", "echo locked; read x")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	buf := make([]byte, 7)
	if _, err := out.Read(buf); err != nil || !strings.HasPrefix(string(buf), "locked") {
		t.Fatalf("flock said %q, %v", buf, err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := r.Commit(short, CommitOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit under a foreign lock = %v, want to be cancelled", err)
	}
	if !r.log.has("waiting", ".sync.lock") {
		t.Errorf("no line says that it waits:\n%s", r.log.b.String())
	}
	r.wantHome(tree{"a": "1"})
	done := make(chan error, 1)
	go func() {
		_, err := r.Commit(ctx, CommitOptions{})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("Commit did not wait: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	must(t, in.Close())
	_ = cmd.Wait()
	must(t, <-done)
	r.wantHome(tree{"a": "2"})
	if st := statOf(t, lock); st.Mode&0o777 != 0o600 && st.Mode&0o777 != 0o644 {
		t.Errorf("lock file has mode %o", st.Mode)
	}
}
