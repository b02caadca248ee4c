package lint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// each are the rules that look at one file.
var each = map[string]func(*File) []string{
	"Imports": Imports, "ExportedDocs": ExportedDocs, "FileNames": FileNames, "Inits": Inits,
	"Exits": Exits, "ErrorComparisons": ErrorComparisons, "Sleeps": Sleeps, "Logs": Logs,
}

// TestTree holds the module to all rules.
func TestTree(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("%d Go files below %s: is this the module?", len(files), root)
	}
	for name, rule := range each {
		t.Run(name, func(t *testing.T) {
			for _, f := range files {
				for _, finding := range rule(f) {
					t.Error(finding)
				}
			}
		})
	}
	t.Run("PackageDocs", func(t *testing.T) {
		for _, finding := range PackageDocs(files) {
			t.Error(finding)
		}
	})
	t.Run("GoVersion", func(t *testing.T) {
		mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if err := GoVersion(mod); err != nil {
			t.Error(err)
		}
	})
}

// TestRulesFind shows that each rule can fail, and what it lets pass.
func TestRulesFind(t *testing.T) {
	for _, tc := range []struct {
		rule, path, src string
		want            string // in the one finding; "" for none
	}{
		{"Imports", "fs/a.go", `package fs; import syncer "hermesfs/sync"`, "fs must not import hermesfs/sync"},
		{"Imports", "sync/a.go", `package syncer; import "hermesfs/fs"`, "sync must not import hermesfs/fs"},
		{"Imports", "sync/a_test.go", `package syncer; import "hermesfs/fs"`, "sync must not import hermesfs/fs"},
		{"Imports", "sync/a.go", `package syncer; import "hermesfs/backends/ssh"`, "must not import"},
		{"Imports", "sync/a_test.go", `package syncer; import "hermesfs/backends/dir"`, ""},
		{"Imports", "sync/a.go", `package syncer; import ("hermesfs/backends"; "hermesfs/journal"; "hermesfs/fs/layer"; "hermesfs/fs/access")`, ""},
		{"Imports", "journal/a.go", `package journal; import "hermesfs/fs/layer"`, "must not import"},
		{"Imports", "backends/a.go", `package backends; import "hermesfs/backends/shell"`, "must not import"},
		{"Imports", "backends/modal/a.go", `package modal; import "hermesfs/backends/shell"`, ""},
		{"Imports", "backends/modal/a.go", `package modal; import "hermesfs/fs/access"`, "must not import"},
		{"Imports", "fs/access/a.go", `package access; import "hermesfs/fs/layer"`, "must not import"},
		{"Imports", "newthing/a.go", `package newthing; import "hermesfs/journal"`, "must not import"},
		{"Imports", "cmd/hermesfs/a.go", `package main; import ("hermesfs/fs"; syncer "hermesfs/sync")`, ""},
		{"Imports", "integration/a_test.go", `package integration; import "hermesfs/fs"`, ""},
		{"Imports", "fs/a_test.go", `package fs_test; import "hermesfs/fs"`, ""},
		{"Imports", "cmd/hermesfs/a.go", `package main; import "github.com/hanwen/go-fuse/v2/fuse"`, "must not import github.com/hanwen"},
		{"Imports", "integration/a_test.go", `package integration; import "github.com/hanwen/go-fuse/v2/fuse"`, "must not import github.com/hanwen"},
		{"Imports", "fs/layer/a.go", `package layer; import "github.com/hanwen/go-fuse/v2/fuse"`, "must not import github.com/hanwen"},
		{"Imports", "fs/a.go", `package fs; import "github.com/hanwen/go-fuse/v2/fuse"`, ""},
		{"Imports", "cmd/hermesfs/a.go", `package main; import bolt "go.etcd.io/bbolt"`, "must not import go.etcd.io"},
		{"Imports", "sync/a.go", `package syncer; import "pgregory.net/rapid"`, "must not import pgregory.net"},
		{"Imports", "sync/a_test.go", `package syncer; import "pgregory.net/rapid"`, ""},
		{"Imports", "cmd/hermesfs/a.go", `package main; import "hermesfs/sync"`, "import hermesfs/sync as syncer"},
		{"Imports", "fs/a.go", `package fs; import "io/fs"`, "import io/fs as iofs"},
		{"Imports", "fs/a.go", `package fs; import fs2 "github.com/hanwen/go-fuse/v2/fs"`, "as fusefs"},
		{"Imports", "journal/a.go", `package journal; import "go.etcd.io/bbolt"`, "as bolt"},
		{"ExportedDocs", "fs/a.go", "package fs\nfunc Do() {}", "Do has no comment"},
		{"ExportedDocs", "fs/a.go", "package fs\ntype T struct{}", "T has no comment"},
		{"ExportedDocs", "fs/a.go", "package fs\n// Group.\ntype (\nT struct{}\n)", "T has no comment"},
		{"ExportedDocs", "fs/a.go", "package fs\n// T is.\ntype T struct{}\nfunc (*T) M() {}", "M has no comment"},
		{"ExportedDocs", "fs/a.go", "package fs\n// T is.\ntype T[K any] struct{}\nfunc (t *T[K]) M() {}", "M has no comment"},
		{"ExportedDocs", "fs/a.go", "package fs\nvar ErrX error", "ErrX has no comment"},
		{"ExportedDocs", "fs/a.go", "package fs\n// All.\nconst (\nA = 1\nB = 2\n)\n// F.\nfunc F() {}\ntype t struct{}\nfunc (t) M() {}\nvar x, y int", ""},
		{"ExportedDocs", "fs/a_test.go", "package fs\nfunc Do() {}", ""},
		{"FileNames", "fs/utils.go", "package fs", "name the file"},
		{"FileNames", "fs/helpers_test.go", "package fs", "name the file"},
		{"FileNames", "fs/copyup.go", "package fs", ""},
		{"Inits", "fs/a.go", "package fs; func init() {}", "no init"},
		{"Inits", "fs/a.go", "package fs; type t int; func (t) init() {}", ""},
		{"Exits", "fs/a.go", `package fs; import "os"; func f() { os.Exit(1) }`, "os.Exit"},
		{"Exits", "cmd/hermesfs/mount.go", `package main; import "log"; func f() { log.Fatalf("x") }`, "log.Fatalf"},
		{"Exits", "cmd/hermesfs/main.go", `package main; import "os"; func main() { os.Exit(1) }`, ""},
		{"Exits", "fs/a_test.go", `package fs; import "os"; func f() { os.Exit(1) }`, ""},
		{"ErrorComparisons", "fs/a.go", `package fs; func f(err error) bool { return err == ErrGone }`, "compare ErrGone with errors.Is"},
		{"ErrorComparisons", "fs/a.go", `package fs; func f(err error) bool { return journal.ErrGone != err }`, "compare ErrGone"},
		{"ErrorComparisons", "fs/a.go", `package fs; func f(err error) { switch err { case iofs.ErrNotExist: } }`, "compare ErrNotExist"},
		{"ErrorComparisons", "fs/a.go", `package fs; func f(r r) bool { return r.Err == x && ErrGone != nil && r.Errno == 1 && errX == y }`, ""},
		{"Sleeps", "fs/a_test.go", `package fs; import "time"; func f() { time.Sleep(1) }`, "poll with a deadline"},
		{"Sleeps", "fs/a_test.go", `package fs; import "time"; func f() { for !done() {}; time.Sleep(1) }`, "poll with a deadline"},
		{"Sleeps", "fs/a_test.go", `package fs; import "time"; func f() { for !done() { time.Sleep(1) } }`, ""},
		{"Sleeps", "fs/a_test.go", `package fs; import ("testing/synctest"; "time"); func f() { time.Sleep(1) }`, ""},
		{"Sleeps", "fs/a_test.go", `package fs; import "time"; func (slow) Write([]byte) (int, error) { time.Sleep(1); return 0, nil }`, ""},
		{"Sleeps", "fs/a_test.go", `package fs; import "time"; func Write() { time.Sleep(1) }`, "poll with a deadline"},
		{"Sleeps", "fs/a.go", `package fs; import "time"; func f() { time.Sleep(1) }`, ""},
		{"Logs", "fs/a.go", `package fs; func f() { log.Info("Pushed") }`, "lower case"},
		{"Logs", "fs/a.go", `package fs; func f() { o.Log.Warn("pushed %d") }`, "nothing formatted"},
		{"Logs", "fs/a.go", `package fs; func f() { o.Log.Warn("pushed " + x) }`, "one constant"},
		{"Logs", "fs/a.go", `package fs; func f() { slog.ErrorContext(ctx, fmt.Sprint(1)) }`, "one constant"},
		{"Logs", "fs/a.go", `package fs; func f() { s.logger.Info("pushed", "pathCount", 3) }`, `"pathCount" is not snake_case`},
		{"Logs", "fs/a.go", `package fs; func f() { log.Info("pushed", slog.Int("path-count", 3)) }`, `"path-count" is not snake_case`},
		{"Logs", "fs/a.go", `package fs; func f() { log.With("Mount", 1).Info("pushed") }`, `"Mount" is not snake_case`},
		{"Logs", "fs/a.go", `package fs; func f() { log.Info("pushed", "paths", "Three", slog.Int("bytes", 3), "last_path", p); t.Error("Upper"); log.Enabled() }`, ""},
	} {
		f, err := Parse(tc.path, tc.path, tc.src)
		if err != nil {
			t.Fatalf("%s: %v", tc.src, err)
		}
		switch found := each[tc.rule](f); {
		case tc.want == "" && len(found) > 0:
			t.Errorf("%s: %s\nfound %q, want nothing", tc.rule, tc.src, found)
		case tc.want != "" && (len(found) != 1 || !strings.Contains(found[0], tc.want) || !strings.HasPrefix(found[0], tc.path+":")):
			t.Errorf("%s: %s\nfound %q, want one with %q", tc.rule, tc.src, found, tc.want)
		}
	}
}

