package shell

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hermesfs/backends"
)

type fetched struct {
	backends.Entry
	content string
}

// fetch is Fetch into memory.
func (b *box) fetch(s *Sandbox, paths []string, lim backends.Limits) (map[string]fetched, []backends.Problem, error) {
	b.t.Helper()
	got := map[string]fetched{}
	problems, err := s.Fetch(b.t.Context(), paths, lim, func(e backends.Entry, r io.Reader) error {
		f := fetched{Entry: e}
		if r != nil {
			c, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			f.content = string(c)
		}
		got[e.Path] = f
		return nil
	})
	return got, problems, err
}

func TestFetchEveryName(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		want := map[string]fetched{}
		var paths []string
		add := func(rel, content string) {
			want[rel] = fetched{Entry: b.lstat(rel), content: content}
			paths = append(paths, rel)
		}
		for i, name := range awkwardNames() {
			content := strings.Repeat(name, i)
			b.write("names/"+name, content)
			add("names/"+name, content)
			b.write("dirs/"+name+"/"+name, name)
			add("dirs/"+name+"/"+name, name)
			b.symlink(name, "links/"+name)
			add("links/"+name, "")
			add("dirs/"+name, "")
		}
		long := strings.Repeat("deep directory/", 60)
		b.write(long+"f", "deep")
		add(long+"f", "deep")
		b.write("empty", "")
		add("empty", "")
		b.mkdir("emptydir")
		add("emptydir", "")
		b.symlink("/etc/passwd\n", "abs")
		add("abs", "")
		b.write("linked", "one inode")
		for _, rel := range []string{"linked2", "linked3"} {
			if err := os.Link(b.path("linked"), b.path(rel)); err != nil {
				t.Fatal(err)
			}
		}
		for _, rel := range []string{"linked", "linked2", "linked3"} {
			add(rel, "one inode")
		}
		if err := syscall.Mkfifo(b.path("fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.symlink("names", "via")
		got, problems, err := b.fetch(b.Sandbox, append(paths, "missing", "no/such", "fifo", "via/-rf", ".hermesfs/id", "../x"), backends.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(fetched{})); diff != "" {
			t.Errorf("fetched (-want +got):\n%.3000s", diff)
		}
		var bad []string
		for _, p := range problems {
			bad = append(bad, p.Path)
		}
		if diff := cmp.Diff([]string{".hermesfs/id", "../x", "fifo", "via/-rf"}, bad); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	})
}

func TestFetchNothing(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		b.mkdir("d")
		for _, paths := range [][]string{nil, {"missing"}, {"d"}, {"d", "missing/too"}} {
			got, problems, err := b.fetch(b.Sandbox, paths, backends.Limits{})
			if err != nil || len(problems) != 0 {
				t.Errorf("Fetch(%q) = %v, %v", paths, problems, err)
			}
			if _, ok := got["d"]; len(got) > 1 || ok != (len(paths) > 0 && paths[0] == "d") {
				t.Errorf("Fetch(%q) got %v", paths, got)
			}
		}
	})
}

// A file that changes between the first stat and the last is one problem.
func TestFetchWhileFilesChange(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		for _, rel := range []string{"grows", "shrinks", "vanishes", "stays", "turns", "zz"} {
			b.write(rel, strings.Repeat(rel, 50_000))
		}
		// The change comes when the list of paths has been looked at, before tar.
		hook := &hooked{Transport: b.tr, on: map[string]func(string) string{"fetch": func(text string) string {
			return strings.Replace(text, `printf 'M\0'`, `printf 'M\0'
				echo more >>grows; echo less >shrinks; rm -f vanishes turns; mkdir -p turns`, 1)
		}}}
		got, problems, err := b.fetch(b.over(hook), []string{"grows", "shrinks", "stays", "turns", "vanishes", "zz"}, backends.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got["stays"].content != strings.Repeat("stays", 50_000) || got["zz"].content != strings.Repeat("zz", 50_000) {
			t.Errorf("got %q, want what stays", keys(got))
		}
		// What was packed in a second attempt, after the change, is fine too: not here, as tar
		// packs it again with the change before it.
		var bad []string
		for _, p := range problems {
			bad = append(bad, p.Path)
		}
		if diff := cmp.Diff([]string{"grows", "shrinks", "turns", "vanishes"}, sorted(bad)); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	})
}

