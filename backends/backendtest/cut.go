package backendtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/shell"
)

// errCut is what a cut connection shows.
var errCut = errors.New("the connection was cut")

// A cutter is a Transport whose streams end early, as often as it has offsets left.
type cutter struct {
	backends.Transport
	mu       sync.Mutex // guards out and in
	out, in  []int64    // after so many bytes of stdout, of stdin
	cutCount int
}

// next takes an offset; -1 is none.
func (c *cutter) next(list *[]int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(*list) == 0 {
		return -1
	}
	n := (*list)[0]
	*list = (*list)[1:]
	return n
}

func (c *cutter) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	if stdin != nil {
		if n := c.next(&c.in); n >= 0 {
			stdin = io.MultiReader(io.LimitReader(stdin, n), failing{errCut})
		}
	}
	var w *cutWriter
	if stdout != nil {
		if n := c.next(&c.out); n >= 0 {
			w = &cutWriter{w: stdout, left: n}
			stdout = w
		}
	}
	err := c.Transport.Run(ctx, script, stdin, stdout)
	if errors.Is(err, errCut) || w != nil && w.cut && ctx.Err() == nil {
		c.mu.Lock()
		c.cutCount++
		c.mu.Unlock()
		return &backends.TransportError{Op: "cutter", Err: errCut}
	}
	return err
}

// A cutWriter loses what comes after its first bytes: the far side goes on, and does not know.
type cutWriter struct {
	w    io.Writer
	left int64
	cut  bool
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		c.cut = true
	}
	if n := min(int64(len(p)), c.left); n > 0 {
		c.left -= n
		if n, err := c.w.Write(p[:n]); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// testCut cuts transfers anywhere. A fetch that was cut gives the right bytes or a transient
// error; a push that was cut changes nothing, or all when it was cut after the bytes; and both
// work when they are done again.
func testCut(t *testing.T, b *box) {
	random := rand.New(rand.NewSource(2))
	content := make([]byte, 1<<20)
	_, _ = random.Read(content) // never fails
	want := b.push(file("one", string(content), 0o644), file("two", "small", 0o644))
	hello, err := b.sandbox.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutter{Transport: b.Transport}
	sandbox := shell.New(cut, shell.Options{Mount: "cut", Probe: hello.Probe})
	resumed := 0
	for range 6 {
		offset := random.Int63n(int64(len(content)) + 20_000)
		cut.out = []int64{offset}
		got := map[string]node{}
		problems, err := sandbox.Fetch(t.Context(), []string{"one", "two"}, backends.Limits{}, func(e backends.Entry, r io.Reader) error {
			c, err := io.ReadAll(r)
			got[e.Path] = node{kind: e.Kind, mode: e.Mode, mtime: e.Mtime / 1e9, content: string(c)}
			return err
		})
		switch {
		case err == nil && len(problems) == 0:
			resumed++
			b.same(fmt.Sprint("cut at ", offset), got, want)
		case !backends.IsTransient(err):
			t.Errorf("fetch cut at %d = %v, %q, want a transient error", offset, err, problems)
		}
	}
	if cut.cutCount == 0 || resumed == 0 {
		t.Errorf("%d cuts, %d fetches came to their end, want some of each", cut.cutCount, resumed)
	}
	for i := range 6 {
		offset := random.Int63n(int64(len(content)))
		cut.in, cut.out = []int64{offset}, nil
		name := fmt.Sprint("pushed ", i)
		batch := func() *backends.Batch {
			return &backends.Batch{Puts: []backends.Put{file(name, string(content), 0o644)}}
		}
		if _, err := sandbox.Push(t.Context(), batch()); !backends.IsTransient(err) {
			t.Errorf("push cut at %d = %v, want a transient error", offset, err)
		}
		cut.in = nil
		b.same(fmt.Sprint("push cut at ", offset), b.truth(), want)
		if r, err := sandbox.Push(t.Context(), batch()); err != nil || len(r.Done) != 1 {
			t.Errorf("push again = %+v, %v", r, err)
		}
		want[name] = node{kind: backends.File, mode: 0o644, mtime: when.Unix(), content: string(content)}
		b.must("rm "+quote(b.home+"/"+name), "")
		delete(want, name)
	}
	if err := sandbox.Claim(t.Context(), marker); err != nil { // sweeps
		t.Error(err)
	}
}

// testCancelVerbs cancels a push and a fetch that are under way.
func testCancelVerbs(t *testing.T, b *box) {
	want := b.push(file("a", strings.Repeat("a", 1<<20), 0o644))
	stop := errors.New("told to stop")
	stopped := func(what string, verb func(ctx context.Context, underWay func()) error) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		var start time.Time
		err := verb(ctx, func() { start = time.Now(); cancel(stop) })
		if !errors.Is(err, stop) {
			t.Errorf("%s = %v, want the cause", what, err)
		}
		if d := time.Since(start); d > cancelLimit+time.Second { // and one for cleaning up
			t.Errorf("%s: cancelling took %v", what, d)
		}
	}
	stopped("push", func(ctx context.Context, underWay func()) error {
		put := file("b", strings.Repeat("b", 4<<20), 0o644)
		put.Open = func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("b", 2<<20)), onRead(underWay), strings.NewReader(strings.Repeat("b", 2<<20)))), nil
		}
		_, err := b.sandbox.Push(ctx, &backends.Batch{Puts: []backends.Put{put}})
		return err
	})
	stopped("fetch", func(ctx context.Context, underWay func()) error {
		_, err := b.sandbox.Fetch(ctx, []string{"a"}, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
			underWay()
			_, err := io.Copy(io.Discard, r)
			return err
		})
		return err
	})
	b.check(want)
}

// onRead calls a function when it is read, and is empty.
type onRead func()

func (f onRead) Read([]byte) (int, error) { f(); return 0, io.EOF }

// testConcurrentVerbs does several things at once over one connection.
func testConcurrentVerbs(t *testing.T, b *box) {
	want := b.push(file("shared", strings.Repeat("s", 200_000), 0o644))
	var mu sync.Mutex // guards want
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			name := fmt.Sprint("own ", i)
			content := strings.Repeat(name, 20_000)
			r, err := b.sandbox.Push(t.Context(), &backends.Batch{Puts: []backends.Put{file(name, content, 0o644)}})
			if err != nil || len(r.Done) != 1 {
				t.Errorf("push %d = %+v, %v", i, r, err)
				return
			}
			mu.Lock()
			want[name] = node{kind: backends.File, mode: 0o644, mtime: when.Unix(), content: content}
			mu.Unlock()
			n := 0
			if _, err := b.sandbox.Fetch(t.Context(), []string{"shared", name}, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
				c, err := io.ReadAll(r)
				n += len(c)
				return err
			}); err != nil || n != 200_000+len(content) {
				t.Errorf("fetch %d = %d bytes, %v", i, n, err)
			}
		})
	}
	wg.Wait()
	b.check(want)
}
