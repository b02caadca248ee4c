package syncer

import (
	"fmt"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wantHome compares the home with what it should be, and that nothing of hermesfs was left in it.
func (r *rig) wantHome(want tree) { r.t.Helper(); wantTree(r.t, "home", r.home, want) }

// wantFar compares the sandbox.
func (r *rig) wantFar(want tree) { r.t.Helper(); wantTree(r.t, "sandbox", r.far, want) }

func wantTree(t *testing.T, what, dir string, want tree) {
	t.Helper()
	got := readTree(t, dir)
	delete(got, ".sync.lock")
	delete(got, ".hermesfs/")
	for p := range got {
		if strings.HasPrefix(p, ".hermesfs/") {
			delete(got, p)
		}
	}
	for p := range want {
		for d := filepath.Dir(strings.TrimSuffix(p, "/")); d != "."; d = filepath.Dir(d) {
			if _, ok := want[d+"/"]; !ok {
				delete(got, d+"/") // implied
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if w, ok := want[p]; !ok {
			t.Errorf("%s has %q = %q, which it should not", what, p, got[p])
		} else if w != got[p] {
			t.Errorf("%s has %q = %q, want %q", what, p, got[p], w)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[p]; !ok {
			t.Errorf("%s lacks %q", what, p)
		}
	}
}

// A tree is files by path: the value is the content, with "|0755" behind it where the mode is not
// 0644; a path that ends in / is a directory, a value that begins with -> a symlink.
type tree map[string]string

func (tr tree) write(t *testing.T, dir string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		v, full := tr[p], filepath.Join(dir, p)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		if strings.HasSuffix(p, "/") {
			must(t, os.MkdirAll(full, 0o755))
			continue
		}
		if target, ok := strings.CutPrefix(v, "->"); ok {
			_ = os.Remove(full)
			must(t, os.Symlink(target, full))
			continue
		}
		mode := os.FileMode(0o644)
		if i := strings.LastIndexByte(v, '|'); i >= 0 {
			var m uint32
			_, err := fmt.Sscanf(v[i+1:], "%o", &m)
			must(t, err)
			v, mode = v[:i], os.FileMode(m)
		}
		must(t, os.WriteFile(full, []byte(v), 0o600))
		must(t, os.Chmod(full, mode))
	}
}

func readTree(t *testing.T, dir string) tree {
	t.Helper()
	out := tree{}
	must(t, filepath.WalkDir(dir, func(full string, d iofs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		p, _ := filepath.Rel(dir, full)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[p+"/"] = ""
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(full)
			out[p] = "->" + target
			return err
		case info.Mode().IsRegular():
			b, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			out[p] = string(b)
			if m := info.Mode().Perm(); m != 0o644 {
				out[p] += fmt.Sprintf("|%04o", m)
			}
		default:
			out[p] = info.Mode().Type().String()
		}
		return nil
	}))
	return out
}
