package backendtest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/shell"
)

func testHome(t *testing.T, s *subject) {
	sandbox := shell.New(s.Transport, shell.Options{Mount: "suite"})
	before, err := sandbox.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := s.Home()
	if want == "" {
		want = "~/.hermes"
	}
	if rest, ok := strings.CutPrefix(want, "~/"); ok {
		want = s.must(`printf %s "$HOME"`, "") + "/" + rest
	}
	if before.Home != want || before.Exists || before.Marker != "" || before.Probe == "" {
		t.Errorf("Hello = %+v, want an absent home %q and a probe", before, want)
	}
	if err := sandbox.Claim(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if mode := s.must("ls -ld "+quote(want)+" | cut -c1-10", ""); mode != "drwx------\n" {
		t.Errorf("a new home is %q, want drwx------", mode)
	}
	s.must("cd "+quote(want)+" && echo mine >kept", "")
	for _, id := range []string{"first", "second"} {
		if err := sandbox.Claim(t.Context(), id); err != nil {
			t.Errorf("Claim(%s) = %v", id, err)
		}
		// Another connection, once with what the first one found.
		for _, probe := range []string{"", before.Probe} {
			after, err := shell.New(s.Transport, shell.Options{Mount: "other", Probe: probe}).Hello(t.Context())
			if err != nil || after.Marker != id || !after.Exists || after.Home != want || after.Probe != before.Probe {
				t.Errorf("Hello with probe %q = %+v, %v, want the marker %s", probe, after, err, id)
			}
		}
	}
	if got := s.must("cat "+quote(want)+"/kept", ""); got != "mine\n" {
		t.Errorf("Claim changed a file: %q", got)
	}
}

// names is every kind of name.
func names() []string {
	list := []string{
		"plain", "-", "--", "-rf", "--help", "-n", "two words", " lead", "trail ", "tab\there", "new\nline", "\nfirst", "last\n", "cr\r", "\r\n",
		"'", "''", `"`, "`id`", "$HOME", "${x}", "$(id)", `\`, `\\`, `\n`, `\0`, "*", "?", "[a-z]", "{a,b}", "!", "#x", "%s", "%", "&", ";", "|", "<", ">", "(", ")", "~", "~root", "=", "@", ":", "a:b", "+x", ",",
		".hidden", "..two", "...", "é", "日本語", "e\u0301", "\xff", "\xfe\xff", "bad\x80utf", "\x01\x02\x1b[31m\x7f", "CON", "x.", strings.Repeat("n", 255), strings.Repeat("é", 127), "-" + strings.Repeat("\n", 254),
	}
	var all strings.Builder
	for i := 1; i < 256; i++ {
		if i != '/' {
			all.WriteByte(byte(i))
		}
	}
	return append(list, all.String())
}

// manifest and fetch of everything must be want.
func (b *box) check(want map[string]node) {
	b.t.Helper()
	b.same("in the sandbox", b.truth(), want)
	listed := map[string]node{}
	var paths, files []string
	problems, err := b.sandbox.Manifest(b.t.Context(), backends.Scope{Roots: []string{"."}}, func(e backends.Entry) error {
		if e.Path == "." {
			return nil
		}
		n := node{kind: e.Kind, mode: e.Mode, content: e.Target}
		if _, twice := listed[e.Path]; twice {
			b.t.Errorf("manifest: %.100q twice", e.Path)
		}
		switch e.Kind {
		case backends.File:
			n.mtime = e.Mtime / 1e9
			if n.content = want[e.Path].content; int64(len(n.content)) != e.Size {
				n.content = fmt.Sprintf("%d bytes", e.Size)
			}
			files = append(files, e.Path)
		case backends.Symlink:
			n.mode = 0
		}
		listed[e.Path] = n
		paths = append(paths, e.Path)
		return nil
	})
	if err != nil || len(problems) > 0 {
		b.t.Fatalf("Manifest = %v, %.300q", err, problems)
	}
	b.same("manifest", listed, want)
	sums, err := b.sandbox.Hash(b.t.Context(), files)
	if err != nil {
		b.t.Fatalf("Hash = %v", err)
	}
	for _, name := range files {
		if sums[name] != sha256.Sum256([]byte(want[name].content)) {
			b.t.Errorf("hash of %.100q is wrong (or none)", name)
		}
	}
	b.same("fetched", b.fetch(paths, backends.Limits{}), want)
}

// fetch is Fetch of paths that must all come.
func (b *box) fetch(paths []string, lim backends.Limits) map[string]node {
	b.t.Helper()
	got := map[string]node{}
	problems, err := b.sandbox.Fetch(b.t.Context(), paths, lim, func(e backends.Entry, r io.Reader) error {
		n := node{kind: e.Kind, mode: e.Mode, content: e.Target}
		if e.Kind == backends.Symlink {
			n.mode = 0
		}
		if e.Kind == backends.File {
			content, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			n.content, n.mtime = string(content), e.Mtime/1e9
		}
		got[e.Path] = n
		return nil
	})
	if err != nil || len(problems) > 0 {
		b.t.Fatalf("Fetch = %v, problems %.300q", err, problems)
	}
	return got
}

func testNames(t *testing.T, b *box) {
	var puts []backends.Put
	for i, name := range names() {
		dir := "d/" + name
		puts = append(puts, directory(dir), file("f/"+name, "content of "+name, []uint32{0o644, 0o755, 0o600}[i%3]),
			file(dir+"/"+name, name, 0o644), symlink("l/"+name, name))
	}
	long := strings.Repeat("quite a long directory/", 40)
	puts = append(puts, file(long+"f", "deep", 0o644))
	want := b.push(puts...)
	// Parents that the batch does not have are made.
	for i := range long {
		if long[i] == '/' {
			want[long[:i]] = node{kind: backends.Dir, mode: 0o700}
		}
	}
	for _, d := range []string{"d", "f", "l"} {
		want[d] = node{kind: backends.Dir, mode: 0o700}
	}
	got := b.truth()
	for name, w := range want { // whose mode is the sandbox's own matter
		if g := got[name]; w.kind == backends.Dir && w.mode == 0o700 && g.kind == backends.Dir {
			w.mode = g.mode
			want[name] = w
		}
	}
	b.check(want)
}

func testModes(t *testing.T, b *box) {
	var puts []backends.Put
	for mode := range uint32(0o1000) {
		if mode&0o400 == 0 && mode%0o11 != 0 { // unreadable to all but root
			continue
		}
		puts = append(puts, file(fmt.Sprintf("%03o", mode), "x", mode))
	}
	dir := directory("dir")
	dir.Mode = 0o711
	puts = append(puts, dir)
	want := b.push(puts...)
	if b.must("id -u", "") != "0\n" { // whoever cannot read them cannot fetch them
		for name, n := range want {
			if n.kind == backends.File && n.mode&0o400 == 0 {
				b.must("rm -f "+quote(b.home+"/"+name), "")
				delete(want, name)
			}
		}
	}
	b.check(want)
}

func testSizes(t *testing.T, b *box) {
	var puts []backends.Put
	random := rand.New(rand.NewSource(1))
	for _, size := range []int{0, 1, 2, 511, 512, 513, 1023, 1024, 4095, 4096, 10239, 10240, 10241, 65535, 65536, 65537, 1<<20 - 1, 1 << 20, 24<<20 + 3} {
		content := make([]byte, size)
		_, _ = random.Read(content) // never fails
		puts = append(puts, file(fmt.Sprint(size), string(content), 0o644))
	}
	puts = append(puts, file("zeros", strings.Repeat("\x00", 3<<20), 0o644), file("crlf", strings.Repeat("\r\n", 50_000), 0o644))
	b.check(b.push(puts...))
}

func testMany(t *testing.T, b *box) {
	var puts []backends.Put
	for i := range 2000 {
		dir := fmt.Sprintf("category %d", i/40)
		if i%40 == 0 {
			puts = append(puts, directory(dir))
		}
		puts = append(puts, file(fmt.Sprintf("%s/%d.md", dir, i), strings.Repeat(fmt.Sprintln("line", i), i%400), 0o644))
	}
	b.check(b.push(puts...))
}
