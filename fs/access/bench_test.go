package access

import "testing"

var benchPaths = []string{
	"skills/mlops/huggingface/references/training/lora/config.md",
	"skills/productivity/google-workspace/scripts/gmail.py",
	"skills/web/node_modules/x/index.js",
	"cache/documents/report.pdf",
	"hermes-agent/venv/lib/python3.12/site-packages/numpy/core.py",
	"state.db-wal",
	"SOUL.md",
}

func BenchmarkLevel(b *testing.B) {
	p := mustNew(b, Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Level(benchPaths[i%len(benchPaths)])
	}
}

func BenchmarkLevelAll(b *testing.B) {
	p := mustNew(b, Options{Preset: "all"})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Level(benchPaths[i%len(benchPaths)])
	}
}

func BenchmarkEnter(b *testing.B) {
	p := mustNew(b, Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Enter(benchPaths[i%len(benchPaths)])
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		mustNew(b, Options{})
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	p := mustNew(t, Options{})
	if n := testing.AllocsPerRun(100, func() {
		for _, path := range benchPaths {
			p.Level(path)
			p.Enter(path)
		}
	}); n != 0 {
		t.Errorf("%v allocations in Level and Enter, want none", n)
	}
}
