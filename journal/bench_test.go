package journal

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

func filled(b *testing.B, paths int) (*Journal, map[string]Base) {
	b.Helper()
	j, err := Open(filepath.Join(b.TempDir(), "journal.db"), Options{})
	must(b, err)
	b.Cleanup(func() { must(b, j.Close()) })
	bases := sampleBases(paths)
	must(b, j.Apply(Update{Put: bases}))
	return j, bases
}

// BenchmarkPush10000 is what a push of 10,000 changed files costs the journal, durably.
func BenchmarkPush10000(b *testing.B) {
	j, bases := filled(b, 100_000)
	rnd := rand.New(rand.NewPCG(7, 7))
	for _, part := range []string{"SetPending", "Apply"} {
		b.Run(part, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				some := someOf(rnd, bases, 10_000)
				pending := pendingOf(some)
				b.StartTimer()
				if part == "SetPending" {
					must(b, j.SetPending(pending))
				} else {
					must(b, j.Apply(Update{Put: some, ClearPending: true}))
				}
			}
		})
	}
}

// BenchmarkCommit10000 is the journal's part of a commit of 10,000 files.
func BenchmarkCommit10000(b *testing.B) {
	j, _ := filled(b, 1000)
	steps := make([]Step, 10_000)
	done := map[int]Step{}
	for i := range steps {
		base := sampleBase(samplePath(i), i)
		steps[i] = Step{Path: samplePath(i), Op: "put", Kind: File, Mode: base.Mode, Mtime: base.Mtime, SHA256: base.SHA256, Object: base.SHA256}
		done[i] = steps[i]
	}
	for b.Loop() {
		seq, err := j.BeginCommit(Commit{Kind: "commit", StartedAt: noon}, steps)
		must(b, err)
		must(b, j.SetSteps(seq, done))
		must(b, j.EndCommit(seq, noon))
	}
}

// BenchmarkOpenLookup opens the journal and finds one path, as a command does and as a mount does.
func BenchmarkOpenLookup(b *testing.B) {
	for _, paths := range []int{100_000, 1_000_000} {
		j, _ := filled(b, paths)
		must(b, j.Compact())
		must(b, j.Close())
		for _, readOnly := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d/readonly=%v", paths, readOnly), func(b *testing.B) {
				for b.Loop() {
					j, err := Open(j.Path(), Options{ReadOnly: readOnly})
					must(b, err)
					if _, ok, err := j.Base(samplePath(paths / 3)); err != nil || !ok {
						b.Fatal(ok, err)
					}
					must(b, j.Close())
				}
			})
		}
	}
}

// BenchmarkBases reads the base of 100,000 paths.
func BenchmarkBases(b *testing.B) {
	j, _ := filled(b, 100_000)
	for b.Loop() {
		must(b, j.Bases(func(string, Base) error { return nil }))
	}
}
