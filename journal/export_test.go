package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestExport(t *testing.T) {
	j := newJournal(t)
	run(t, j, script(2))
	type object = map[string]any
	var got []object
	dec := json.NewDecoder(strings.NewReader(dump(t, j)))
	for dec.More() {
		var o object
		must(t, dec.Decode(&o))
		got = append(got, o)
	}
	var types []string
	for _, o := range got {
		types = append(types, o["type"].(string))
	}
	want := []string{"meta", "base", "base", "base", "base", "base", "pending", "pending", "foreign", "commit", "step", "step", "event", "event"}
	if !reflect.DeepEqual(types, want) {
		t.Fatalf("types = %q, want %q", types, want)
	}
	odd := object{
		"type": "base", "path": "odd \n\"\ufffd name", "path_base64": "b2RkIAoi/yBuYW1l", "kind": "symlink", "size": 0.0, "mode": 511.0,
		"mtime": "1969-12-31T23:59:59.999999995Z", "target": "to\ufffd", "target_base64": "dG/+",
	}
	if !reflect.DeepEqual(got[2], odd) {
		t.Errorf("base = %v, want %v", got[2], odd)
	}
	if want := (object{"type": "pending", "path": "gone", "delete": true}); !reflect.DeepEqual(got[6], want) {
		t.Errorf("pending = %v, want %v", got[6], want)
	}
	commit := object{
		"type": "commit", "commit": 2.0, "kind": "restore", "mount": "one", "home": "", "started_at": "2026-03-14T12:00:00Z",
		"open": true, "steps": 2.0,
	}
	if !reflect.DeepEqual(got[9], commit) {
		t.Errorf("commit = %v, want %v", got[9], commit)
	}
	event := object{"type": "event", "event": 2.0, "at": "2026-03-14T12:00:00Z", "path": samplePath(1), "what": "pushed"}
	if !reflect.DeepEqual(got[13], event) {
		t.Errorf("event = %v, want %v", got[13], event)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestExportToABrokenWriter(t *testing.T) {
	j := newJournal(t)
	run(t, j, script(50))
	boom := errors.New("boom")
	if err := j.Export(brokenWriter{boom}); !errors.Is(err, boom) || errors.Is(err, ErrCorrupt) {
		t.Errorf("Export = %v, want the writer's error", err)
	}
	var again bytes.Buffer
	must(t, j.Export(&again))
}
