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
	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
)

// Each odd thing in the sandbox, with two ordinary edits beside it: the edits come home, the odd
// thing is at most one problem, and the home loses nothing.
func TestPullOddThings(t *testing.T) {
	start := tree{"e1": "1", "e2": "2", "f": "file", "d/x": "x", "d/y": "y", "log": "line\n"}
	for _, tc := range []struct {
		name     string
		far      func(t *testing.T, far string)
		problems int
		home     tree // beyond start and the edits; "" as a value takes a path away
	}{
		{"nothing", func(*testing.T, string) {}, 0, nil},
		{"absolute symlink", func(t *testing.T, far string) { must(t, os.Symlink("/usr/bin/python3", far+"/python")) }, 1, nil},
		{"symlink that leaves", func(t *testing.T, far string) { must(t, os.Symlink("../../etc/passwd", far+"/d/l")) }, 1, nil},
		{"symlink that leaves and returns", func(t *testing.T, far string) { must(t, os.Symlink("../.hermes/e1", far+"/l")) }, 1, nil},
		{"dangling symlink", func(t *testing.T, far string) { must(t, os.Symlink("nothing", far+"/l")) }, 1, nil},
		{"good symlink", func(t *testing.T, far string) { must(t, os.Symlink("../e1", far+"/d/l")) }, 0, tree{"d/l": "->../e1"}},
		{"symlink to what is hidden", func(t *testing.T, far string) { must(t, os.Symlink(".sync.lock", far+"/l")) }, 1, nil},
		{"fifo", func(t *testing.T, far string) { must(t, unix.Mkfifo(far+"/fifo", 0o644)) }, 1, nil},
		{"file became a fifo", func(t *testing.T, far string) {
			must(t, os.Remove(far+"/f"))
			must(t, unix.Mkfifo(far+"/f", 0o644))
		}, 1, nil},
		{"directory became a fifo", func(t *testing.T, far string) {
			must(t, os.RemoveAll(far+"/d"))
			must(t, unix.Mkfifo(far+"/d", 0o644))
		}, 1, nil},
		{"directory became a bad symlink", func(t *testing.T, far string) {
			must(t, os.RemoveAll(far+"/d"))
			must(t, os.Symlink("/tmp", far+"/d"))
		}, 1, nil},
		{"socket", func(t *testing.T, far string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			must(t, err)
			wd, err := os.Getwd()
			must(t, err)
			must(t, os.Chdir(far)) // the path of a socket is short
			must(t, errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: "s"}), unix.Close(fd), os.Chdir(wd)))
		}, 1, nil},
		{"file became a directory", func(t *testing.T, far string) {
			must(t, os.Remove(far+"/f"))
			tree{"f/in": "in"}.write(t, far)
		}, 0, tree{"f": "", "f/in": "in"}},
		{"directory became a file", func(t *testing.T, far string) {
			must(t, os.RemoveAll(far+"/d"))
			tree{"d": "now a file"}.write(t, far)
		}, 0, tree{"d/x": "", "d/y": "", "d": "now a file"}},
		{"a log that grew", func(t *testing.T, far string) { tree{"log": "line\nmore\n"}.write(t, far) }, 0, tree{"log": "line\nmore\n"}},
		{"odd names", func(t *testing.T, far string) {
			tree{"-rf": "1", "new\nline": "2", "quote'\"$(x)": "3", "bad\xff\xfeutf8": "4", strings.Repeat("n", 255): "5", " ": "6", "*": "7"}.write(t, far)
		}, 0, tree{"-rf": "1", "new\nline": "2", "quote'\"$(x)": "3", "bad\xff\xfeutf8": "4", strings.Repeat("n", 255): "5", " ": "6", "*": "7"}},
		{"200 levels", func(t *testing.T, far string) {
			tree{strings.Repeat("d/", 200) + "f": "deep"}.write(t, far)
		}, 0, tree{strings.Repeat("d/", 200) + "f": "deep"}},
		{"hard links", func(t *testing.T, far string) { must(t, os.Link(far+"/e1", far+"/hard")) }, 0, tree{"hard": "edit 1"}},
		{"empty directories", func(t *testing.T, far string) { must(t, os.MkdirAll(far+"/empty/er", 0o755)) }, 0, tree{"empty/er/": ""}},
		{"setuid", func(t *testing.T, far string) {
			tree{"su": "x"}.write(t, far)
			must(t, os.Chmod(far+"/su", 0o755|os.ModeSetuid|os.ModeSetgid))
		}, 0, tree{"su": "x|0755"}},
		{"a name of hermesfs's own", func(t *testing.T, far string) { tree{"d/.hermesfs-x": "x"}.write(t, far) }, 1, nil},
		{"the home's lock", func(t *testing.T, far string) { tree{".sync.lock": "x"}.write(t, far) }, -1, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, start)
			r.start()
			tree{"e1": "edit 1", "e2": "edit 2"}.write(t, r.far)
			tc.far(t, r.far)
			back := r.syncBack()
			if n := len(back.Pull.Problems); n != tc.problems && tc.problems >= 0 {
				t.Errorf("problems %+v, want %d", back.Pull.Problems, tc.problems)
			}
			if n := len(back.Commit.Problems) + len(back.Commit.Refused); n > 0 {
				t.Errorf("commit: problems %+v, refused %+v", back.Commit.Problems, back.Commit.Refused)
			}
			want := tree{}
			for _, part := range []tree{start, {"e1": "edit 1", "e2": "edit 2"}, tc.home} {
				for p, v := range part {
					want[p] = v
				}
			}
			for p, v := range want {
				if v == "" && !strings.HasSuffix(p, "/") {
					delete(want, p)
				}
			}
			r.wantHome(want)
			// Nothing is done twice, and nothing is pushed over the odd thing.
			again := r.syncBack()
			if n := len(again.Pull.Pulled) + len(again.Commit.Applied); n > 0 {
				t.Errorf("a second sync back does %+v", again)
			}
		})
	}
}

