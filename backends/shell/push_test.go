package shell

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hermesfs/backends"
	"hermesfs/backends/dir"
)

func file(path, content string) backends.Put {
	return backends.Put{
		Path: path, Kind: backends.File, Mode: 0o644, Mtime: time.Unix(1_700_000_000, 123_456_789), Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

func directory(path string, mode uint32) backends.Put {
	return backends.Put{Path: path, Kind: backends.Dir, Mode: mode, Mtime: time.Unix(1_600_000_000, 0)}
}

func symlink(path, target string) backends.Put {
	return backends.Put{Path: path, Kind: backends.Symlink, Target: target}
}

func expectFile(content string) *backends.Expect {
	return &backends.Expect{Kind: backends.File, SHA256: sha256.Sum256([]byte(content))}
}

var expectNothing = &backends.Expect{}

func (b *box) push(batch *backends.Batch) *backends.PushResult {
	b.t.Helper()
	ready := 0
	if batch.Ready == nil {
		batch.Ready = func([]backends.Sent) error { ready++; return nil }
		defer func() {
			if ready != 1 {
				b.t.Errorf("Ready was called %d times, want once", ready)
			}
		}()
	}
	r, err := b.Push(b.t.Context(), batch)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// clean is a push of which every path must be done.
func (b *box) clean(batch *backends.Batch) *backends.PushResult {
	b.t.Helper()
	r := b.push(batch)
	if len(r.Refused)+len(r.Changed)+len(r.Problems) != 0 || len(r.Done) != len(batch.Deletes)+len(batch.Puts) {
		b.t.Fatalf("push: %d of %d done, refused %.500q, changed %.500q, problems %.1000q",
			len(r.Done), len(batch.Deletes)+len(batch.Puts), r.Refused, r.Changed, r.Problems)
	}
	return r
}

func (b *box) read(rel string) string {
	b.t.Helper()
	c, err := os.ReadFile(b.path(rel))
	if err != nil {
		b.t.Error(err)
	}
	return string(c)
}

func (b *box) absent(rels ...string) {
	b.t.Helper()
	for _, rel := range rels {
		if _, err := os.Lstat(b.path(rel)); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			b.t.Errorf("%q is there: %v", rel, err)
		}
	}
}

func TestPushEveryName(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		batch := &backends.Batch{}
		for i, name := range awkwardNames() {
			f := file("names/"+name, "content of "+name)
			f.Mode = []uint32{0o644, 0o755, 0o600, 0o200, 0o000, 0o4711}[i%6]
			batch.Puts = append(batch.Puts, f, directory("dirs/"+name, []uint32{0o755, 0o500, 0o700, 0o1777}[i%4]),
				file("dirs/"+name+"/"+name, name), symlink("links/"+name, name), symlink("links/to "+name[:min(len(name), 240)]+"\n", "../names/"+name+"\n"))
		}
		long := strings.Repeat("deep directory/", 60)
		batch.Puts = append(batch.Puts, file(long+"f", "deep"), symlink("abs", "/etc/passwd"), symlink("up", "../../x"))
		r := b.clean(batch)
		got, _ := b.list(backends.Scope{Roots: []string{"."}})
		for i, d := range r.Done {
			if diff := cmp.Diff(got[d.Path], d.Entry); diff != "" {
				t.Fatalf("stat of %q (-want +got):\n%s", d.Path, diff)
			}
			if i > 10 {
				break
			}
		}
		for _, put := range batch.Puts {
			e, ok := got[put.Path]
			if !ok || e.Kind != put.Kind || e.Target != put.Target {
				t.Errorf("%q is %+v, want %+v", put.Path, e, put)
				continue
			}
			if put.Kind != backends.Symlink && e.Mode != put.Mode {
				t.Errorf("mode of %q = %o, want %o", put.Path, e.Mode, put.Mode)
			}
			if put.Kind == backends.File {
				src, _ := put.Open()
				want, _ := io.ReadAll(src)
				if content := b.read(put.Path); content != string(want) {
					t.Errorf("%q = %q, want %q", put.Path, content, want)
				}
				want2 := put.Mtime.UnixNano()
				if b.rig.name == "busybox" || b.rig.name == "bsdtar" && !ascii(put.Path) {
					want2 = put.Mtime.Truncate(time.Second).UnixNano()
				}
				if e.Mtime != want2 {
					t.Errorf("mtime of %q = %d, want %d", put.Path, e.Mtime, want2)
				}
			}
		}
		// The same again, over what is there.
		for i := range batch.Puts {
			p := &batch.Puts[i]
			switch p.Kind {
			case backends.File:
				p.Expect = &backends.Expect{Kind: backends.File, SHA256: sumOf(p)}
			case backends.Dir:
				p.Expect = &backends.Expect{Kind: backends.Dir}
			case backends.Symlink:
				p.Expect = &backends.Expect{Kind: backends.Symlink, SHA256: sha256.Sum256([]byte(p.Target))}
			}
		}
		b.clean(batch)
		// And all of it away, children first.
		var away backends.Batch
		for i := len(batch.Puts) - 1; i >= 0; i-- {
			if p := batch.Puts[i]; p.Kind != backends.Dir {
				away.Deletes = append(away.Deletes, backends.Delete{Path: p.Path, Expect: p.Expect})
			}
		}
		for i := len(batch.Puts) - 1; i >= 0; i-- {
			if p := batch.Puts[i]; p.Kind == backends.Dir {
				away.Deletes = append(away.Deletes, backends.Delete{Path: p.Path, Expect: p.Expect})
			}
		}
		b.clean(&away)
		for _, dir := range []string{"names", "dirs", "links"} {
			if entries, err := os.ReadDir(b.path(dir)); err != nil || len(entries) != 0 {
				t.Errorf("%s holds %v, %v, want nothing", dir, entries, err)
			}
		}
	})
}

