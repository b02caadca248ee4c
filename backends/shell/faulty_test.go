package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hermesfs/backends"
)

// A faulty transport is a channel like those of docker exec, kubectl exec and ssh on a bad day.
type faulty struct {
	backends.Transport
	banner   string // printed first
	maxOut   int64  // bytes of each answer that arrive, 0 for all
	outErr   error  // what Run returns then, nil as if all was well
	maxIn    int64  // bytes of stdin that arrive, 0 for all
	flip     int64  // the byte of stdin that is damaged, 0 for none
	hang     bool   // after maxOut nothing comes and nothing ends
	runs     int
	onlyRuns int // the fault goes away after so many runs, 0 for never
}

func (f *faulty) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	f.runs++
	if f.onlyRuns > 0 && f.runs > f.onlyRuns {
		return f.Transport.Run(ctx, script, stdin, stdout)
	}
	if f.banner != "" {
		if _, err := io.WriteString(stdout, f.banner); err != nil {
			return err
		}
	}
	if stdin != nil && f.maxIn > 0 {
		stdin = io.LimitReader(stdin, f.maxIn)
	}
	if stdin != nil && f.flip > 0 {
		stdin = &flipper{Reader: stdin, left: f.flip}
	}
	if f.maxOut == 0 {
		return f.Transport.Run(ctx, script, stdin, stdout)
	}
	var all bytes.Buffer
	err := f.Transport.Run(ctx, script, stdin, &all)
	short := int64(all.Len()) > f.maxOut
	if _, err := io.CopyN(stdout, &all, min(f.maxOut, int64(all.Len()))); err != nil {
		return err
	}
	if f.hang && short {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if short {
		return f.outErr
	}
	return err
}

type flipper struct {
	io.Reader
	left int64
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if f.left > 0 && f.left <= int64(n) {
		p[f.left-1] ^= 0x20
	}
	f.left -= int64(n)
	return n, err
}

// tree fills a sandbox.
func (b *box) tree() (paths []string) {
	for i := range 40 {
		b.write(fmt.Sprintf("t/%d/f", i), strings.Repeat(fmt.Sprint(i, " "), 1+i*700))
		paths = append(paths, fmt.Sprintf("t/%d", i), fmt.Sprintf("t/%d/f", i))
	}
	return paths
}

func TestBannersAreIgnored(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		paths := b.tree()
		s := b.over(&faulty{Transport: b.tr, banner: "Welcome!\x00\n" + strings.Repeat("noise\n", 20_000) + "hermesfs-0:begin\nno newline at the end"})
		if h, err := s.Hello(t.Context()); err != nil || h.Marker != "id-1" {
			t.Errorf("Hello = %+v, %v", h, err)
		}
		got, problems, err := b.fetch(s, paths, backends.Limits{})
		if err != nil || len(problems) != 0 || len(got) != len(paths) {
			t.Errorf("Fetch: %d of %d, %v, %v", len(got), len(paths), problems, err)
		}
		if r, err := s.Push(t.Context(), &backends.Batch{Puts: []backends.Put{file("new", "new")}}); err != nil || len(r.Done) != 1 {
			t.Errorf("Push = %+v, %v", r, err)
		}
		n := 0
		if _, err := s.Manifest(t.Context(), backends.Scope{Roots: []string{"t"}}, func(backends.Entry) error { n++; return nil }); err != nil || n != len(paths)+1 {
			t.Errorf("Manifest: %d paths, %v", n, err)
		}
		if sums, err := s.Hash(t.Context(), paths); err != nil || len(sums) != len(paths)/2 {
			t.Errorf("Hash: %d sums, %v", len(sums), err)
		}
	})
}

// An endless banner, as of a channel that is no shell at all, ends.
func TestNoBeginLine(t *testing.T) {
	b := gnuBox(t)
	s := b.over(&faulty{Transport: b.tr, banner: strings.Repeat("x", 2*maxBanner)})
	if _, err := s.Hello(t.Context()); !backends.IsTransient(err) {
		t.Errorf("Hello = %v, want a transient error", err)
	}
}

