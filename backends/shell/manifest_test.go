package shell

import (
	"crypto/sha256"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hermesfs/backends"
)

// list is the manifest as a map.
func (b *box) list(scope backends.Scope) (map[string]backends.Entry, []backends.Problem) {
	b.t.Helper()
	got := map[string]backends.Entry{}
	problems, err := b.Manifest(b.t.Context(), scope, func(e backends.Entry) error {
		if _, ok := got[e.Path]; ok {
			b.t.Errorf("%q is listed twice", e.Path)
		}
		if dir := parentOf(e.Path); e.Path != "." && dir != "." {
			if _, ok := got[dir]; !ok && !contains(scope.Roots, e.Path) {
				b.t.Errorf("%q is listed before its directory", e.Path)
			}
		}
		got[e.Path] = e
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return got, problems
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// truth is what lstat says, without our own directory.
func (b *box) truth() map[string]backends.Entry {
	b.t.Helper()
	want := map[string]backends.Entry{}
	err := filepath.WalkDir(b.home, func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(b.home, path)
		if rel == ".hermesfs" {
			return filepath.SkipDir
		}
		want[rel] = b.lstat(rel)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return want
}

func (b *box) lstat(rel string) backends.Entry {
	b.t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(b.path(rel), &st); err != nil {
		b.t.Fatal(err)
	}
	e := backends.Entry{
		Path: rel, Mode: st.Mode & 0o7777, Kind: kindOfMode(uint64(st.Mode)), Ino: st.Ino,
		Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}
	switch e.Kind {
	case backends.File:
		e.Size = st.Size
	case backends.Symlink:
		e.Target, _ = os.Readlink(b.path(rel))
	}
	return e
}

func TestHelloAndClaim(t *testing.T) {
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			env, sh := f.tools(t, t.TempDir())
			b := newBox(t, rig{env: env, sh: sh, probe: f.probe})
			h, err := b.Hello(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if h.Home != b.home || h.Exists || h.Marker != "" {
				t.Errorf("Hello = %+v, want home %s that is missing", h, b.home)
			}
			if f.want != "" && h.Probe != f.want {
				t.Errorf("probe = %q, want %q", h.Probe, f.want)
			}
			if err := os.Chmod(filepath.Dir(b.home), 0o775); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"first", "it's $(id) \xff"} {
				if err := b.Claim(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				again, err := New(b.tr, Options{Probe: h.Probe}).Hello(t.Context())
				if err != nil || again != (backends.Hello{Home: b.home, Exists: true, Marker: id, Probe: h.Probe}) {
					t.Errorf("Hello after Claim(%q) = %+v, %v", id, again, err)
				}
			}
			for rel, want := range map[string]iofs.FileMode{"..": 0o775, ".": 0o700, ".hermesfs": 0o700, ".hermesfs/tmp": 0o700, ".hermesfs/id": 0o600} {
				info, err := os.Lstat(b.path(rel))
				if err != nil || info.Mode().Perm() != want {
					t.Errorf("mode of %s = %v, %v, want %v", rel, info.Mode(), err, want)
				}
			}
			// The mode of a home that is there is its owner's business.
			if err := os.Chmod(b.home, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := b.Claim(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			if info, _ := os.Stat(b.home); info.Mode().Perm() != 0o755 {
				t.Errorf("Claim changed the mode of the home to %v", info.Mode())
			}
		})
	}
}

func TestClaimSweepsWhatAKilledScriptLeft(t *testing.T) {
	b := gnuBox(t)
	name := b.mount
	for _, d := range []string{name + ".0a0b0c.0d.4194999", name + ".0a0b0c.0d." + fmt.Sprint(os.Getpid()), "other.0a0b0c.0d.4194999", name + "." + b.instance + ".0d.4194999"} {
		b.write(".hermesfs/tmp/"+d+"/f", "x")
	}
	if err := b.Claim(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(b.path(".hermesfs/tmp"))
	if err != nil || len(entries) != 3 {
		t.Errorf("left: %v, %v, want those of a living process, of another mount and of ourselves", entries, err)
	}
	for _, e := range entries {
		if e.Name() == name+".0a0b0c.0d.4194999" {
			t.Errorf("%s was not swept", e.Name())
		}
		if err := os.RemoveAll(b.path(".hermesfs/tmp/" + e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManifestIsTheTruth(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		for i, name := range awkwardNames() {
			b.write("names/"+name, strings.Repeat("x", i))
			b.write("dirs/"+name+"/f", "")
			b.symlink(name, "links/"+name)
		}
		b.symlink("end\n", "links/newline at the end of its target")
		b.symlink("/etc/passwd", "abs")
		b.mkdir("empty")
		if err := syscall.Mkfifo(b.path("fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(b.path("empty"), 0o1751); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b.path("odd"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(b.path("odd"), os.ModeSetuid|0o741); err != nil {
			t.Fatal(err)
		}
		if err := syscall.UtimesNano(b.path("odd"), []syscall.Timespec{{Sec: 1}, {Sec: 1e9, Nsec: 1}}); err != nil {
			t.Fatal(err)
		}
		got, problems := b.list(backends.Scope{Roots: []string{"."}})
		if len(problems) != 0 {
			t.Errorf("problems: %v", problems)
		}
		if diff := cmp.Diff(b.truth(), got); diff != "" {
			t.Errorf("manifest against lstat (-want +got):\n%.4000s", diff)
		}
	})
}

func TestManifestScope(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		for _, f := range []string{
			"skills/a/SKILL.md", "skills/a/.git/config", "skills/.hub/x", "skills/a*b/keep", "skills/aXb/keep", "skills/a[1]/gone", "skills/a1/keep",
			"cache/documents/d", "cache/secret", "cache/documents/node_modules/m", "out", "deep/er/f",
		} {
			b.write(f, f)
		}
		b.write("skills/x/.git", "gitdir: a file of that name is no directory")
		b.symlink("../out", "linked")
		b.symlink("cache", "via")
		got, problems := b.list(backends.Scope{
			Roots:      []string{"skills", "cache/documents", "missing", "miss/ing", "deep/er/f", "deep", "via/documents", "out/x", "linked"},
			PrunePaths: []string{"skills/.hub", "skills/a[1]"},
			PruneNames: []string{".git", "node_modules", "a?c"},
		})
		want := []string{
			"cache/documents", "cache/documents/d", "deep", "deep/er", "deep/er/f", "linked", "skills", "skills/a", "skills/a*b", "skills/a*b/keep",
			"skills/a/SKILL.md", "skills/a1", "skills/a1/keep", "skills/aXb", "skills/aXb/keep", "skills/x", "skills/x/.git",
		}
		if diff := cmp.Diff(want, keys(got)); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		var unknown []string
		for _, p := range problems {
			unknown = append(unknown, p.Path)
		}
		if diff := cmp.Diff([]string{"out", "via"}, unknown); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	})
}

func keys[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	sort.Strings(list)
	return list
}

func TestManifestManyRoots(t *testing.T) {
	b := gnuBox(t)
	var roots []string
	for i := range 3000 {
		name := fmt.Sprintf("%s/%d", strings.Repeat("long", 20), i)
		b.write(name, "")
		roots = append(roots, name)
	}
	got, _ := b.list(backends.Scope{Roots: roots})
	if len(got) != len(roots) {
		t.Errorf("got %d paths, want %d", len(got), len(roots))
	}
}

func TestHash(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		want := map[string][32]byte{}
		var paths []string
		add := func(rel, content string) {
			b.write(rel, content)
			want[rel] = sha256.Sum256([]byte(content))
			paths = append(paths, rel)
		}
		for i := range 700 {
			add(fmt.Sprintf("plain/%d", i), fmt.Sprint(i))
		}
		for _, name := range awkwardNames() {
			add("names/"+name, "content of "+name)
		}
		add("empty", "")
		b.mkdir("dir")
		b.symlink("plain/1", "link")
		b.symlink("plain", "linked")
		if err := syscall.Mkfifo(b.path("fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, "missing", "dir", "link", "fifo", "linked/1", "no/such", "empty/below")
		got, err := b.Hash(t.Context(), paths)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("hashes (-want +got):\n%.3000s", diff)
		}
	})
}