func sumOf(p *backends.Put) [32]byte {
	src, _ := p.Open()
	c, _ := io.ReadAll(src)
	return sha256.Sum256(c)
}

func TestPushExpects(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		b.write("same", "base")
		b.write("edited", "theirs")
		b.write("already", "new")
		b.write("came", "theirs")
		b.write("a dir instead/f", "x")
		b.symlink("base", "link same")
		b.symlink("theirs", "link edited")
		b.write("del same", "base")
		b.write("del edited", "theirs")
		b.symlink("base", "del link")
		b.write("del full/new of theirs", "x")
		b.mkdir("del empty")
		b.write("del dir is a file", "x")
		b.write("tree/gone/f", "base")
		if err := os.RemoveAll(b.path("tree/gone")); err != nil {
			t.Fatal(err)
		}
		with := func(p backends.Put, e *backends.Expect) backends.Put { p.Expect = e; return p }
		link := func(target string) *backends.Expect {
			return &backends.Expect{Kind: backends.Symlink, SHA256: sha256.Sum256([]byte(target))}
		}
		isDir := &backends.Expect{Kind: backends.Dir}
		r := b.push(&backends.Batch{
			Deletes: []backends.Delete{
				{Path: "del same", Expect: expectFile("base")},
				{Path: "del edited", Expect: expectFile("base")},
				{Path: "del link", Expect: link("base")},
				{Path: "del missing", Expect: expectFile("base")},
				{Path: "del full", Expect: isDir},
				{Path: "del empty", Expect: isDir},
				{Path: "del dir is a file", Expect: isDir},
				{Path: "del/no/such", Expect: nil},
			},
			Puts: []backends.Put{
				with(file("same", "new"), expectFile("base")), with(file("edited", "new"), expectFile("base")), with(file("already", "new"), expectFile("base")),
				with(file("came", "new"), expectNothing), with(file("missing", "new"), expectFile("base")), with(file("fresh", "new"), expectNothing),
				with(file("a dir instead", "new"), expectFile("base")), with(symlink("link same", "new"), link("base")), with(symlink("link edited", "new"), link("base")),
				with(directory("tree/gone", 0o750), isDir), with(file("tree/gone/f", "new"), expectFile("base")), with(file("tree/gone/g", "new"), expectNothing),
				with(directory("came", 0o755), isDir),
			},
		})
		var done []string
		for _, d := range r.Done {
			done = append(done, d.Path)
		}
		var problems []string
		for _, p := range r.Problems {
			problems = append(problems, p.Path+": "+p.Err.Error())
		}
		if diff := cmp.Diff([]string{"del same", "del link", "del missing", "del empty", "del/no/such", "already", "fresh", "same", "tree/gone/g", "link same"}, done); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"del edited", "del dir is a file", "tree/gone", "a dir instead", "came", "edited", "missing", "tree/gone/f", "link edited"}, r.Refused); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"came: " + errTwice.Error(), "del full: " + errNotEmpty.Error()}, problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		for rel, want := range map[string]string{
			"same": "new", "edited": "theirs", "already": "new", "came": "theirs", "fresh": "new", "a dir instead/f": "x", "del edited": "theirs",
			"del full/new of theirs": "x", "del dir is a file": "x", "tree/gone/g": "new",
		} {
			if got := b.read(rel); got != want {
				t.Errorf("%s = %q, want %q", rel, got, want)
			}
		}
		b.absent("del same", "del link", "del empty", "missing", "tree/gone/f")
		for rel, want := range map[string]string{"link same": "new", "link edited": "theirs"} {
			if got, err := os.Readlink(b.path(rel)); got != want {
				t.Errorf("%s -> %q, %v, want %q", rel, got, err, want)
			}
		}
	})
}

