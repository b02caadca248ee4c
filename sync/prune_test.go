package syncer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPlanPrune(t *testing.T) {
	now := time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	uses := map[string][]ObjectUse{
		"a": {
			{Seq: 1, At: day(1), Objects: []string{"old", "shared"}},
			{Seq: 2, At: day(10), Objects: []string{"mid"}},
			{At: day(10), Objects: []string{"logged"}},
			{Seq: 3, Open: true, Objects: []string{"open"}},
		},
		"b": {{Seq: 1, At: day(2), Objects: []string{"b"}}, {Seq: 2, At: day(20), Objects: []string{"shared"}}},
	}
	stored := []StoredObject{
		{"b", 1, day(2)},
		{"fresh", 64, now.Add(-time.Hour)},
		{"logged", 2, day(10)},
		{"mid", 4, day(10)},
		{"old", 8, day(1)},
		{"open", 16, day(1)},
		{"shared", 32, day(1)},
		{"stray", 128, day(1)},
	}
	for _, tc := range []struct {
		name    string
		o       PruneOptions
		commits string
		objects string
	}{
		{"what nothing names", PruneOptions{MaxSize: -1}, "", "stray"},
		{"by age", PruneOptions{Before: day(5), MaxSize: -1}, "a1 b1", "b old stray"},
		{"by age, one mount", PruneOptions{Mount: "a", Before: day(15), MaxSize: -1}, "a1 a2", "logged mid old stray"},
		{"all", PruneOptions{Before: now, MaxSize: -1}, "a1 b1 a2 b2", "b logged mid old shared stray"},
		{"size fits", PruneOptions{MaxSize: 63}, "", "stray"},
		{"by size", PruneOptions{MaxSize: 55}, "a1", "old stray"},
		{"by size, both", PruneOptions{MaxSize: 54}, "a1 b1", "b old stray"},
		{"by size, one mount cannot", PruneOptions{Mount: "b", MaxSize: 1}, "b1 b2", "b stray"},
		{"no size", PruneOptions{MaxSize: 0}, "a1 b1 a2 b2", "b logged mid old shared stray"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := PlanPrune(uses, stored, tc.o, now)
			var commits, objects []string
			var bytes int64
			for _, c := range p.Commits {
				commits = append(commits, c.Mount+string(rune('0'+c.Seq)))
			}
			for _, s := range p.Objects {
				objects = append(objects, s.Name)
				bytes += s.Size
			}
			if got := strings.Join(commits, " "); got != tc.commits {
				t.Errorf("commits %q, want %q", got, tc.commits)
			}
			if got := strings.Join(objects, " "); got != tc.objects {
				t.Errorf("objects %q, want %q", got, tc.objects)
			}
			if p.Bytes != bytes || p.KeptBytes != 255-bytes || p.Kept != len(stored)-len(objects) {
				t.Errorf("%d bytes go, %d objects of %d stay", p.Bytes, p.Kept, p.KeptBytes)
			}
		})
	}
}

func TestPruneObjects(t *testing.T) {
	r := restoreRig(t)
	uses, err := ObjectUses(r.journal)
	must(t, err)
	stored, err := r.Engine.objects.List()
	must(t, err)
	later := time.Now().Add(48 * time.Hour)
	// Nothing that the commit replaced goes as long as the commit is known.
	p := PlanPrune(map[string][]ObjectUse{"one": uses}, stored, PruneOptions{MaxSize: -1}, later)
	must(t, r.Engine.objects.Remove(p.Objects, later))
	if len(p.Objects) > 0 || len(p.Commits) > 0 {
		t.Errorf("plan %+v, want nothing", p)
	}
	p = PlanPrune(map[string][]ObjectUse{"one": uses}, stored, PruneOptions{Before: later, MaxSize: -1}, later)
	if len(p.Commits) != 1 || len(p.Objects) != len(stored) || len(stored) == 0 {
		t.Errorf("plan %+v of %d objects, want all of commit 1", p, len(stored))
	}
	must(t, os.WriteFile(filepath.Join(r.state, "objects", "tmp-1"), nil, 0o600))
	must(t, r.journal.ForgetCommits(1))
	must(t, r.Engine.objects.Remove(p.Objects, later))
	left, err := os.ReadDir(filepath.Join(r.state, "objects"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left in the store: %v", left)
	}
	// And the store goes on to work.
	r.put("same", "edited", 0o644)
	if c := r.commit(); len(c.Applied) != 1 || r.object(c.Applied[0].Preimage) != "s" {
		t.Errorf("commit after a prune: %+v", c)
	}
}

// While somebody prunes, no operation begins, and while one runs, nobody prunes.
func TestHoldObjects(t *testing.T) {
	r := newFastRig(t, tree{"a": "1"}, noSandbox)
	release, err := r.Engine.objects.Hold(ctx)
	must(t, err)
	short, cancel := context.WithTimeout(ctx, 2*lockPoll)
	defer cancel()
	r.put("a", "2", 0o644)
	if _, err := r.Commit(short, CommitOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit while the store is held = %v, want to wait", err)
	}
	release()
	r.options.Fail = func(string) error {
		short, cancel := context.WithTimeout(ctx, lockPoll)
		defer cancel()
		if _, err := r.Engine.objects.Hold(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Hold in a commit = %v, want to wait", err)
		}
		return nil
	}
	r.remount()
	r.commit()
	r.wantHome(tree{"a": "2"})
}
