package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/backends"
	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

func TestPushFirst(t *testing.T) {
	home := tree{"skills/a.md": "a", "skills/run": "#!|0755", "skills/l": "->a.md", "skills/empty/": "", "x\n -y'\"": "odd", "z": ""}
	r := newRig(t, home)
	r.start()
	r.wantFar(home)
	if got := statOf(t, filepath.Join(r.far, "skills/a.md")).Mtim; got != statOf(t, filepath.Join(r.home, "skills/a.md")).Mtim {
		t.Error("the mtime did not come along")
	}
	if p := r.push(); len(p.Pushed) > 0 {
		t.Errorf("a second push sends %q", p.Pushed)
	}
	if n := r.sandbox.count("push"); n != 1 {
		t.Errorf("the sandbox was pushed to %d times, want once", n)
	}
}

func TestPushOnlyWhatAccessShows(t *testing.T) {
	r := newRig(t, tree{"skills/a": "a", ".env": "secret", "state.db": "db", "token.json": "t", "cache/documents/d": "d"}, func(r *rig) {
		r.access = access.Options{CredentialFiles: []string{"token.json"}}
	})
	r.start()
	r.wantFar(tree{"skills/a": "a", "token.json": "t", "cache/documents/d": "d"})
}

// A file that is changed within a clock tick of its hashing, with size and mtime as they were, is
// pushed all the same.
func TestPushSeesARacyEdit(t *testing.T) {
	r := newRig(t, tree{"a": "aaaa"})
	full := filepath.Join(r.home, "a")
	for i := range 20 {
		st := statOf(t, full)
		must(t, os.WriteFile(full, fmt.Appendf(nil, "%04d", i), 0o644))
		r.start()
		must(t, os.WriteFile(full, fmt.Appendf(nil, "%04d", i+5000), 0o644))
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{st.Mtim, st.Mtim}, 0))
		r.push()
		r.wantFar(tree{"a": fmt.Sprintf("%04d", i+5000)})
	}
}

func TestPushTouchedFileIsNotSent(t *testing.T) {
	r := newRig(t, tree{"a": "aaaa"})
	r.start()
	must(t, os.Chtimes(filepath.Join(r.home, "a"), time.Time{}, time.Now().Add(-time.Hour)))
	if p := r.push(); len(p.Pushed) > 0 {
		t.Errorf("a touched file was sent: %+v", p)
	}
}

func TestPushFailureIsAllOrNothing(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "1"})
	r.start()
	tree{"a": "2", "b": "2"}.write(t, r.home)
	r.sandbox.fail = func(op string) error { return transient(op) }
	if _, err := r.Push(ctx); !backends.IsTransient(err) {
		t.Fatalf("Push = %v, want the transport's error", err)
	}
	for _, p := range []string{"a", "b"} {
		if b, _, _ := r.journal.Base(p); b.SHA256 != sha("1") {
			t.Errorf("base of %s moved though the push failed", p)
		}
	}
	r.sandbox.fail = nil
	r.push()
	r.wantFar(tree{"a": "2", "b": "2"})
}

func TestPushDoesNotClobberAnEditOfTheSandbox(t *testing.T) {
	for _, tc := range []struct {
		name   string
		home   func(t *testing.T, home string)
		policy Policy
		want   tree
	}{
		{"edit against edit", func(t *testing.T, home string) { tree{"a": "ours"}.write(t, home) }, Theirs, tree{"a": "theirs"}},
		{"edit against edit, ours", func(t *testing.T, home string) { tree{"a": "ours"}.write(t, home) }, Ours, tree{"a": "ours"}},
		{"delete against edit", func(t *testing.T, home string) { must(t, os.Remove(filepath.Join(home, "a"))) }, Theirs, tree{"a": "theirs"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tree{"a": "base"}, func(r *rig) { r.options.Conflict = tc.policy })
			r.start()
			tree{"a": "theirs"}.write(t, r.far)
			tc.home(t, r.home)
			p := r.push()
			if !slices.Equal(p.Refused, []string{"a"}) {
				t.Errorf("refused %q, want a", p.Refused)
			}
			r.wantFar(tree{"a": "theirs"})
			r.syncBack()
			r.wantHome(tc.want)
			r.push()
			r.wantFar(tc.want)
			for _, v := range []string{"ours", "theirs"} {
				if tc.want["a"] != v && tc.name != "delete against edit" && !slices.Contains(r.allObjects(), v) {
					t.Errorf("%q is nowhere", v)
				}
			}
		})
	}
}

func TestDeletedBetweenMountsIsNotResurrected(t *testing.T) {
	r := newRig(t, tree{"skills/old/SKILL.md": "old", "skills/new/SKILL.md": "new"})
	r.start()
	must(t, os.RemoveAll(filepath.Join(r.home, "skills/old")))
	r.remount()
	r.start()
	r.wantFar(tree{"skills/new/SKILL.md": "new"})
	r.syncBack()
	r.wantHome(tree{"skills/new/SKILL.md": "new"})
	// And not when sync back comes before the push either.
	must(t, os.RemoveAll(filepath.Join(r.home, "skills/new")))
	tree{"x": "x"}.write(t, r.home)
	r.remount()
	_, err := r.Attach(ctx)
	must(t, err)
	r.syncBack()
	r.wantHome(tree{"skills/": "", "x": "x"})
}