func TestPullUnreadable(t *testing.T) {
	r := newRig(t, tree{"e1": "1", "f": "file", "d/x": "x"})
	r.start()
	tree{"e1": "edit 1", "f": "changed"}.write(t, r.far)
	r.sandbox.unreadable = []string{"f", "d"}
	back := r.syncBack()
	if len(back.Pull.Problems) != 2 {
		t.Errorf("problems %+v, want f and d", back.Pull.Problems)
	}
	r.wantHome(tree{"e1": "edit 1", "f": "file", "d/x": "x"})
}

func TestPullMassDeletion(t *testing.T) {
	many := tree{}
	for i := range 40 {
		many[fmt.Sprintf("d/f%02d", i)] = "x"
	}
	for _, tc := range []struct {
		name string
		home tree
		do   func(t *testing.T, far string)
		want error
	}{
		{"few files, all gone", tree{"a": "1", "b": "2"}, func(t *testing.T, far string) {
			must(t, errors.Join(os.Remove(far+"/a"), os.Remove(far+"/b")))
		}, ErrRootEmptied},
		{"the home is gone", tree{"a": "1", "b": "2"}, func(t *testing.T, far string) { must(t, os.RemoveAll(far)) }, ErrRootEmptied},
		{"the home was moved away", many, func(t *testing.T, far string) { must(t, os.Rename(far, far+"-moved")) }, ErrRootEmptied},
		{"most of many", many, func(t *testing.T, far string) {
			for i := range 30 {
				must(t, os.Remove(fmt.Sprintf("%s/d/f%02d", far, i)))
			}
		}, ErrMassDelete},
		{"the only file", tree{"a": "1"}, func(t *testing.T, far string) { must(t, os.Remove(far+"/a")) }, nil},
		{"some of many", many, func(t *testing.T, far string) { must(t, os.Remove(far+"/d/f00")) }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.home)
			r.start()
			tc.do(t, r.far)
			_, err := r.SyncBack(ctx)
			if tc.want == nil {
				must(t, err)
				if len(readTree(t, r.home)) > len(tc.home)+2 {
					t.Error("nothing was deleted")
				}
				return
			}
			var stop *StopError
			if !errors.As(err, &stop) || !errors.Is(err, tc.want) || !strings.Contains(err.Error(), "--allow-deletes") {
				t.Fatalf("SyncBack = %v, want a stop for %v", err, tc.want)
			}
			if errors.Is(err, ErrIncomplete) || len(r.clock.slept) > 0 {
				t.Error("a stop was tried again")
			}
			r.wantHome(tc.home)
			r.options.AllowDeletes = true
			r.remount()
			r.syncBack()
			if strings.HasPrefix(tc.name, "the home") {
				r.wantHome(tc.home) // not the sandbox that was pushed to: nothing counts as deleted
			} else if got := readTree(t, r.home); len(got) >= len(tc.home) && len(tc.home) > 2 {
				t.Errorf("with AllowDeletes the home still has %d paths", len(got))
			}
		})
	}
}

