package backendtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/shell"
)

// A box is a claimed sandbox under test. When the test ends no temporary file may be left in it.
type box struct {
	*subject
	sandbox *shell.Sandbox
	home    string // path of the home in the sandbox
}

const marker = "the marker of the suite"

func newBox(t *testing.T, open func(t *testing.T) backends.Transport) *box {
	t.Helper()
	b := &box{subject: begin(t, open)}
	b.sandbox = shell.New(b.Transport, shell.Options{Mount: "suite"})
	if err := b.sandbox.Claim(t.Context(), marker); err != nil {
		t.Fatal(err)
	}
	hello, err := b.sandbox.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.home = hello.Home
	return b
}

// noTemps fails the test when a temporary file is in the sandbox, also after a while.
func (b *box) noTemps() {
	b.t.Helper()
	var left string
	script := "cd " + quote(b.home) + " || exit\nfind .hermesfs/tmp . -name '.hermesfs-*' -o -path './.hermesfs/tmp/*' -o -path '.hermesfs/tmp/*' | sort -u"
	deadline := time.Now().Add(waitLimit)
	for left = b.must(script, ""); left != ""; left = b.must(script, "") {
		if time.Now().After(deadline) {
			b.t.Errorf("temporary files in the sandbox: %.1000q", left)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A node is what stands at a path.
type node struct {
	kind    backends.Kind
	mode    uint32 // 0 of symlinks
	mtime   int64  // seconds, of files
	content string // of files; of symlinks the target
}

// truth is all of the home, packed by the sandbox's tar and read by ours, apart from package shell.
func (b *box) truth() map[string]node {
	b.t.Helper()
	out, err := b.sh("cd "+quote(b.home)+" && tar cf - .", "")
	if err != nil {
		b.t.Fatalf("tar: %v", err)
	}
	found := map[string]node{}
	r := tar.NewReader(bytes.NewReader(out))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			b.t.Fatalf("the sandbox's tar: %v", err)
		}
		name := path.Clean(h.Name)
		if name == "." || name == ".hermesfs" || strings.HasPrefix(name, ".hermesfs/") {
			continue
		}
		n := node{mode: uint32(h.Mode) & 0o7777}
		switch h.Typeflag {
		case tar.TypeReg:
			content, err := io.ReadAll(r)
			if err != nil {
				b.t.Fatalf("the sandbox's tar: %v", err)
			}
			n.kind, n.content, n.mtime = backends.File, string(content), h.ModTime.Unix()
		case tar.TypeDir:
			n.kind = backends.Dir
		case tar.TypeSymlink:
			n.kind, n.mode, n.content = backends.Symlink, 0, h.Linkname
		default:
			n.kind = backends.Other
		}
		found[name] = n
	}
}

// same compares nodes and shows little of them.
func (b *box) same(what string, got, want map[string]node) {
	b.t.Helper()
	shown := 0
	say := func(format string, args ...any) {
		if shown++; shown <= 10 {
			b.t.Errorf(format, args...)
		}
	}
	for name, w := range want {
		if g, ok := got[name]; !ok {
			say("%s: %.100q is missing", what, name)
		} else if g != w {
			g.content, w.content = short(g.content), short(w.content)
			say("%s: %.100q is %+v, want %+v", what, name, g, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			say("%s: %.100q should not be there", what, name)
		}
	}
	if shown > 10 {
		b.t.Errorf("%s: and %d differences more", what, shown-10)
	}
}

func short(s string) string {
	if len(s) < 60 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:20] + "..." + string("0123456789abcdef"[sum[0]>>4]) + string("0123456789abcdef"[sum[0]&15])
}

var when = time.Unix(1_700_000_000, 0)

func file(name, content string, mode uint32) backends.Put {
	return backends.Put{
		Path: name, Kind: backends.File, Mode: mode, Mtime: when, Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

func directory(name string) backends.Put {
	return backends.Put{Path: name, Kind: backends.Dir, Mode: 0o755, Mtime: when}
}

func symlink(name, target string) backends.Put {
	return backends.Put{Path: name, Kind: backends.Symlink, Target: target}
}

// push applies puts that must all be done, and returns them as nodes.
func (b *box) push(puts ...backends.Put) map[string]node {
	b.t.Helper()
	r, err := b.sandbox.Push(b.t.Context(), &backends.Batch{Puts: puts})
	if err != nil {
		b.t.Fatalf("Push = %v", err)
	}
	if len(r.Done) != len(puts) || len(r.Refused)+len(r.Changed)+len(r.Problems) != 0 {
		b.t.Fatalf("Push: %d of %d done, refused %.300q, changed %.300q, problems %.500q", len(r.Done), len(puts), r.Refused, r.Changed, r.Problems)
	}
	want := map[string]node{}
	for _, p := range puts {
		n := node{kind: p.Kind, mode: p.Mode, content: p.Target}
		if p.Kind == backends.File {
			f, err := p.Open()
			if err != nil {
				b.t.Fatal(err)
			}
			content, _ := io.ReadAll(f)
			n.content, n.mtime = string(content), p.Mtime.Unix()
		}
		want[p.Path] = n
	}
	return want
}
