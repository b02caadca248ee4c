package syncer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// benchFiles is how many small files the benchmarks have.
const benchFiles = 10_000

func benchPath(i int) string { return fmt.Sprintf("d%d/f%d", i%100, i) }

func benchRig(b *testing.B, change ...func(*rig)) *rig {
	t := &testing.T{}
	r := rigIn(t, b.TempDir())
	must(t, os.MkdirAll(r.home, 0o755))
	must(t, os.MkdirAll(filepath.Dir(r.far), 0o755))
	must(t, os.MkdirAll(r.state, 0o700))
	for i := range benchFiles {
		tree{benchPath(i): fmt.Sprintf("old content of some length, %d", i)}.write(t, r.home)
	}
	for _, f := range change {
		f(r)
	}
	r.open()
	return r
}

// BenchmarkCycle is a first push, a push and a sync back with nothing to do, and a sync back of 1 %.
func BenchmarkCycle(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := benchRig(b)
		unix.Sync()
		step := func(name string, f func()) {
			b.StartTimer()
			before := b.Elapsed()
			f()
			b.ReportMetric((b.Elapsed() - before).Seconds(), name+"-s")
			b.StopTimer()
		}
		step("attach", func() { _, err := r.Attach(ctx); must(nil, err) })
		step("push", func() { r.push() })
		step("idle-push", func() { r.push() })
		step("idle-sync-back", func() { r.syncBack() })
		for i := 0; i < benchFiles; i += 100 {
			tree{benchPath(i): fmt.Sprintf("edited there, %d", i)}.write(r.t, r.far)
		}
		step("sync-back", func() { r.syncBack() })
		r.close()
		b.StartTimer()
	}
}

// BenchmarkCommit is a commit of 10,000 changed small files.
func BenchmarkCommit(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := benchRig(b, noSandbox)
		for i := range benchFiles {
			r.put(benchPath(i), fmt.Sprintf("new content of another length, %d", i), 0o644)
		}
		unix.Sync()
		b.StartTimer()
		r.commit()
		b.StopTimer()
		r.close()
		b.StartTimer()
	}
}