func TestPushTypeChanges(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		outside := t.TempDir()
		b.write("file to dir", "x")
		b.write("dir to file/f", "x")
		b.mkdir("empty to link")
		b.symlink(outside, "link to file")
		b.symlink(outside, "link to dir")
		b.symlink(outside, "link to link")
		b.write("file to link", "x")
		b.symlink(outside, "parent is a link")
		b.write("parent is a file", "x")
		b.symlink(outside, "delete below")
		if err := os.WriteFile(filepath.Join(outside, "victim"), []byte("outside"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := b.push(&backends.Batch{
			Deletes: []backends.Delete{{Path: "dir to file/f", Expect: expectFile("x")}, {Path: "delete below/victim", Expect: nil}},
			Puts: []backends.Put{
				directory("file to dir", 0o755), file("file to dir/f", "new"), file("dir to file", "new"), symlink("empty to link", "new"),
				file("link to file", "new"), directory("link to dir", 0o700), file("link to dir/f", "new"), symlink("link to link", "new"),
				symlink("file to link", "new"), file("parent is a link/victim", "new"), file("parent is a file/f", "new"), directory("parent is a link/d", 0o777),
			},
		})
		var problems []string
		for _, p := range r.Problems {
			problems = append(problems, p.Path)
			if !errors.Is(p.Err, errParent) {
				t.Errorf("problem of %q: %v, want %v", p.Path, p.Err, errParent)
			}
		}
		if diff := cmp.Diff([]string{"delete below/victim", "parent is a link/d", "parent is a file/f", "parent is a link/victim"}, problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		if len(r.Refused)+len(r.Changed) != 0 {
			t.Errorf("refused %q changed %q, want none", r.Refused, r.Changed)
		}
		for rel, want := range map[string]string{"file to dir/f": "new", "dir to file": "new", "link to file": "new", "link to dir/f": "new", "parent is a file": "x"} {
			if got := b.read(rel); got != want {
				t.Errorf("%s = %q, want %q", rel, got, want)
			}
		}
		for _, rel := range []string{"empty to link", "link to link", "file to link"} {
			if got, _ := os.Readlink(b.path(rel)); got != "new" {
				t.Errorf("%s -> %q, want new", rel, got)
			}
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("outside holds %v, %v, want the victim alone", entries, err)
		}
		if c, _ := os.ReadFile(filepath.Join(outside, "victim")); string(c) != "outside" {
			t.Errorf("victim = %q", c)
		}
	})
}

// grown gives more or less than its size says.
func changing(path, content string, size int64) backends.Put {
	p := file(path, content)
	p.Size = size
	return p
}

type brokenReader struct{}

func (brokenReader) Read(p []byte) (int, error) { return copy(p, "half"), errors.New("disk died") }
func (brokenReader) Close() error               { return nil }

func TestPushFilesThatChange(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		b.write("old", "old")
		gone := file("new dir/vanished", "x")
		gone.Open = func() (io.ReadCloser, error) { return nil, os.ErrNotExist }
		broken := changing("broken", "x", 5000)
		broken.Open = func() (io.ReadCloser, error) { return brokenReader{}, nil }
		var sent []backends.Sent
		batch := &backends.Batch{
			Puts: []backends.Put{
				changing("new dir/shrank", "short", 100_000), changing("new dir/grew", "0123456789", 5), changing("old", "new", 2), gone, broken,
				file("new dir/fine", "fine"), file("empty", ""),
			},
			Ready: func(s []backends.Sent) error { sent = s; return nil },
		}
		r := b.push(batch)
		if diff := cmp.Diff([]string{"old", "new dir/grew", "new dir/shrank"}, r.Changed); diff != "" {
			t.Errorf("changed (-want +got):\n%s", diff)
		}
		if len(r.Problems) != 2 || r.Problems[0].Path != "broken" || r.Problems[1].Path != "new dir/vanished" {
			t.Errorf("problems %v, want broken and vanished", r.Problems)
		}
		want := []backends.Sent{{Path: "empty", SHA256: sha256.Sum256(nil)}, {Path: "new dir/fine", SHA256: sha256.Sum256([]byte("fine"))}}
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		if b.read("old") != "old" || b.read("new dir/fine") != "fine" {
			t.Error("a file that changed was written, or one that did not was not")
		}
		b.absent("new dir/shrank", "new dir/grew", "new dir/vanished", "broken")
	})
}