func TestAttachAdoptsAndLeavesForeignAlone(t *testing.T) {
	r := newRig(t, tree{"same": "s", "differs": "ours", "dir/in": "1"})
	tree{"same": "s", "differs": "theirs!", "foreign/file": "f", "dir/other": "o"}.write(t, r.far)
	report, err := r.Attach(ctx)
	must(t, err)
	if !report.Fresh || report.Replaced || report.Adopted != 1 || len(report.Preimages) != 1 {
		t.Errorf("attach: %+v", report)
	}
	if got := r.object(report.Preimages[0].Object); got != "theirs!" {
		t.Errorf("kept %q of the sandbox, want its version of differs", got)
	}
	p := r.push()
	if slices.Contains(p.Pushed, "same") {
		t.Error("an equal file was pushed")
	}
	far := tree{"same": "s", "differs": "ours", "foreign/file": "f", "dir/in": "1", "dir/other": "o"}
	r.wantFar(far)
	// Nobody changed them: they never come home.
	r.syncBack()
	r.wantHome(tree{"same": "s", "differs": "ours", "dir/in": "1"})
	// Changed and made ones do, with the directories above.
	tree{"foreign/file": "edited", "foreign/sub/made": "m"}.write(t, r.far)
	r.syncBack()
	home := tree{"same": "s", "differs": "ours", "dir/in": "1", "foreign/file": "edited", "foreign/sub/made": "m"}
	r.wantHome(home)
	// The home makes what the sandbox has: ours wins, theirs is kept.
	tree{"dir/other": "home's"}.write(t, r.home)
	r.push()
	r.wantFar(tree{"same": "s", "differs": "ours", "dir/in": "1", "foreign/file": "edited", "foreign/sub/made": "m", "dir/other": "home's"})
	if !slices.Contains(r.allObjects(), "o") {
		t.Error("the foreign version was not kept")
	}
}

func TestAttachReplacedSandbox(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "2"})
	r.start()
	r.remount()
	if report, err := r.Attach(ctx); err != nil || report.Fresh {
		t.Fatalf("attach to the same sandbox: %+v, %v", report, err)
	}
	must(t, os.RemoveAll(r.far))
	tree{"a": "1"}.write(t, r.far)
	report, err := r.Attach(ctx)
	must(t, err)
	if !report.Fresh || !report.Replaced || report.Adopted != 1 {
		t.Errorf("attach to another sandbox: %+v", report)
	}
	r.syncBack()
	r.wantHome(tree{"a": "1", "b": "2"})
	r.push()
	r.wantFar(tree{"a": "1", "b": "2"})
}

func TestPullFromAReplacedSandboxDeletesNothing(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "2", "c": "3"})
	r.start()
	must(t, os.RemoveAll(r.far))
	tree{"a": "edited"}.write(t, r.far)
	back := r.syncBack()
	if !back.Pull.Replaced {
		t.Errorf("pull: %+v, want it to see a replaced sandbox", back.Pull)
	}
	r.wantHome(tree{"a": "edited", "b": "2", "c": "3"})
}

func TestPushStopsWhenTheHomeIsGone(t *testing.T) {
	files := tree{}
	for i := range 40 {
		files[fmt.Sprintf("f%d", i)] = "x"
	}
	for _, tc := range []struct {
		name  string
		leave int
		want  error
	}{{"emptied", 0, ErrRootEmptied}, {"most of it", 10, ErrMassDelete}, {"less than half", 25, nil}} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, files)
			r.start()
			for i := range 40 - tc.leave {
				must(t, os.Remove(filepath.Join(r.home, fmt.Sprintf("f%d", i))))
			}
			_, err := r.Push(ctx)
			var stop *StopError
			if !errors.Is(err, tc.want) || errors.As(err, &stop) && stop.Flag != "--allow-deletes" {
				t.Errorf("Push = %v, want %v", err, tc.want)
			}
			if got := len(readTree(t, r.far)); tc.want != nil && got < 40 {
				t.Errorf("the sandbox has %d paths left", got)
			}
			r.options.AllowDeletes = true
			r.remount()
			r.push()
			if _, err := os.Lstat(filepath.Join(r.far, "f0")); err == nil {
				t.Error("it was not deleted with AllowDeletes")
			}
		})
	}
}