// Wherever an answer is cut, and whatever the channel says of it, nothing of it is believed.
func TestAnswersThatAreCut(t *testing.T) {
	b := gnuBox(t)
	paths := b.tree()
	lost := &backends.TransportError{Op: "channel", Err: errors.New("connection lost")}
	verbs := map[string]func(s *Sandbox) error{
		"hello": func(s *Sandbox) error { _, err := s.Hello(t.Context()); return err },
		"claim": func(s *Sandbox) error { return s.Claim(t.Context(), "id-1") },
		"manifest": func(s *Sandbox) error {
			_, err := s.Manifest(t.Context(), backends.Scope{Roots: []string{"."}}, func(backends.Entry) error { return nil })
			return err
		},
		"hash": func(s *Sandbox) error { _, err := s.Hash(t.Context(), paths); return err },
		"push": func(s *Sandbox) error {
			_, err := s.Push(t.Context(), &backends.Batch{Puts: []backends.Put{file("p/1", "1"), directory("p/d", 0o755)}})
			return err
		},
	}
	for _, stat := range []string{"find", "c"} {
		for name, verb := range verbs {
			probe := "1;gnu;sha256sum;" + stat
			if name == "hello" {
				probe = ""
			}
			whole := &measured{Transport: b.tr}
			if err := verb(New(whole, Options{Probe: probe})); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for range 12 {
				cut := 1 + rand.Int64N(whole.n-1)
				for what, outErr := range map[string]error{"exit 0": nil, "lost": lost, "killed": &backends.ScriptError{Code: 137}} {
					err := verb(New(&faulty{Transport: b.tr, maxOut: cut, outErr: outErr}, Options{Probe: probe}))
					if !backends.IsTransient(err) {
						t.Errorf("%s with stat %s cut at %d of %d bytes, %s: %v, want a transient error", name, stat, cut, whole.n, what, err)
					}
				}
			}
		}
	}
}

type measured struct {
	backends.Transport
	n int64
}

func (m *measured) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	var all bytes.Buffer
	err := m.Transport.Run(ctx, script, stdin, io.MultiWriter(stdout, &all))
	m.n = int64(all.Len())
	return err
}

// A push whose archive is cut or damaged anywhere changes nothing.
func TestPushesThatAreCut(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		b.tree()
		b.write("victim", "victim")
		before := b.truth()
		batch := func() *backends.Batch {
			return &backends.Batch{
				Deletes: []backends.Delete{{Path: "victim", Expect: expectFile("victim")}},
				Puts:    []backends.Put{file("t/1/f", strings.Repeat("new", 3000)), file("n/1/f", "new"), symlink("n/2", "x"), directory("t/2", 0o700)},
			}
		}
		var in bytes.Buffer
		p := newPusher(batch(), tools{tar: b.tools.tar})
		if err := p.send(t.Context(), &in); err != nil {
			t.Fatal(err)
		}
		for range 15 {
			at := 1 + rand.Int64N(int64(in.Len())-tarRecord)
			for what, ch := range map[string]*faulty{"cut": {Transport: b.tr, maxIn: at}, "damaged": {Transport: b.tr, flip: at}} {
				s := New(ch, Options{Mount: "test mount", Probe: b.tools.probe()})
				r, err := s.Push(t.Context(), batch())
				if err == nil && len(r.Done) == 5 && b.read("n/1/f") == "new" && b.read("t/1/f") == strings.Repeat("new", 3000) {
					// It was in what does not matter: padding, or a time.
					if err := os.RemoveAll(b.path("n")); err != nil {
						t.Fatal(err)
					}
					b.write("victim", "victim")
					before = b.truth()
					continue
				}
				if err == nil || !backends.IsTransient(err) {
					t.Fatalf("%s at %d of %d: %+v, %v, want a transient error", what, at, in.Len(), r, err)
				}
				after := b.truth()
				// Our own directory makes the home's times move.
				delete(before, ".")
				delete(after, ".")
				if diff := cmp.Diff(before, after); diff != "" {
					t.Fatalf("%s at %d of %d changed (-before +after):\n%s", what, at, in.Len(), diff)
				}
				b.noTemps()
			}
			if t.Failed() {
				return
			}
		}
	})
}

// A fetch goes on where it was cut, and the readers notice nothing.
func TestFetchIsTakenUpAgain(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		paths := b.tree()
		for _, outErr := range []error{nil, &backends.TransportError{Err: errors.New("connection lost")}} {
			f := &faulty{Transport: b.tr, maxOut: 150_000, outErr: outErr}
			got, problems, err := b.fetch(b.over(f), paths, backends.Limits{})
			if err != nil || len(problems) != 0 || len(got) != len(paths) {
				t.Fatalf("Fetch: %d of %d, %v, %v", len(got), len(paths), problems, err)
			}
			if f.runs < 6 {
				t.Errorf("%d runs, want a transfer in several pieces", f.runs)
			}
			for path, e := range got {
				if e.Kind == backends.File && e.content != b.read(path) {
					t.Errorf("%s has other content", path)
				}
			}
		}
	})
}

