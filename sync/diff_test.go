package syncer

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
)

func hexOf(s string) string {
	h := sha(s)
	return hex.EncodeToString(h[:])
}

func TestDiff(t *testing.T) {
	r := newRig(t, tree{"same": "1", "edit": "111", "grown": "1", "chmod": "c", "del": "four", "dir/x": "x", "type": "t", "l": "->same", "host": "h"}, noSandbox)
	r.put("same", "1", 0o644)
	r.put("edit", "222", 0o644)
	r.put("grown", "12", 0o644)
	r.put("chmod", "c", 0o755)
	r.put("new/file", "n", 0o600)
	r.put("host", "H", 0o644)
	tree{"host": "by the host"}.write(t, r.home)
	for _, p := range []string{"del", "dir/x", "dir", "type"} {
		r.remove(p)
	}
	must(t, r.stack.Put(layer.Put{Path: "type", Kind: layer.Symlink, Target: "same"}))
	must(t, r.stack.Put(layer.Put{Path: "l", Kind: layer.Symlink, Target: "edit"}))
	got, err := r.Diff(ctx, nil)
	must(t, err)
	slices.SortFunc(got, func(a, b DiffEntry) int { return comparePaths(a.Path, b.Path) })
	w := access.Write
	want := []DiffEntry{
		{Path: "chmod", Change: "chmod", Kind: "file", Level: w, Size: 1, Mode: "0755"},
		{Path: "del", Change: "deleted", Kind: "file", Level: w, Size: 4},
		{Path: "dir", Change: "deleted", Kind: "directory", Level: w},
		{Path: "dir/x", Change: "deleted", Kind: "file", Level: w, Size: 1},
		{Path: "edit", Change: "modified", Kind: "file", Level: w, Size: 3, Mode: "0644", LowerSHA256: hexOf("111"), UpperSHA256: hexOf("222")},
		{Path: "grown", Change: "modified", Kind: "file", Level: w, Size: 2, Mode: "0644"},
		{Path: "host", Change: "modified", Kind: "file", Level: w, Size: 1, Mode: "0644", HomeChanged: true},
		{Path: "l", Change: "modified", Kind: "symlink", Level: w, Size: 4, Mode: "0777"},
		{Path: "new", Change: "created", Kind: "directory", Level: w, Mode: "0755"},
		{Path: "new/file", Change: "created", Kind: "file", Level: w, Size: 1, Mode: "0600"},
		{Path: "type", Change: "type", Kind: "symlink", Level: w, Size: 4, Mode: "0777"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
	some, err := r.Diff(ctx, []string{"dir", "edit"})
	must(t, err)
	if len(some) != 3 {
		t.Errorf("Diff of dir and edit: %+v", some)
	}
	b, err := json.Marshal(got[0])
	must(t, err)
	if want := `{"path":"chmod","change":"chmod","kind":"file","level":"write","size":1,"mode":"0755"}`; string(b) != want {
		t.Errorf("as JSON %s, want %s", b, want)
	}
	// Looking changes nothing.
	wantUpper(t, r, "chmod", "del", "dir/x", "dir", "edit", "grown", "host", "l", "new", "new/file", "same", "type")
}

func TestDiscard(t *testing.T) {
	r := newRig(t, tree{"a": "1", "d/x": "x", "d/y": "y"})
	r.start()
	tree{"a": "2", "new/n": "n"}.write(t, r.far)
	r.pull()
	r.remove("d/x")
	r.put("d/y", "edited", 0o644)
	if _, err := r.Discard(ctx, []string{"a", "nothing"}); !errors.Is(err, ErrNoChange) {
		t.Errorf("Discard of a path without a change = %v", err)
	}
	if e, _ := r.stack.Lstat("a"); !e.Upper {
		t.Error("a refused discard dropped something")
	}
	report, err := r.Discard(ctx, []string{"a", "d", "new"})
	must(t, err)
	if diff := cmp.Diff([]string{"a", "d", "d/x", "d/y", "new", "new/n"}, report.Discarded); diff != "" {
		t.Errorf("discarded (-want +got):\n%s", diff)
	}
	wantUpper(t, r)
	// The sandbox gets the home's versions back, and none of it comes home again.
	r.push()
	r.wantFar(tree{"a": "1", "d/x": "x", "d/y": "y"})
	r.syncBack()
	r.wantHome(tree{"a": "1", "d/x": "x", "d/y": "y"})
}
