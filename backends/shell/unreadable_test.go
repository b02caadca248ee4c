package shell

import (
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hermesfs/backends"
)

const nobody = 65534

// unprivileged is a sandbox whose scripts run as nobody where the test runs as root: for root
// everything can be read.
func unprivileged(t *testing.T, fn func(t *testing.T, b *box)) {
	t.Helper()
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			bin := openTemp(t)
			env, sh := f.tools(t, bin)
			if os.Geteuid() == 0 {
				setpriv := lookPath(t, "root", "setpriv")
				wrapper := filepath.Join(bin, "as-nobody")
				text := "#!/bin/sh\nexec " + setpriv + " --reuid=65534 --regid=65534 --clear-groups " + sh + " \"$@\"\n"
				if err := os.WriteFile(wrapper, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
				sh = wrapper
			}
			b := boxAt(t, openTemp(t), rig{name: f.name, env: env, sh: sh, probe: f.probe})
			b.claim()
			fn(t, b)
		})
	}
}

// openTemp is a temporary directory that anyone can reach.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hermesfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = osexec.Command("chmod", "-R", "u+rwx", dir).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// give hands all of the home to nobody, then sets modes.
func (b *box) give(modes map[string]os.FileMode) {
	b.t.Helper()
	if os.Geteuid() == 0 {
		if out, err := osexec.Command("chown", "-R", "65534:65534", b.home).CombinedOutput(); err != nil {
			b.t.Fatalf("%v: %s", err, out)
		}
	}
	for rel := range modes {
		if err := os.Chmod(b.path(rel), modes[rel]); err != nil {
			b.t.Fatal(err)
		}
	}
}

func problemPaths(problems []backends.Problem) []string {
	var paths []string
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	return sorted(paths)
}

func TestWhatCannotBeRead(t *testing.T) {
	unprivileged(t, func(t *testing.T, b *box) {
		for _, rel := range []string{"open/f", "closed\ndir/f", "nosearch/f", "noread/f", "deep/closed/below/f", "readonly/f", "secret"} {
			b.write(rel, "content")
		}
		b.give(map[string]os.FileMode{
			"closed\ndir": 0, "nosearch": 0o644, "noread": 0o311, "deep/closed": 0, "readonly": 0o555, "secret": 0o200,
		})
		unknown := []string{"closed\ndir", "deep/closed", "noread", "nosearch"}
		got, problems := b.list(backends.Scope{Roots: []string{"."}})
		if diff := cmp.Diff([]string{".", "closed\ndir", "deep", "deep/closed", "noread", "nosearch", "open", "open/f", "readonly", "readonly/f", "secret"}, keys(got)); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(unknown, problemPaths(problems)); diff != "" {
			t.Errorf("manifest's problems (-want +got):\n%s", diff)
		}
		// A root behind what cannot be searched is not missing: nothing is known of it.
		_, problems = b.list(backends.Scope{Roots: []string{"deep/closed/below", "nosearch/f", "open/missing"}})
		if diff := cmp.Diff([]string{"deep/closed", "nosearch"}, problemPaths(problems)); diff != "" {
			t.Errorf("problems of roots (-want +got):\n%s", diff)
		}

		sums, err := b.Hash(t.Context(), []string{"open/f", "secret", "nosearch/f", "noread/f", "deep/closed/below/f"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"noread/f", "open/f"}, keys(sums)); diff != "" {
			t.Errorf("hashes (-want +got):\n%s", diff)
		}

		files, problems, err := b.fetch(b.Sandbox, []string{"open/f", "secret", "nosearch/f", "noread/f", "deep/closed/below/f", "readonly/f"}, backends.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"noread/f", "open/f", "readonly/f"}, keys(files)); diff != "" {
			t.Errorf("fetched (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"deep/closed/below/f", "nosearch/f", "secret"}, problemPaths(problems)); diff != "" {
			t.Errorf("fetch's problems (-want +got):\n%s", diff)
		}

		r := b.push(&backends.Batch{
			Deletes: []backends.Delete{{Path: "readonly/f"}},
			Puts: []backends.Put{
				file("readonly/new", "new"), file("deep/closed/new", "new"), file("open/new", "new"), directory("open/d", 0o555), file("open/d/f", "new"),
				file("open/f", "new"), file("secret", "new"), directory("readonly/d", 0o755), file("readonly/e/f", "new"),
			},
		})
		var done []string
		for _, d := range r.Done {
			done = append(done, d.Path)
		}
		if diff := cmp.Diff([]string{"open/d", "open/d/f", "open/f", "open/new", "secret"}, sorted(done)); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"deep/closed/new", "readonly/d", "readonly/e/f", "readonly/f", "readonly/new"}, problemPaths(r.Problems)); diff != "" {
			t.Errorf("push's problems (-want +got):\n%s", diff)
		}
		for _, p := range r.Problems {
			if errors.Is(p.Err, errNoAnswer) {
				t.Errorf("%s: %v", p.Path, p.Err)
			}
		}
	})
}