func TestPushReadyErrorChangesNothing(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		b.write("old", "old")
		stop := errors.New("journal is full")
		_, err := b.Push(t.Context(), &backends.Batch{
			Deletes: []backends.Delete{{Path: "old", Expect: nil}},
			Puts:    []backends.Put{file("new", "new")},
			Ready:   func([]backends.Sent) error { return stop },
		})
		if !errors.Is(err, stop) {
			t.Errorf("Push = %v, want Ready's error", err)
		}
		if b.read("old") != "old" {
			t.Error("old was changed")
		}
		b.absent("new")
	})
}

func TestPushRefusesBadPaths(t *testing.T) {
	b := gnuBox(t)
	bad := []string{"", ".", "..", "../x", "/etc/x", "a/../x", "a//b", "a/", ".hermesfs", ".hermesfs/id", "a\x00b", strings.Repeat("n", 256), strings.Repeat("n/", 2100) + "n"}
	batch := &backends.Batch{Puts: []backends.Put{file("ok", "ok"), file("f", "f"), file("f/below", "x"), symlink("s", ""), {Path: "fifo", Kind: backends.Other}}}
	for _, path := range bad {
		batch.Puts = append(batch.Puts, file(path, "x"))
		batch.Deletes = append(batch.Deletes, backends.Delete{Path: path})
	}
	r := b.push(batch)
	if len(r.Done) != 2 || len(r.Problems) != 2*len(bad)+3 {
		t.Errorf("done %v, %d problems %v, want 2 and %d", r.Done, len(r.Problems), r.Problems, 2*len(bad)+3)
	}
}

func TestPushBigFile(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16+1)
		b.clean(&backends.Batch{Puts: []backends.Put{file("big", string(content))}})
		if b.read("big") != string(content) {
			t.Error("content differs")
		}
	})
}

// A push of many files must not start a process for each of them.
func TestPushForksFew(t *testing.T) {
	strace := lookPath(t, "strace", "strace")
	probe := osexec.Command(strace, "-f", "-o", "/dev/null", "true")
	if out, err := probe.CombinedOutput(); err != nil {
		require(t, "strace", false, fmt.Sprintf("%v: %s", err, out))
	}
	b := gnuBox(t)
	log := filepath.Join(t.TempDir(), "log")
	wrapper := filepath.Join(t.TempDir(), "sh")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec "+strace+" -f -qq -e trace=execve -e signal=none -o "+log+" sh \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	batch := func(content string) *backends.Batch {
		batch := &backends.Batch{}
		for i := range 3000 {
			batch.Puts = append(batch.Puts, file(fmt.Sprintf("skills/%d/%d", i/20, i), content))
		}
		return batch
	}
	tr, err := dir.New(dir.Options{Path: filepath.Dir(b.home), Sh: wrapper})
	if err != nil {
		t.Fatal(err)
	}
	h, err := b.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	traced := *b
	traced.Sandbox = New(tr, Options{Mount: "m", Probe: h.Probe})
	for _, tc := range []struct {
		name string
		max  int
	}{
		{"into a fresh home", 250},
		{"over what is there, in 150 directories", 600},
	} {
		traced.clean(batch(tc.name))
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "execve(") && !strings.Contains(line, "ENOENT") {
				n++
			}
		}
		t.Logf("3,000 files %s: %d processes", tc.name, n)
		if n < 10 || n > tc.max {
			t.Errorf("%s: %d processes, want at most %d", tc.name, n, tc.max)
		}
	}
}
