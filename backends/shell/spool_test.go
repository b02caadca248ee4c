package shell

import (
	"context"
	"io"
	"os"
	"testing"

	"hermesfs/backends"
)

// A losing transport cuts the first answer, and the sandbox loses what was to be sent again.
type losing struct {
	faulty
	tmps string
}

func (l *losing) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	err := l.faulty.Run(ctx, script, stdin, stdout)
	if l.runs == 2 { // after the greeting
		if err := os.RemoveAll(l.tmps); err != nil {
			return err
		}
	}
	return err
}

// What a script says that cannot go on is not taken for the bytes that it should have sent.
func TestFetchLosesItsSpool(t *testing.T) {
	eachFlavour(t, func(t *testing.T, b *box) {
		paths := b.tree()
		l := &losing{faulty: faulty{Transport: b.tr, maxOut: 50_000, onlyRuns: 2}, tmps: b.path(".hermesfs/tmp")}
		s := b.over(l)
		if _, _, err := b.fetch(s, paths, backends.Limits{}); !backends.IsTransient(err) {
			t.Errorf("Fetch = %v, want a transient error", err)
		}
		if l.runs > 5 {
			t.Errorf("%d scripts ran, want it given up", l.runs)
		}
	})
}