// A file that changes whenever it is read is sent, and never recorded wrongly.
func TestPushOfAChangingFile(t *testing.T) {
	r := newRig(t, tree{"log": "0000", "b": "b"})
	_, err := r.Attach(ctx)
	must(t, err)
	n := 0
	r.sandbox.Sandbox = &rewriting{r.sandbox.Sandbox, func() {
		n++
		must(t, os.WriteFile(filepath.Join(r.home, "log"), fmt.Appendf(nil, "%04d", n), 0o644))
	}}
	report := r.push()
	if len(report.Problems) != 1 || report.Problems[0].Path != "log" || n != pushRounds {
		t.Errorf("after %d rounds: %+v, want one problem", n, report)
	}
	far, err := os.ReadFile(filepath.Join(r.far, "log"))
	must(t, err)
	if b, ok, _ := r.journal.Base("log"); ok && b.SHA256 != sha(string(far)) {
		t.Errorf("base has another hash than what the sandbox has, %q", far)
	}
	r.sandbox.Sandbox = r.sandbox.Sandbox.(*rewriting).Sandbox
	r.push()
	r.wantFar(tree{"log": fmt.Sprintf("%04d", n), "b": "b"})
}

// rewriting changes a file of ours each time it has been read to be sent.
type rewriting struct {
	Sandbox
	change func()
}

func (w *rewriting) Push(ctx context.Context, b *backends.Batch) (*backends.PushResult, error) {
	for i, p := range b.Puts {
		if p.Path == "log" {
			b.Puts[i].Open = func() (io.ReadCloser, error) {
				rc, err := p.Open()
				if err != nil {
					return nil, err
				}
				all, err := io.ReadAll(rc)
				w.change()
				return &readThen{bytes.NewReader(all), rc}, err
			}
		}
	}
	return w.Sandbox.Push(ctx, b)
}

type readThen struct {
	io.Reader
	io.Closer
}

func TestSettleKeepsAnEditThatMetACutPush(t *testing.T) {
	r := newRig(t, tree{"a": "base"})
	r.start()
	// A push that was cut before anything was changed, and then the sandbox edits.
	must(t, r.journal.SetPending(map[string]*journal.Base{"a": {Kind: journal.File, SHA256: sha("ours"), Size: 4, Mode: 0o644}}))
	tree{"a": "ours"}.write(t, r.home)
	tree{"a": "edit"}.write(t, r.far)
	back := r.syncBack()
	if len(back.Commit.Conflicts) != 1 {
		t.Errorf("conflicts %+v, want one", back.Commit.Conflicts)
	}
	r.wantHome(tree{"a": "edit"})
	if !slices.Contains(r.allObjects(), "ours") {
		t.Error("ours is nowhere")
	}
}

func TestClean(t *testing.T) {
	id := layer.Identity{Dev: 1, Ino: 2, Size: 3, Mtime: 4e9, Ctime: 5e9}
	base := journal.Base{Kind: journal.File, Ours: ourStat(id), HashedAt: 6e9}
	for _, tc := range []struct {
		name   string
		change func(id *layer.Identity, b *journal.Base)
		want   bool
	}{
		{"the same", func(*layer.Identity, *journal.Base) {}, true},
		{"another inode", func(id *layer.Identity, _ *journal.Base) { id.Ino++ }, false},
		{"another size", func(id *layer.Identity, _ *journal.Base) { id.Size++ }, false},
		{"another mtime", func(id *layer.Identity, _ *journal.Base) { id.Mtime++ }, false},
		{"another ctime, the mtime set back", func(id *layer.Identity, _ *journal.Base) { id.Ctime++ }, false},
		{"hashed within a tick of its change", func(_ *layer.Identity, b *journal.Base) { b.HashedAt = b.Ours.Ctime + 1e6 }, false},
		{"never hashed", func(id *layer.Identity, b *journal.Base) { *id, b.Ours = layer.Identity{}, journal.Stat{} }, false},
		{"no file in base", func(_ *layer.Identity, b *journal.Base) { b.Kind = journal.Symlink }, false},
	} {
		id, b := id, base
		tc.change(&id, &b)
		if got := clean(id, b); got != tc.want {
			t.Errorf("%s: clean = %t, want %t", tc.name, got, tc.want)
		}
	}
}

// A push that was cut when the sandbox had it, and what it brought taken back before the next one.
func TestPushSettlesOneThatWasCut(t *testing.T) {
	armed := true
	r := newRig(t, tree{"a": "A", "gone": "g"}, func(r *rig) {
		r.options.Fail = func(point string) error {
			if point == "push-sent" && !armed {
				armed = true
				return errors.New("cut")
			}
			return nil
		}
	})
	r.start()
	tree{"a": "B", "made": "m"}.write(t, r.home)
	must(t, os.Remove(filepath.Join(r.home, "gone")))
	armed = false
	if _, err := r.Push(ctx); err == nil {
		t.Fatal("Push = nil, want it cut")
	}
	r.wantFar(tree{"a": "B", "made": "m"})
	tree{"a": "A", "gone": "g"}.write(t, r.home)
	must(t, os.Remove(filepath.Join(r.home, "made")))
	if p := r.push(); len(p.Refused)+len(p.Problems) > 0 {
		t.Errorf("refused %q, problems %+v", p.Refused, p.Problems)
	}
	r.wantFar(tree{"a": "A", "gone": "g"})
}
