package backendtest

import (
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"hermesfs/backends"
)

func expect(content string) *backends.Expect {
	return &backends.Expect{Kind: backends.File, SHA256: sha256.Sum256([]byte(content))}
}

func expectLink(target string) *backends.Expect {
	return &backends.Expect{Kind: backends.Symlink, SHA256: sha256.Sum256([]byte(target))}
}

var expectNothing = &backends.Expect{}

// list is the manifest of a scope, sorted.
func (b *box) list(scope backends.Scope) []string {
	b.t.Helper()
	var got []string
	problems, err := b.sandbox.Manifest(b.t.Context(), scope, func(e backends.Entry) error {
		if e.Path != "." {
			got = append(got, e.Path)
		}
		return nil
	})
	if err != nil || len(problems) > 0 {
		b.t.Fatalf("Manifest(%+v) = %v, %q", scope, err, problems)
	}
	slices.Sort(got)
	return got
}

// testManifest lists what others made.
func testManifest(t *testing.T, b *box) {
	b.must("cd "+quote(b.home)+` && umask 022 && mkdir -p a/b/c skip/x keep/skip/y 'odd
dir' && echo 1 >a/1 && echo 2 >a/b/2 && echo 3 >a/b/c/3 && echo s >skip/x/s && echo y >keep/skip/y/y &&
echo k >keep/k && ln -s ../a keep/link && ln -s nowhere dangling && echo o >'odd
dir/o' && mkfifo fifo && ln a/1 a/hard && echo not a directory >keep/name`, "")
	for _, tc := range []struct {
		name  string
		scope backends.Scope
		want  string
	}{
		{"everything", backends.Scope{Roots: []string{"."}}, "a a/1 a/b a/b/2 a/b/c a/b/c/3 a/hard dangling fifo keep keep/k keep/link keep/name keep/skip keep/skip/y keep/skip/y/y odd\ndir odd\ndir/o skip skip/x skip/x/s"},
		{"one root", backends.Scope{Roots: []string{"a/b"}}, "a/b a/b/2 a/b/c a/b/c/3"},
		{"roots in each other", backends.Scope{Roots: []string{"a", "a/b", "a/b/c"}}, "a a/1 a/b a/b/2 a/b/c a/b/c/3 a/hard"},
		{"missing root", backends.Scope{Roots: []string{"no such", "skip"}}, "skip skip/x skip/x/s"},
		{"pruned path", backends.Scope{Roots: []string{"keep", "skip"}, PrunePaths: []string{"keep/skip", "skip/x"}}, "keep keep/k keep/link keep/name skip"},
		{"pruned name", backends.Scope{Roots: []string{"keep"}, PruneNames: []string{"skip", "name"}}, "keep keep/k keep/link keep/name"},
		{"no link is followed", backends.Scope{Roots: []string{"keep/link"}}, "keep/link"},
		{"nothing", backends.Scope{}, ""},
	} {
		if got := strings.Join(b.list(tc.scope), " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	entries := map[string]backends.Entry{}
	if _, err := b.sandbox.Manifest(t.Context(), backends.Scope{Roots: []string{"."}}, func(e backends.Entry) error {
		entries[e.Path] = e
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if e := entries["fifo"]; e.Kind != backends.Other {
		t.Errorf("fifo is %+v", e)
	}
	if a, hard := entries["a/1"], entries["a/hard"]; a.Ino != hard.Ino || a.Ino == 0 || a.Size != 2 || a.Ctime == 0 {
		t.Errorf("hard links are %+v and %+v", a, hard)
	}
	// A change of content that keeps size and mtime shows in ctime.
	before := entries["a/b/2"]
	waitFor(t, "ctime to tell", func() bool {
		b.must("cd "+quote(b.home)+"/a/b && touch -r 2 /tmp/hermesfs-ref.$$ && echo X >2 && touch -r /tmp/hermesfs-ref.$$ 2; rm -f /tmp/hermesfs-ref.$$", "")
		var after backends.Entry
		if _, err := b.sandbox.Manifest(t.Context(), backends.Scope{Roots: []string{"a/b/2"}}, func(e backends.Entry) error { after = e; return nil }); err != nil {
			t.Fatal(err)
		}
		return after.Ctime != before.Ctime && after.Size == before.Size
	})
}

func testDelete(t *testing.T, b *box) {
	want := b.push(directory("d"), directory("d/e"), directory("d/e/f"), file("d/e/f/x", "x", 0o644), file("-rf *", "odd", 0o644), symlink("l", "d"), directory("full"), file("full/kept", "k", 0o644))
	r, err := b.sandbox.Push(t.Context(), &backends.Batch{Deletes: []backends.Delete{
		{Path: "d/e/f/x", Expect: expect("x")},
		{Path: "d/e/f", Expect: &backends.Expect{Kind: backends.Dir}},
		{Path: "d/e"},
		{Path: "-rf *", Expect: expect("odd")},
		{Path: "l", Expect: expectLink("d")},
		{Path: "full"},
		{Path: "never was"},
	}, Puts: []backends.Put{file("d/e", "now a file", 0o600)}})
	if err != nil {
		t.Fatal(err)
	}
	var gone []string
	for _, d := range r.Done {
		if d.Deleted {
			gone = append(gone, d.Path)
			delete(want, d.Path)
		}
	}
	if got := strings.Join(gone, " "); !strings.HasPrefix(got, "d/e/f/x d/e/f d/e -rf * l") || len(r.Problems) != 1 || r.Problems[0].Path != "full" {
		t.Errorf("deleted %q, problems %q, want full alone to be one", got, r.Problems)
	}
	want["d/e"] = node{kind: backends.File, mode: 0o600, mtime: when.Unix(), content: "now a file"}
	b.check(want)
}

func testExpect(t *testing.T, b *box) {
	want := b.push(file("same", "base", 0o644), file("edited", "theirs", 0o644), file("gone", "base", 0o644), symlink("link", "there"), file("new there", "theirs", 0o644), file("del", "theirs", 0o644))
	b.must("rm "+quote(b.home)+"/gone", "")
	delete(want, "gone")
	with := func(p backends.Put, e *backends.Expect) backends.Put { p.Expect = e; return p }
	r, err := b.sandbox.Push(t.Context(), &backends.Batch{
		Deletes: []backends.Delete{{Path: "del", Expect: expect("base")}},
		Puts: []backends.Put{
			with(file("same", "ours", 0o755), expect("base")),
			with(file("edited", "ours", 0o644), expect("base")),
			with(file("gone", "ours", 0o644), expect("base")),
			with(symlink("link", "elsewhere"), expectLink("there")),
			with(file("new", "ours", 0o644), expectNothing),
			with(file("new there", "ours", 0o644), expectNothing),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(r.Refused)
	if got := strings.Join(r.Refused, " "); got != "del edited gone new there" || len(r.Done) != 3 || len(r.Problems)+len(r.Changed) != 0 {
		t.Errorf("refused %q, done %+v, problems %q, want del, edited, gone and new there refused", got, r.Done, r.Problems)
	}
	want["same"] = node{kind: backends.File, mode: 0o755, mtime: when.Unix(), content: "ours"}
	want["link"] = node{kind: backends.Symlink, content: "elsewhere"}
	want["new"] = node{kind: backends.File, mode: 0o644, mtime: when.Unix(), content: "ours"}
	b.check(want)
}

func testReady(t *testing.T, b *box) {
	want := b.push(file("a", "old", 0o644), file("b", "old", 0o644))
	stop := errors.New("the journal is full")
	var sent []backends.Sent
	_, err := b.sandbox.Push(t.Context(), &backends.Batch{
		Deletes: []backends.Delete{{Path: "b"}},
		Puts:    []backends.Put{file("a", "new", 0o644), file("c", "new", 0o644)},
		Ready:   func(s []backends.Sent) error { sent = s; return stop },
	})
	if !errors.Is(err, stop) || len(sent) != 3 {
		t.Errorf("Push = %v after Ready with %+v, want its error", err, sent)
	}
	for _, s := range sent {
		if !s.Deleted && s.SHA256 != sha256.Sum256([]byte("new")) {
			t.Errorf("Ready was told %+v", s)
		}
	}
	b.check(want)
}

// testChanging pushes files that are not as long as they were when they were looked at.
func testChanging(t *testing.T, b *box) {
	shorter, longer, broken := file("shorter", "12345", 0o644), file("longer", "12345", 0o644), file("broken", "12345", 0o644)
	shorter.Size, longer.Size = 9, 2
	broken.Open = func() (io.ReadCloser, error) { return nil, errors.New("it was removed") }
	r, err := b.sandbox.Push(t.Context(), &backends.Batch{Puts: []backends.Put{file("first", "1", 0o644), shorter, longer, broken, file("last", "2", 0o644)}})
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Clone(r.Changed)
	for _, p := range r.Problems {
		names = append(names, p.Path)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "broken longer shorter" && got != "broken shorter" || len(r.Refused) != 0 {
		t.Errorf("changed %q, problems %q, want broken and shorter", r.Changed, r.Problems)
	}
	got := b.truth()
	if keys := slices.Sorted(maps.Keys(got)); got["first"].content != "1" || got["last"].content != "2" || slices.Contains(keys, "shorter") || slices.Contains(keys, "broken") {
		t.Errorf("in the sandbox: %+v", got)
	}
}

func testLimits(t *testing.T, b *box) {
	b.push(file("big", strings.Repeat("b", 2<<20), 0o644), file("small", "s", 0o644))
	for _, tc := range []struct {
		lim  backends.Limits
		what string
	}{
		{backends.Limits{MaxBytes: 1 << 20}, "bytes"},
		{backends.Limits{MaxMembers: 1}, "members"},
	} {
		var seen int64
		_, err := b.sandbox.Fetch(t.Context(), []string{"big", "small"}, tc.lim, func(_ backends.Entry, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			seen += n
			return err
		})
		var limit *backends.LimitError
		if !errors.As(err, &limit) || limit.What != tc.what || backends.IsTransient(err) || seen > 1<<20+1 {
			t.Errorf("Fetch with %+v = %v after %d bytes, want a LimitError", tc.lim, err, seen)
		}
	}
	stop := errors.New("the disk is full")
	if _, err := b.sandbox.Fetch(t.Context(), []string{"big"}, backends.Limits{}, func(backends.Entry, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Fetch = %v, want the error of its caller", err)
	}
}
