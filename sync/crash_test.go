package syncer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hermesfs/journal"
)

// crashEnv makes the test binary a child that runs one operation and dies at a failpoint:
// DIR,OPERATION,POINT,N with N counting how often the point is passed.
const crashEnv = "HERMESFS_SYNC_CRASH"

func TestMain(m *testing.M) {
	if v := os.Getenv(crashEnv); v != "" {
		crashChild(v)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func crashChild(v string) {
	part := strings.Split(v, ",")
	var n int
	if _, err := fmt.Sscan(part[3], &n); err != nil {
		panic(err)
	}
	r := rigIn(nil, part[0])
	r.options.Fail = func(point string) error {
		if point == part[2] {
			if n--; n == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		return nil
	}
	if part[1] != "attach" && part[1] != "push" {
		inGo(r)
	}
	r.open()
	var err error
	switch part[1] {
	case "attach":
		_, err = r.Attach(ctx)
	case "push":
		_, err = r.Push(ctx)
	case "sync-back":
		_, err = r.SyncBack(ctx)
	case "recover":
		_, err = r.Recover(ctx)
	case "restore":
		_, err = r.Restore(ctx, 1, nil)
	}
	if err != nil {
		panic(err)
	}
	r.close()
}

// crash runs an operation of r in a child that dies when it passes point for the nth time, and
// says whether it came there.
func (r *rig) crash(operation, point string, n int) bool {
	r.t.Helper()
	r.close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%s,%s,%d", crashEnv, filepath.Dir(r.home), operation, point, n))
	out, err := cmd.CombinedOutput()
	r.open()
	if err == nil {
		return false
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		r.t.Fatalf("child: %v\n%s", err, out)
	}
	return true
}

var crashHome = tree{
	"edited": "old", "deleted": "gone", "mode": "m", "both": "base", "same": "s",
	"was-dir/x": "x", "was-dir/y": "y", "was-file": "f", "link": "->edited",
	"tree/sub/deep": "deep", "tree/other": "o",
}

func crashFar(t *testing.T, r *rig) {
	for _, p := range []string{"deleted", "was-dir", "was-file", "tree"} {
		must(t, os.RemoveAll(filepath.Join(r.far, p)))
	}
	tree{
		"edited": "new", "mode": "m|0755", "both": "theirs", "new/dir/file": "n", "was-dir": "file now",
		"was-file/in": "i", "link": "->mode",
	}.write(t, r.far)
	tree{"both": "ours"}.write(t, r.home)
}

var crashWant = tree{
	"edited": "new", "mode": "m|0755", "both": "theirs", "same": "s", "new/dir/file": "n", "was-dir": "file now",
	"was-file/in": "i", "link": "->mode",
}

// crashLost is every content that the sync back takes out of the home.
var crashLost = []string{"old", "gone", "ours", "x", "y", "f", "deep", "o"}

func TestCrashInSyncBack(t *testing.T) {
	for _, point := range FailPoints() {
		if !strings.HasPrefix(point, "pull-") && !strings.HasPrefix(point, "commit-") {
			continue
		}
		t.Run(point, func(t *testing.T) {
			for n := 1; ; n++ {
				if !crashSyncBack(t, point, n) {
					if n == 1 {
						t.Errorf("no sync back passes %s", point)
					}
					t.Logf("died there %d times", n-1)
					return
				}
			}
		})
	}
}

func crashSyncBack(t *testing.T, point string, n int) bool {
	r := newFastRig(t, crashHome, inGo)
	r.start()
	crashFar(t, r)
	if !r.crash("sync-back", point, n) {
		return false
	}
	_, err := r.Attach(ctx)
	must(t, err)
	_, err = r.Recover(ctx)
	must(t, err)
	back := r.syncBack()
	if len(back.Pull.Problems)+len(back.Commit.Problems) > 0 {
		t.Errorf("%s %d: problems %v %v", point, n, back.Pull.Problems, back.Commit.Problems)
	}
	r.wantHome(crashWant)
	objects := r.allObjects()
	for _, v := range crashLost {
		if !slices.Contains(objects, v) {
			t.Errorf("%s %d: %q is lost", point, n, v)
		}
	}
	// History leads to each of them.
	recorded := map[string]bool{}
	must(t, r.journal.Commits(func(c journal.Commit) error {
		if c.Open {
			t.Errorf("%s %d: commit %d is open", point, n, c.Seq)
		}
		return r.journal.Steps(c.Seq, func(_ int, s journal.Step) error {
			if o := ObjectName(s.Before.Object); o != "" {
				recorded[r.object(o)] = true
			}
			return nil
		})
	}))
	for _, v := range crashLost {
		if !recorded[v] {
			t.Errorf("%s %d: no commit has the preimage %q", point, n, v)
		}
	}
	r.push()
	r.wantFar(crashWant)
	if again := r.syncBack(); len(again.Pull.Pulled)+len(again.Commit.Applied) > 0 {
		t.Errorf("%s %d: a second sync back does %+v", point, n, again)
	}
	return !t.Failed()
}

func TestCrashInPush(t *testing.T) {
	start := tree{"edited": "1", "deleted": "gone", "reverted": "A", "kept": "k", "dir/x": "x"}
	for _, point := range FailPoints() {
		if !strings.HasPrefix(point, "push-") {
			continue
		}
		t.Run(point, func(t *testing.T) {
			r := newRig(t, start)
			r.start()
			must(t, os.Remove(filepath.Join(r.home, "deleted")))
			must(t, os.RemoveAll(filepath.Join(r.home, "dir")))
			tree{"edited": "2", "new/file": "n", "reverted": "B", "dir": "file now"}.write(t, r.home)
			if !r.crash("push", point, 1) {
				t.Fatal("the push did not pass it")
			}
			// Taken back before the next push: the half-done one must not bring it home.
			tree{"reverted": "A"}.write(t, r.home)
			want := tree{"edited": "2", "new/file": "n", "reverted": "A", "kept": "k", "dir": "file now"}
			_, err := r.Attach(ctx)
			must(t, err)
			back := r.syncBack()
			r.wantHome(want)
			if len(back.Pull.Conflicts)+len(back.Commit.Conflicts)+len(back.Commit.Applied) > 0 {
				t.Errorf("the push that was cut was taken for edits of the sandbox: %+v", back)
			}
			r.push()
			r.wantFar(want)
			r.wantHome(want)
		})
	}
}

func TestCrashInAttach(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "ours"})
	tree{"a": "1", "b": "theirs", "foreign": "f"}.write(t, r.far)
	if !r.crash("attach", "attach-claim", 1) {
		t.Fatal("the attach did not pass it")
	}
	report, err := r.Attach(ctx)
	must(t, err)
	if !report.Fresh || report.Adopted != 1 || report.Foreign != 1 {
		t.Errorf("second attach: %+v, want a fresh sandbox with one file adopted and one foreign", report)
	}
	r.push()
	r.wantFar(tree{"a": "1", "b": "ours", "foreign": "f"})
	r.syncBack()
	r.wantHome(tree{"a": "1", "b": "ours"})
	if !slices.Contains(r.allObjects(), "theirs") {
		t.Error("the sandbox's version of b was not kept")
	}
}