func TestPackageDocsFinds(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"one", map[string]string{"a/a.go": "// Package a is.\npackage a", "a/b.go": "package a", "a/a_test.go": "// Tests.\npackage a"}, ""},
		{"none", map[string]string{"a/a.go": "package a", "a/a_test.go": "// Package a is.\npackage a"}, "has 0 doc comments"},
		{"two", map[string]string{"a/a.go": "// Package a is.\npackage a", "a/b.go": "// Package a is.\npackage a"}, "has 2 doc comments"},
		{"of a command", map[string]string{"cmd/x/a.go": "// Command x does.\npackage main"}, ""},
		{"of something else", map[string]string{"a/a.go": "// This is.\npackage a"}, "must begin with"},
		{"only tests", map[string]string{"a/a_test.go": "// Package a tests.\npackage a"}, ""},
		{"only tests, none", map[string]string{"a/a_test.go": "package a"}, "has 0 doc comments"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var files []*File
			for name, src := range tc.files {
				f, err := Parse(name, name, src)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			found := PackageDocs(files)
			if tc.want == "" && len(found) > 0 || tc.want != "" && (len(found) != 1 || !strings.Contains(found[0], tc.want)) {
				t.Errorf("found %q, want %q", found, tc.want)
			}
		})
	}
}

func TestGoVersionFinds(t *testing.T) {
	for mod, ok := range map[string]bool{
		"module x\n\ngo 1.26.5\n": true, "module x\ngo 1.27\n": true, "module x\ngo 1.26.4\n": false, "module x\ngo 1.26\n": false, "module x\n": false,
	} {
		if err := GoVersion([]byte(mod)); (err == nil) != ok {
			t.Errorf("GoVersion(%q) = %v", mod, err)
		}
	}
}
