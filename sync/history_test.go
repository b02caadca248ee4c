package syncer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConflict(t *testing.T) {
	object := strings.Repeat("0f", 32)
	for _, c := range []Conflict{
		{Kind: "content", Where: "home", Winner: "theirs", Preimage: object},
		{Kind: "mode", Where: "upper", Winner: "ours"},
		{Kind: "type", Where: "home", Winner: "ours", Beside: `d/a "b", the other is won.sandbox-x`},
		{Kind: "content", Where: "home", Winner: Restored, Preimage: object},
	} {
		got, ok := parseConflict(c.describe())
		if diff := cmp.Diff(c, got); !ok || diff != "" {
			t.Errorf("parseConflict(%q) (-want +got):\n%s", c.describe(), diff)
		}
	}
	for _, bad := range []string{"", "what", "content, theirs", "content in home, theirs won, the other is object 0f"} {
		if got, ok := parseConflict(bad); ok {
			t.Errorf("parseConflict(%q) = %+v", bad, got)
		}
	}
}

func TestHistory(t *testing.T) {
	r := restoreRig(t)
	tree{"edited": "later"}.write(t, r.home)
	r.restore(1)
	got, err := History(r.journal)
	must(t, err)
	for i := range got {
		if got[i].EndedAt == nil || got[i].EndedAt.Before(got[i].StartedAt) {
			t.Errorf("commit %d: %+v", got[i].Seq, got[i])
		}
		got[i].StartedAt, got[i].EndedAt = got[0].StartedAt, nil
	}
	want := []PastCommit{
		{Seq: 2, Kind: "restore", StartedAt: got[0].StartedAt, Steps: got[0].Steps, Applied: got[0].Steps, Conflicts: 1},
		{Seq: 1, Kind: "commit", StartedAt: got[0].StartedAt, Steps: got[1].Steps, Applied: got[1].Steps, Conflicts: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestConflicts(t *testing.T) {
	r := restoreRig(t)
	tree{"edited": "later"}.write(t, r.home)
	r.restore(1)
	// One in the upper layer: a local process and the sandbox. It has no commit of its own.
	r.push()
	r.put("same", "local", 0o644)
	tree{"same": "far"}.write(t, r.far)
	r.syncBack()
	all, err := Conflicts(r.journal)
	must(t, err)
	type line struct {
		Seq                       uint64
		Path, Where, Winner, Lost string
	}
	got := map[line]bool{}
	for _, c := range all {
		got[line{c.Seq, c.Path, c.Where, c.Winner, r.object(c.Preimage)}] = true
	}
	want := map[line]bool{
		{1, "both", "home", "theirs", "ours"}:      true,
		{2, "edited", "home", "restored", "later"}: true,
		{0, "same", "upper", "theirs", "local"}:    true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	if len(all) != 3 || all[0].At.Before(all[2].At) {
		t.Errorf("%+v is not newest first", all)
	}
}