func TestFetchCutAtRandom(t *testing.T) {
	b := gnuBox(t)
	paths := b.tree()
	for range 25 {
		f := &faulty{Transport: b.tr, maxOut: 1 + rand.Int64N(1_300_000), onlyRuns: 1 + rand.IntN(3)}
		got, _, err := b.fetch(New(f, Options{Probe: "1;gnu;sha256sum;find"}), paths, backends.Limits{})
		if err != nil {
			if !backends.IsTransient(err) {
				t.Errorf("cut at %d: %v, want a transient error", f.maxOut, err)
			}
			if err := b.Claim(t.Context(), "id-1"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for path, e := range got {
			if e.Kind == backends.File && e.content != b.read(path) {
				t.Errorf("cut at %d: %s has other content", f.maxOut, path)
			}
		}
	}
	sweepAll(t, b)
}

// sweepAll removes what transports that died before they said anything left.
func sweepAll(t *testing.T, b *box) {
	t.Helper()
	dirs, err := filepath.Glob(b.path(".hermesfs/tmp/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
}

// A channel that says nothing any more ends when it is told to.
func TestCancelOfADeadChannel(t *testing.T) {
	b := gnuBox(t)
	paths := b.tree()
	for _, name := range []string{"fetch", "push", "manifest"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := New(&faulty{Transport: b.tr, maxOut: 400, hang: true}, Options{Probe: "1;gnu;sha256sum;find"})
		why := errors.New("told to stop")
		timer := time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
		start := time.Now()
		var err error
		switch name {
		case "fetch":
			_, err = s.Fetch(ctx, paths, backends.Limits{}, func(backends.Entry, io.Reader) error { return nil })
		case "push":
			var batch backends.Batch
			for i := range 50 {
				batch.Puts = append(batch.Puts, file(fmt.Sprint("p/", i), "x"))
			}
			_, err = s.Push(ctx, &batch)
		case "manifest":
			_, err = s.Manifest(ctx, backends.Scope{Roots: []string{"t"}}, func(backends.Entry) error { return nil })
		}
		timer.Stop()
		cancel(nil)
		if !errors.Is(err, why) || backends.IsTransient(err) {
			t.Errorf("%s = %v, want the cause", name, err)
		}
		if d := time.Since(start); d > 2300*time.Millisecond {
			t.Errorf("%s took %v to stop", name, d)
		}
	}
	sweepAll(t, b)
}

// A script that gives up says why, and that it is for good.
func TestScriptErrors(t *testing.T) {
	b := newBox(t, rig{sh: "sh"})
	if _, err := b.Manifest(t.Context(), backends.Scope{Roots: []string{"."}}, nil); !errors.Is(err, backends.ErrNoHome) || backends.IsTransient(err) {
		t.Errorf("Manifest without a home = %v, want ErrNoHome", err)
	}
	if _, _, err := b.fetch(b.Sandbox, []string{"x"}, backends.Limits{}); !errors.Is(err, backends.ErrNoHome) {
		t.Errorf("Fetch without a home = %v, want ErrNoHome", err)
	}
	if err := os.WriteFile(b.home, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var se *backends.ScriptError
	if _, err := b.Hello(t.Context()); !errors.As(err, &se) || !strings.Contains(err.Error(), "is not a directory") || backends.IsTransient(err) {
		t.Errorf("Hello where the home is a file = %v, want a ScriptError that says so", err)
	}
	empty := newBox(t, rig{sh: "/bin/sh", env: []string{"PATH=" + t.TempDir()}})
	if _, err := empty.Hello(t.Context()); !errors.As(err, &se) || !strings.Contains(err.Error(), "no tar") {
		t.Errorf("Hello without tools = %v, want a ScriptError that names tar", err)
	}
}

// Where what sends the spool dies, what the script says then is not taken for the rest of it.
func TestFetchWhenSendingFails(t *testing.T) {
	b := gnuBox(t)
	paths := b.tree()
	hook := &hooked{Transport: b.tr, on: map[string]func(string) string{"fetch": func(text string) string {
		return strings.Replace(text, "\n"+`cat "$tmp/spool"`, "\n"+`(head -c 1000 "$tmp/spool"; exit 1)`, 1)
	}}}
	got, problems, err := b.fetch(b.over(hook), paths, backends.Limits{})
	if err != nil || len(problems) != 0 || len(got) != len(paths) {
		t.Fatalf("Fetch: %d of %d, %v, %v", len(got), len(paths), problems, err)
	}
}