func TestPullConflictInUpper(t *testing.T) {
	for _, tc := range []struct {
		policy Policy
		home   tree
		lost   string
		beside string
	}{
		{Theirs, tree{"a.md": "theirs"}, "local", ""},
		{Merge, tree{"a.md": "theirs"}, "local", ""},
		{Ours, tree{"a.md": "local"}, "theirs", ""},
		{Both, tree{"a.md": "local", "a.sandbox-one.md": "theirs"}, "", "a.sandbox-one.md"},
	} {
		t.Run(string(tc.policy), func(t *testing.T) {
			r := newRig(t, tree{"a.md": "base"}, func(r *rig) { r.options.Conflict = tc.policy })
			r.start()
			r.put("a.md", "local", 0o644)
			tree{"a.md": "theirs"}.write(t, r.far)
			pull := r.pull()
			if len(pull.Conflicts) != 1 {
				t.Fatalf("conflicts %+v, want one", pull.Conflicts)
			}
			c := pull.Conflicts[0]
			if c.Where != "upper" || c.Beside != tc.beside {
				t.Errorf("conflict %+v", c)
			}
			if tc.lost != "" {
				if got := r.object(c.Preimage); got != tc.lost {
					t.Errorf("the object is %q, want %q", got, tc.lost)
				}
			}
			if !r.log.has("level=WARN", "conflict", "a.md") {
				t.Error("no warning")
			}
			if got := r.commit(); len(got.Conflicts) > 0 {
				t.Errorf("the commit finds it again: %+v", got.Conflicts)
			}
			r.wantHome(tc.home)
			r.push()
			r.wantFar(tc.home)
		})
	}
}

func TestPullMergesAndKeeps(t *testing.T) {
	r := newRig(t, tree{"mode": "m", "gone-here": "1", "gone-there": "2", "same": "s", "dir/in": "i"})
	r.start()
	r.put("mode", "m", 0o755) // chmod in the mount, edit there
	tree{"mode": "edited"}.write(t, r.far)
	r.remove("gone-here") // deleted in the mount, edited there
	tree{"gone-here": "edited"}.write(t, r.far)
	r.put("gone-there", "edited", 0o644) // edited in the mount, deleted there
	must(t, os.Remove(filepath.Join(r.far, "gone-there")))
	r.put("same", "both", 0o644) // the same edit on both sides
	tree{"same": "both"}.write(t, r.far)
	must(t, os.RemoveAll(filepath.Join(r.far, "dir"))) // a directory deleted there, edited in the mount
	r.put("dir/in", "kept", 0o644)
	back := r.syncBack()
	want := tree{"mode": "edited|0755", "gone-here": "edited", "gone-there": "edited", "same": "both", "dir/in": "kept"}
	r.wantHome(want)
	if len(back.Pull.Conflicts)+len(back.Commit.Conflicts) > 0 {
		t.Errorf("conflicts: %+v %+v", back.Pull.Conflicts, back.Commit.Conflicts)
	}
	for _, p := range []string{"gone-here", "gone-there", "dir", "dir/in"} {
		if !slices.Contains(back.Pull.Kept, p) {
			t.Errorf("kept %q lacks %s", back.Pull.Kept, p)
		}
	}
	r.push()
	r.wantFar(want)
}