// What tar cannot read, though its stat stays as it is, is found in what tar says.
func TestFetchBlamesWhatTarNames(t *testing.T) {
	b := gnuBox(t)
	for _, rel := range []string{"a", "bad: one", "z"} {
		b.write(rel, rel)
	}
	say := func(what string) *hooked {
		return &hooked{Transport: b.tr, on: map[string]func(string) string{"fetch": func(text string) string {
			return text[:strings.LastIndex(text, script("fetch"))] + `
				tar() {
					command tar "$@" || return
					if tr '\0' '\n' <"$tmp/files" | grep -q bad; then
						echo "tar: ` + what + `" >&2
						return 2
					fi
				}
			` + script("fetch")
		}}}
	}
	got, problems, err := b.fetch(b.over(say("./bad: one: Read error at byte 0, while reading 3 bytes: Input/output error")), []string{"a", "bad: one", "z"}, backends.Limits{})
	if err != nil || len(got) != 2 || got["z"].content != "z" || len(problems) != 1 || problems[0].Path != "bad: one" {
		t.Errorf("got %v, %v, %v, want all but one", keys(got), problems, err)
	}
	var se *backends.ScriptError
	_, _, err = b.fetch(b.over(say("Cannot write: No space left on device")), []string{"a", "bad: one"}, backends.Limits{})
	if !errors.As(err, &se) || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("a full disk = %v, want a ScriptError that says so", err)
	}
}

func sorted(list []string) []string {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return keys(m)
}

// hooked changes scripts on their way.
type hooked struct {
	backends.Transport
	on map[string]func(script string) string
}

func (h *hooked) Run(ctx context.Context, text string, stdin io.Reader, stdout io.Writer) error {
	for name, change := range h.on {
		if strings.HasSuffix(text, "\n"+script(name)) {
			changed := change(text)
			if changed == text {
				return fmt.Errorf("test: the script %s is not what the test thinks", name)
			}
			text = changed
		}
	}
	return h.Transport.Run(ctx, text, stdin, stdout)
}

func TestFetchErrors(t *testing.T) {
	b := gnuBox(t)
	for i := range 20 {
		b.write(fmt.Sprintf("f%d", i), strings.Repeat("x", 100_000))
	}
	paths := keys(b.truth())[1:]
	stop := errors.New("disk is full")
	n := 0
	_, err := b.Fetch(t.Context(), paths, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || backends.IsTransient(err) {
		t.Errorf("Fetch = %v, want fn's error", err)
	}
	var limit *backends.LimitError
	for _, lim := range []backends.Limits{{MaxBytes: 1_999_999}, {MaxMembers: 19}} {
		if _, _, err := b.fetch(b.Sandbox, paths, lim); !errors.As(err, &limit) || backends.IsTransient(err) {
			t.Errorf("Fetch with %+v = %v, want a LimitError", lim, err)
		}
	}
	if got, _, err := b.fetch(b.Sandbox, paths, backends.Limits{MaxBytes: 2_000_000, MaxMembers: 20}); err != nil || len(got) != 20 {
		t.Errorf("Fetch at the limits = %d files, %v, want 20", len(got), err)
	}
	if _, problems, err := b.fetch(b.Sandbox, []string{strings.Repeat("x", 41), "f1"}, backends.Limits{MaxPath: 40}); err != nil || len(problems) != 1 {
		t.Errorf("Fetch of a long path = %v, %v, want one problem", problems, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.Fetch(ctx, paths, backends.Limits{}, func(backends.Entry, io.Reader) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Fetch = %v, want context.Canceled", err)
	}
}

// The near side's memory must not grow with the size of a file.
func TestFetchMemoryIsFlat(t *testing.T) {
	b := gnuBox(t)
	const size = 256 << 20
	f, err := os.Create(b.path("big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	var m runtime.MemStats
	var most, n uint64
	_, err = b.Fetch(t.Context(), []string{"big"}, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
		buf := make([]byte, 1<<20)
		for {
			k, err := io.ReadFull(r, buf)
			h.Write(buf[:k])
			if n++; n%32 == 0 {
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
			if err != nil {
				return nil
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < size>>20 || most > 32<<20 {
		t.Errorf("read %d MiB with %d MiB of heap, want all of it with at most 32", n, most>>20)
	}
}
