package ssh

import (
	"io"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

func benchTransport(b *testing.B) *Transport {
	b.Helper()
	s := backendtest.StartSSHD(b)
	o, err := Parse(s.URL())
	if err != nil {
		b.Fatal(err)
	}
	o.ConfigFile = s.ConfigFile
	tr, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tr.Close(b.Context(), backends.Default) })
	if err := tr.Run(b.Context(), "true", nil, nil); err != nil {
		b.Fatal(err)
	}
	return tr
}

// BenchmarkRun is a script over a connection that stands.
func BenchmarkRun(b *testing.B) {
	tr := benchTransport(b)
	for b.Loop() {
		if err := tr.Run(b.Context(), "true", nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

const benchBytes = 64 << 20

func BenchmarkDown(b *testing.B) {
	tr := benchTransport(b)
	b.SetBytes(benchBytes)
	for b.Loop() {
		if err := tr.Run(b.Context(), "head -c 67108864 /dev/zero", nil, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUp(b *testing.B) {
	tr := benchTransport(b)
	b.SetBytes(benchBytes)
	for b.Loop() {
		if err := tr.Run(b.Context(), "cat >/dev/null", io.LimitReader(zeros{}, benchBytes), nil); err != nil {
			b.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
