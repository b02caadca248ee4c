package layer

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
)

// layers are directories for a Stack, which a test opens as often as it likes.
type layers struct {
	t   *testing.T
	dir string
	pol *access.Policy
}

func newLayers(t *testing.T, rules ...access.Rule) *layers {
	t.Helper()
	pol, err := access.New(access.Options{Preset: "all", Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	l := &layers{t: t, dir: t.TempDir(), pol: pol}
	if err := os.Mkdir(l.lower(), 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *layers) lower(parts ...string) string {
	return filepath.Join(append([]string{l.dir, "lower"}, parts...)...)
}

func (l *layers) write(path, data string) {
	l.t.Helper()
	path = l.lower(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *layers) open() *Stack {
	l.t.Helper()
	s, err := Open(Options{Lower: l.lower(), Upper: filepath.Join(l.dir, "upper"), Work: filepath.Join(l.dir, "work"), Policy: l.pol})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return s
}

func (l *layers) put(s *Stack, path, data string) {
	l.t.Helper()
	st, err := s.Stage()
	if err != nil {
		l.t.Fatal(err)
	}
	defer st.Abort()
	if _, err := io.WriteString(st, data); err != nil {
		l.t.Fatal(err)
	}
	if err := s.Put(Put{Path: path, Kind: File, Mode: 0o644, Mtime: 1e18, Staged: st}); err != nil {
		l.t.Fatal(err)
	}
}

// merged is the view as paths with their contents.
func merged(t *testing.T, s *Stack) []string {
	t.Helper()
	var out []string
	err := s.Walk(t.Context(), func(e Entry) error {
		line := e.Path
		switch e.Kind {
		case Dir:
			line += "/"
		case Symlink:
			line += " -> " + e.Target
		case File:
			f, _, err := s.OpenFile(e.Path)
			if err != nil {
				return err
			}
			defer f.Close()
			data, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			line += "=" + string(data)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// changed is what upper changes: "-" deleted, "+" there is no origin, "~" there is one.
func changed(t *testing.T, s *Stack) []string {
	t.Helper()
	var out []string
	err := s.Changes(t.Context(), func(c Change) error {
		mark := "+"
		if c.Origin.Kind != 0 {
			mark = "~"
		}
		if c.Kind == 0 {
			mark += "-"
		}
		out = append(out, mark+c.Path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestPutRemoveDrop(t *testing.T) {
	l := newLayers(t)
	l.write("a/f", "lower f")
	l.write("a/g", "lower g")
	l.write("b/x", "lower x")
	s := l.open()
	l.put(s, "a/f", "upper f")
	l.put(s, "new/dir/n", "n")
	for _, path := range []string{"a/g", "b/x", "b"} {
		if err := s.Remove(path, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(Put{Path: "link", Kind: Symlink, Target: "a/f"}); err != nil {
		t.Fatal(err)
	}
	want(t, "view", merged(t, s), "a/", "a/f=upper f", "link -> a/f", "new/", "new/dir/", "new/dir/n=n")
	want(t, "changes", changed(t, s), "~a", "~a/f", "~-a/g", "~-b/x", "~-b", "+link", "+new", "+new/dir", "+new/dir/n")

	// It is all there after a restart.
	s2 := l.open()
	want(t, "changes after a restart", changed(t, s2), "~a", "~a/f", "~-a/g", "~-b/x", "~-b", "+link", "+new", "+new/dir", "+new/dir/n")

	e, err := s2.Lstat("a/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := s2.Drop("a/f", Identity{Ino: 1}); !errors.Is(err, ErrChanged) {
		t.Errorf("drop of another file: %v, want ErrChanged", err)
	}
	if err := s2.Drop("a/f", Identity{}); !errors.Is(err, ErrChanged) {
		t.Errorf("drop of a file as a whiteout: %v, want ErrChanged", err)
	}
	if err := s2.Drop("a/f", e.Identity); err != nil {
		t.Error(err)
	}
	if err := s2.Drop("b", Identity{}); err != nil {
		t.Error(err)
	}
	want(t, "view after drops", merged(t, s2), "a/", "a/f=lower f", "b/", "b/x=lower x", "link -> a/f", "new/", "new/dir/", "new/dir/n=n")
	if _, ok := s2.origins.get("a/f"); ok {
		t.Error("the origin of a dropped path is still there")
	}
}

func TestRemoveRefuses(t *testing.T) {
	l := newLayers(t)
	l.write("d/f", "f")
	s := l.open()
	if err := s.Remove("d", nil); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("remove of a directory with a file = %v, want ENOTEMPTY", err)
	}
	if err := s.Remove("nothing", nil); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("remove of nothing = %v, want not exist", err)
	}
	for _, path := range []string{"", ".", "..", "d/../d/f", "/d/f", "d//f"} {
		if err := s.Put(Put{Path: path, Kind: Dir, Mode: 0o755}); err == nil {
			t.Errorf("put %q went through", path)
		}
		if err := s.Remove(path, nil); err == nil {
			t.Errorf("remove %q went through", path)
		}
	}
	for _, path := range []string{".sync.lock", "d/.hermesfs-x"} {
		if err := s.Put(Put{Path: path, Kind: Dir, Mode: 0o755}); !errors.Is(err, iofs.ErrPermission) {
			t.Errorf("put %q = %v, want permission denied", path, err)
		}
	}
	if err := s.Put(Put{Path: "d", Kind: Symlink, Target: "x"}); !errors.Is(err, unix.EISDIR) {
		t.Errorf("put over a directory = %v, want EISDIR", err)
	}
	want(t, "changes", changed(t, s))
}

// A directory that is deleted and made again does not bring back what was in it, at any depth, and
// the deletions are still known.
func TestOpaque(t *testing.T) {
	l := newLayers(t)
	l.write("d/sub/f", "f")
	l.write("d/g", "g")
	s := l.open()
	for _, path := range []string{"d/sub/f", "d/sub", "d/g", "d"} {
		if err := s.Remove(path, nil); err != nil {
			t.Fatal(err)
		}
	}
	l.put(s, "d/sub/new", "new")
	want(t, "view", merged(t, s), "d/", "d/sub/", "d/sub/new=new")
	want(t, "changes", changed(t, s), "~d", "~-d/g", "~d/sub", "~-d/sub/f", "+d/sub/new")
	// What the host makes there meanwhile was not seen by who deleted: it has no origin.
	l.write("d/host", "host")
	want(t, "changes", changed(t, s), "~d", "~-d/g", "+-d/host", "~d/sub", "~-d/sub/f", "+d/sub/new")
}

func TestOriginIsTheFirst(t *testing.T) {
	l := newLayers(t)
	l.write("f", "one")
	s := l.open()
	base := Origin{Kind: File, Mode: 0o600, Identity: Identity{Ino: 7, Size: 3}, SHA256: [32]byte{1}}
	st, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(Put{Path: "f", Kind: File, Mode: 0o644, Staged: st, Origin: &base}); err != nil {
		t.Fatal(err)
	}
	l.put(s, "f", "again")
	if err := s.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	if got, ok := l.open().origins.get("f"); !ok || got != base {
		t.Errorf("origin = %+v, %v; want %+v", got, ok, base)
	}
}

func TestNoneIsNotEntered(t *testing.T) {
	l := newLayers(t, access.Rule{Glob: "secret/**", Level: access.None})
	l.write("secret/f", "f")
	l.write("open/f", "f")
	if err := os.Chmod(l.lower("secret"), 0); err != nil { // whoever enters it fails, but for root
		t.Fatal(err)
	}
	if err := unix.Mkfifo(l.lower("open/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := l.open()
	want(t, "view", merged(t, s), "open/", "open/f=f")
	if _, _, err := s.OpenFile("secret/f"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("open secret/f = %v, want not exist", err)
	}
	// What stands in upper under a hidden name is upper's alone.
	l.put(s, "secret/mine", "mine")
	want(t, "view", merged(t, s), "open/", "open/f=f")
	want(t, "changes", changed(t, s), "+secret", "+secret/mine")
	var dirs []string
	if err := s.LowerDirs(t.Context(), ".", func(path string, _ int) error { dirs = append(dirs, path); return nil }); err != nil {
		t.Fatal(err)
	}
	want(t, "lower directories", dirs, ".", "open")
}

// Where whiteouts cannot be devices they are files with a mark, and everything else is the same.
func TestXWhiteouts(t *testing.T) {
	l := newLayers(t)
	l.write("d/f", "f")
	l.write("d/empty", "")
	if err := os.MkdirAll(filepath.Join(l.dir, "work"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"version":%d,"prefix":"user.overlay.","xwhiteout":true}`, formatVersion)
	if err := os.WriteFile(filepath.Join(l.dir, "work", formatName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := l.open()
	if err := s.Remove("d/f", nil); err != nil {
		t.Fatal(err)
	}
	l.put(s, "d/empty2", "")
	want(t, "view", merged(t, s), "d/", "d/empty=", "d/empty2=")
	want(t, "changes", changed(t, s), "~d", "+d/empty2", "~-d/f")
	l.put(s, "d/f", "again")
	want(t, "view", merged(t, s), "d/", "d/empty=", "d/empty2=", "d/f=again")
	st, err := os.Lstat(filepath.Join(l.dir, "upper/d/f"))
	if err != nil || !st.Mode().IsRegular() {
		t.Errorf("upper d/f = %v, %v", st, err)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	l := newLayers(t)
	if err := os.MkdirAll(filepath.Join(l.dir, "work"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{formatName: `{"version":99}`, originsName: "hermesfs-origins 99\n"} {
		path := filepath.Join(l.dir, "work", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Options{Lower: l.lower(), Upper: filepath.Join(l.dir, "upper"), Work: filepath.Join(l.dir, "work"), Policy: l.pol})
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "99") {
			t.Errorf("%s of format 99: %v, want ErrFormat that names it", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A torn record at the end of the log is cut off; what came before it counts.
func TestTornOrigins(t *testing.T) {
	l := newLayers(t)
	s := l.open()
	var sizes []int64
	for i := range 20 {
		if err := s.origins.set(fmt.Sprintf("p%d", i), Origin{Kind: File, Identity: Identity{Size: int64(i)}}); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(l.dir, "work", originsName))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, st.Size())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.dir, "work", originsName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut >= 0; cut -= 7 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := l.open()
		n, _ := slices.BinarySearch(sizes, int64(cut)+1)
		if got := len(s.origins.byPath); got != n {
			t.Errorf("cut at %d: %d origins, want %d", cut, got, n)
		}
		if err := s.origins.set("after", Origin{Kind: Dir}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, ok := l.open().origins.get("after"); !ok {
			t.Errorf("cut at %d: a record written after is not there", cut)
		}
	}
}

func TestOriginsAreCompacted(t *testing.T) {
	l := newLayers(t)
	s := l.open()
	for i := range 3000 {
		if err := s.origins.set("same", Origin{Kind: File, Identity: Identity{Size: int64(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = l.open()
	if got, ok := s.origins.get("same"); !ok || got.Size != 2999 || s.origins.records != 1 {
		t.Errorf("after compaction: %+v, %v, %d records", got, ok, s.origins.records)
	}
	if err := s.origins.set("other", Origin{Kind: Dir}); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.open().origins.get("other"); !ok {
		t.Error("a record written after compaction is not there")
	}
}

func TestStagedFilesAreSwept(t *testing.T) {
	l := newLayers(t)
	s := l.open()
	if _, err := s.Stage(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.open()
	ents, err := os.ReadDir(filepath.Join(l.dir, "work", "stage"))
	if err != nil || len(ents) != 0 {
		t.Errorf("staged files after a restart: %v, %v", ents, err)
	}
}

func FuzzDecodeOrigin(f *testing.F) {
	for _, o := range []Origin{{}, {Kind: File, Mode: 0o644, Identity: Identity{1, 2, 3, -4, 5}}, {Kind: Symlink, SHA256: [32]byte{1}}} {
		f.Add(appendRecord(nil, "a/b", o, true)[8:])
		f.Add(appendRecord(nil, "a/b", o, false)[8:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path, o, set, ok := decodeOrigin(b)
		if !ok {
			return
		}
		path2, o2, set2, ok2 := decodeOrigin(appendRecord(nil, path, o, set)[8:])
		if !ok2 || path2 != path || o2 != o || set2 != set {
			t.Errorf("%q %+v %v came back as %q %+v %v %v", path, o, set, path2, o2, set2, ok2)
		}
	})
}
