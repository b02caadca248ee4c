package ssh

import (
	"bytes"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
	"hermesfs/backends/shell"
)

func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.New(rand.NewSource(3)).Read(b) // never fails
	return b
}

func fetchOne(t *testing.T, sandbox *shell.Sandbox, name string, underWay func()) []byte {
	t.Helper()
	var got []byte
	problems, err := sandbox.Fetch(t.Context(), []string{name}, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
		first := make([]byte, 100_000)
		if _, err := io.ReadFull(r, first); err != nil {
			return err
		}
		underWay()
		rest, err := io.ReadAll(r)
		got = append(first, rest...)
		return err
	})
	if err != nil || len(problems) > 0 {
		t.Fatalf("Fetch = %v, %v", err, problems)
	}
	return got
}

// A connection that breaks within a fetch is opened again, and the rest is fetched.
func TestFetchGoesOn(t *testing.T) {
	s := backendtest.StartSSHD(t)
	sandbox := shell.New(dial(t, s), shell.Options{Mount: "test"})
	if err := sandbox.Claim(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	want := content(30 << 20)
	if err := os.WriteFile(filepath.Join(s.Home, ".hermes/big"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fetchOne(t, sandbox, "big", s.KillConnections); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the same %d", len(got), len(want))
	}
	if got := logins(t, s); got != 2 {
		t.Errorf("%d logins, want 2", got)
	}
}

// A push that breaks changes nothing, leaves nothing and can be repeated.
func TestPushBreaks(t *testing.T) {
	s := backendtest.StartSSHD(t)
	sandbox := shell.New(dial(t, s), shell.Options{Mount: "test"})
	if err := sandbox.Claim(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	want := content(8 << 20)
	put := func(between func()) *backends.Batch {
		return &backends.Batch{Puts: []backends.Put{{
			Path: "big", Kind: backends.File, Mode: 0o644, Size: int64(len(want)),
			Open: func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(bytes.NewReader(want[:5<<20]), hook(between), bytes.NewReader(want[5<<20:]))), nil
			},
		}}}
	}
	if _, err := sandbox.Push(t.Context(), put(s.KillConnections)); !backends.IsTransient(err) {
		t.Errorf("Push = %v, want a transient error", err)
	}
	waitFor(t, "the temporary directory to be gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(s.Home, ".hermes/.hermesfs/tmp/*"))
		return len(left) == 0
	})
	if entries, _ := filepath.Glob(filepath.Join(s.Home, ".hermes/*")); len(entries) != 1 || filepath.Base(entries[0]) != ".hermesfs" {
		t.Errorf("a broken push left %q", entries)
	}
	if r, err := sandbox.Push(t.Context(), put(func() {})); err != nil || len(r.Done) != 1 {
		t.Fatalf("Push again = %+v, %v", r, err)
	}
	if got := fetchOne(t, sandbox, "big", func() {}); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the same %d", len(got), len(want))
	}
}

// hook is an empty reader that calls a function.
type hook func()

func (h hook) Read([]byte) (int, error) { h(); return 0, io.EOF }

func TestTransferBehindABanner(t *testing.T) {
	s := backendtest.StartSSHD(t)
	s.PrintBanner()
	sandbox := shell.New(dial(t, s), shell.Options{Mount: "test"})
	if err := sandbox.Claim(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	want := content(300_000)
	r, err := sandbox.Push(t.Context(), &backends.Batch{Puts: []backends.Put{{
		Path: "f", Kind: backends.File, Mode: 0o644, Size: int64(len(want)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(want)), nil },
	}}})
	if err != nil || len(r.Done) != 1 {
		t.Fatalf("Push = %+v, %v", r, err)
	}
	if got := fetchOne(t, sandbox, "f", func() {}); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the same %d", len(got), len(want))
	}
}

func TestHomeOfURL(t *testing.T) {
	s := backendtest.StartSSHD(t)
	base := t.TempDir()
	for home, want := range map[string]string{
		"":                       filepath.Join(s.Home, ".hermes"),
		"~/boxes/it's one":       filepath.Join(s.Home, "boxes/it's one"),
		filepath.Join(base, "x"): filepath.Join(base, "x"),
	} {
		sandbox := shell.New(dial(t, s, func(o *Options) { o.Home = home }), shell.Options{Mount: "test"})
		if err := sandbox.Claim(t.Context(), "id"); err != nil {
			t.Errorf("Claim of %q = %v", home, err)
			continue
		}
		if h, err := sandbox.Hello(t.Context()); err != nil || h.Home != want {
			t.Errorf("the home %q is %q, %v, want %q", home, h.Home, err, want)
		}
		if _, err := os.Stat(filepath.Join(want, ".hermesfs/id")); err != nil {
			t.Error(err)
		}
	}
}
