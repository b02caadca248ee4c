package journal

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of the current format anew")

// TestGolden opens a file of every format there ever was. A format is never changed: if this fails,
// what changed needs a new number, or the record a new version.
func TestGolden(t *testing.T) {
	const golden, export = "testdata/format1.db", "testdata/format1.ndjson"
	if *update {
		writeGolden(t, golden, export)
	}
	file, err := os.ReadFile(golden)
	must(t, err)
	want, err := os.ReadFile(export)
	must(t, err)
	path := filepath.Join(t.TempDir(), "journal.db")
	must(t, os.WriteFile(path, file, 0o600))
	for _, readOnly := range []bool{true, false} {
		j := openAt(t, path, Options{ReadOnly: readOnly})
		if got := dump(t, j); got != string(want) {
			t.Errorf("ReadOnly %v: the file reads as\n%s\nwant\n%s", readOnly, got, want)
		}
		if b, ok, err := j.Base(samplePath(3)); err != nil || !ok || b != sampleBase(samplePath(3), 3) {
			t.Errorf("Base = %+v, %v, %v", b, ok, err)
		}
		if found := problems(t, j); len(found) > 0 {
			t.Errorf("Verify: %s", found)
		}
		must(t, j.Close())
	}
	j := openAt(t, path, Options{})
	for _, s := range script(8) {
		if s.name == stepForget {
			continue // it has forgotten commit 1 already
		}
		if s.name == stepSteps || s.name == stepEnd {
			continue
		}
		if err := s.do(j); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func writeGolden(t *testing.T, golden, export string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := Open(path, Options{})
	must(t, err)
	states := run(t, j, script(40))
	must(t, j.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(golden), 0o755))
	must(t, os.WriteFile(golden, file, 0o644))
	must(t, os.WriteFile(export, []byte(states[len(states)-1]), 0o644))
}