func TestPullReadLevel(t *testing.T) {
	r := newRig(t, tree{"skills/a": "a", "token.json": "secret|0600"}, func(r *rig) {
		r.access = access.Options{CredentialFiles: []string{"token.json"}}
	})
	r.start()
	tree{"token.json": "poison|0600", "skills/a": "b", "config.yaml": "made there", "plugins/p": "x"}.write(t, r.far)
	back := r.syncBack()
	r.wantHome(tree{"skills/a": "b", "token.json": "secret|0600"})
	if !slices.Equal(back.Pull.ReadOnly, []string{"token.json"}) {
		t.Errorf("read-only %q, want token.json", back.Pull.ReadOnly)
	}
	if len(back.Commit.Refused) != 1 || back.Commit.Refused[0].Path != "token.json" {
		t.Errorf("refused %+v, want token.json", back.Commit.Refused)
	}
	if e, err := r.stack.Lstat("token.json"); err != nil || !e.Upper {
		t.Errorf("it is not in upper: %+v, %v", e, err)
	}
	for _, p := range slices.Concat(back.Pull.Pulled, back.Commit.Equal) {
		if strings.HasPrefix(p, "config") || strings.HasPrefix(p, "plugins") {
			t.Errorf("%s was looked at", p)
		}
	}
	// The home's owner refreshes it: the sandbox does not win.
	tree{"token.json": "fresh!|0600"}.write(t, r.home)
	r.syncBack()
	r.wantHome(tree{"skills/a": "b", "token.json": "fresh!|0600"})
}

func TestPullReviewLevel(t *testing.T) {
	r := newRig(t, tree{"skills/a": "a", "skills/b": "b"}, func(r *rig) {
		r.access = access.Options{Rules: []access.Rule{{Glob: "skills/**", Level: access.Review}}}
	})
	r.start()
	tree{"skills/a": "new a", "skills/b": "new b", "skills/c/d": "new"}.write(t, r.far)
	back := r.syncBack()
	r.wantHome(tree{"skills/a": "a", "skills/b": "b"})
	if diff := cmp.Diff([]string{"skills/a", "skills/b", "skills/c", "skills/c/d"}, back.Commit.Review); diff != "" {
		t.Errorf("review (-want +got):\n%s", diff)
	}
	if report := r.commit("skills/a", "skills/c", "skills/none"); len(report.Problems) != 1 {
		t.Errorf("problems %+v, want one for skills/none", report.Problems)
	}
	r.wantHome(tree{"skills/a": "new a", "skills/b": "b", "skills/c/d": "new"})
	r.push() // discards nothing: what waits for review is what the sandbox has
	r.wantFar(tree{"skills/a": "new a", "skills/b": "new b", "skills/c/d": "new"})
}

func TestPullOverTheLimit(t *testing.T) {
	r := newRig(t, tree{"a": "1"}, func(r *rig) { r.options.MaxBytes = 100 })
	r.start()
	tree{"a": "2", "big": strings.Repeat("x", 1000), "small": "s"}.write(t, r.far)
	back := r.syncBack()
	if len(back.Pull.Problems) != 1 || back.Pull.Problems[0].Path != "big" {
		t.Errorf("problems %+v, want one for big", back.Pull.Problems)
	}
	r.wantHome(tree{"a": "2", "small": "s"})
}

func TestPullCheckpoints(t *testing.T) {
	r := newRig(t, tree{"a": "1"})
	r.start()
	for i := 2; i < 5; i++ {
		tree{"a": fmt.Sprint(i), "b": fmt.Sprint(i)}.write(t, r.far)
		pull := r.pull()
		if len(pull.Conflicts) > 0 || len(pull.Pulled) != 2 {
			t.Errorf("pull %d: %+v", i, pull)
		}
		if p := r.push(); len(p.Pushed)+len(p.Refused) > 0 {
			t.Errorf("push after pull %d: %+v", i, p)
		}
	}
	r.wantHome(tree{"a": "1"})
	r.commit()
	r.wantHome(tree{"a": "4", "b": "4"})
	if p := r.push(); len(p.Pushed) > 0 {
		t.Errorf("push after the commit: %+v", p)
	}
}

func TestPullLeavesNothingStagedBehind(t *testing.T) {
	r := newRig(t, tree{"a": "1"})
	r.start()
	tree{"a": "2", "b": "new"}.write(t, r.far)
	r.options.Fail = func(point string) error {
		if point == "pull-fetched" {
			return errors.New("stop here")
		}
		return nil
	}
	r.remount()
	if _, err := r.Pull(ctx); !errors.Is(err, ErrIncomplete) {
		t.Fatalf("Pull = %v", err)
	}
	left, err := os.ReadDir(filepath.Join(r.state, "work", "stage"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%d staged files were left", len(left))
	}
}
