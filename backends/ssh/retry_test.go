package ssh

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hermesfs/backends"
)

// A connection that ends before the script starts is opened once more; after that, or when some
// of stdin cannot be had again, nothing may run twice.
func TestRetry(t *testing.T) {
	const whole = "exec sh -c \"$last\"\n"
	for _, tc := range []struct {
		name, first, second string
		size                int // of stdin
		attempts            int
		err                 error
	}{
		{"at once", "exit 255\n", whole, 300_000, 2, nil},
		{"within stdin", "head -c 1000 >/dev/null; exit 255\n", whole, 300_000, 2, nil},
		{"twice", "exit 255\n", "exit 255\n", 1000, 2, errNotStarted},
		{"killed", "kill -9 $$\n", whole, 1000, 2, nil},
		{"after the start", "sh -c \"$last\"; exit 255\n", whole, 1000, 1, errLost},
		{"after much stdin", "head -c 400000 >/dev/null; exit 255\n", whole, 900_000, 1, errNotStarted},
		{"after stdout", "echo banner; exit 255\n", whole, 1000, 1, errNotStarted},
	} {
		calls := filepath.Join(t.TempDir(), "calls")
		tr := fake(t, `case "$1 $*" in -G*) exit 1 ;; *' -O '* | *' -M '*) exit 0 ;; esac
for last; do :; done
echo call >>`+calls+`
if [ $(wc -l <`+calls+`) = 1 ]; then
`+tc.first+`fi
`+tc.second)
		in := strings.Repeat("x", tc.size-3) + "end"
		var out bytes.Buffer
		err := tr.Run(t.Context(), "cat", strings.NewReader(in), &out)
		if !errors.Is(err, tc.err) || tc.err == nil && (err != nil || out.String() != in) {
			t.Errorf("%s: %d bytes, %v, want %d, %v", tc.name, out.Len(), err, len(in), tc.err)
		}
		if tc.err != nil && !backends.IsTransient(err) {
			t.Errorf("%s: %v is not transient", tc.name, err)
		}
		log, _ := os.ReadFile(calls)
		if got := bytes.Count(log, []byte("call")); got != tc.attempts {
			t.Errorf("%s: %d attempts, want %d", tc.name, got, tc.attempts)
		}
	}
}
