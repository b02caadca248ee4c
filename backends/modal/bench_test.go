package modal

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/modal/modaltest"
)

// What the SDK and this package cost, without a network.
func BenchmarkRun(b *testing.B) {
	s := modaltest.Start(b)
	tr, err := New(Options{SandboxID: s.Add("app", "", false).ID})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tr.Close(b.Context(), backends.Keep) })
	content := randomBytes(32 << 20)
	for _, bm := range []struct {
		name, script string
		in           []byte
		bytes        int64
	}{
		{"nothing", "true", nil, 0},
		{"up", "cat >/dev/null", content, int64(len(content))},
		{"down", fmt.Sprintf("head -c %d /dev/zero", len(content)), nil, int64(len(content))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.SetBytes(bm.bytes)
			for b.Loop() {
				var in io.Reader
				if bm.in != nil {
					in = bytes.NewReader(bm.in)
				}
				if err := tr.Run(b.Context(), bm.script, in, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
