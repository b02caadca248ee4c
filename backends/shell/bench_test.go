package shell

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/dir"
)

const benchFiles = 10_000

func benchBatch() *backends.Batch {
	batch := &backends.Batch{}
	for i := range benchFiles {
		batch.Puts = append(batch.Puts, file(fmt.Sprintf("skills/category-%d/skill-%d/%d.md", i/400, i/20, i), strings.Repeat(fmt.Sprint(i, " "), 1000)))
	}
	return batch
}

func benchSandbox(b *testing.B) (*Sandbox, string) {
	b.Helper()
	root := b.TempDir()
	tr, err := dir.New(dir.Options{Path: root})
	if err != nil {
		b.Fatal(err)
	}
	s := New(tr, Options{Mount: "bench"})
	if err := s.Claim(b.Context(), "id"); err != nil {
		b.Fatal(err)
	}
	return s, filepath.Join(root, ".hermes")
}

func BenchmarkPushFresh(b *testing.B) {
	s, home := benchSandbox(b)
	for b.Loop() {
		if r, err := s.Push(b.Context(), benchBatch()); err != nil || len(r.Done) != benchFiles {
			b.Fatal(err, r)
		}
		b.StopTimer()
		if err := os.RemoveAll(filepath.Join(home, "skills")); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkPushOver(b *testing.B) {
	s, _ := benchSandbox(b)
	for first := true; b.Loop(); first = false {
		batch := benchBatch()
		if !first {
			for i := range batch.Puts {
				batch.Puts[i].Expect = expectFile(strings.Repeat(fmt.Sprint(i, " "), 1000))
			}
		}
		if r, err := s.Push(b.Context(), batch); err != nil || len(r.Done) != benchFiles {
			b.Fatal(err, r)
		}
	}
}

func BenchmarkManifestHashFetch(b *testing.B) {
	s, _ := benchSandbox(b)
	if _, err := s.Push(b.Context(), benchBatch()); err != nil {
		b.Fatal(err)
	}
	var paths []string
	list := func(b *testing.B) {
		paths = paths[:0]
		_, err := s.Manifest(b.Context(), backends.Scope{Roots: []string{"skills"}}, func(e backends.Entry) error {
			if e.Kind == backends.File {
				paths = append(paths, e.Path)
			}
			return nil
		})
		if err != nil || len(paths) != benchFiles {
			b.Fatal(err, len(paths))
		}
	}
	list(b)
	b.Run("manifest", func(b *testing.B) {
		for b.Loop() {
			list(b)
		}
	})
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			if sums, err := s.Hash(b.Context(), paths); err != nil || len(sums) != benchFiles {
				b.Fatal(err, len(sums))
			}
		}
	})
	b.Run("fetch", func(b *testing.B) {
		for b.Loop() {
			n := 0
			_, err := s.Fetch(b.Context(), paths, backends.Limits{}, func(_ backends.Entry, r io.Reader) error {
				n++
				_, err := io.Copy(io.Discard, r)
				return err
			})
			if err != nil || n != benchFiles {
				b.Fatal(err, n)
			}
		}
	})
}
