package journal

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

const second = int64(time.Second)

// noon is when the fixtures happen.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// sampleBase is a pushed file as it really looks: every field set, both stats near the base.
func sampleBase(path string, i int) Base {
	at := noon.UnixNano()
	mtime := at - int64(i)*97*second - 123456789
	size := int64(i*7919) % 30_000
	return Base{
		Kind: File, SHA256: sha256.Sum256([]byte(path)), Size: size, Mode: 0o644, Mtime: mtime, Generation: 1,
		Ours:     Stat{Dev: 0x801, Ino: uint64(5_000_000 + i), Size: size, Mtime: mtime, Ctime: mtime + int64(i%1000)*second*3600},
		HashedAt: at, PushedAt: at + 5*second,
		Theirs: Stat{Ino: uint64(9_000_000 + i), Size: size, Mtime: floorSecond(mtime), Ctime: at + 4*second},
	}
}

// samplePath is about 60 bytes long.
func samplePath(i int) string {
	return fmt.Sprintf("skills/category-%03d/skill-%04d/references/document-%06d.md", i/1000, i/20, i)
}

// step names one transaction of a script.
type step struct {
	name string
	do   func(j *Journal) error
}

// script is one of each durable step, with n bases; a kind of everything is in the journal at its end.
func script(n int) []step {
	put := map[string]Base{}
	pending := map[string]*Base{"gone": nil}
	var events []Event
	for i := range n {
		path := samplePath(i)
		b := sampleBase(path, i)
		put[path], pending[path] = b, &b
		events = append(events, Event{At: noon, Path: path, What: "pushed"})
	}
	put["skills"] = Base{Kind: Dir, Mode: 0o755, Mtime: noon.UnixNano(), Generation: 1}
	put["odd \n\"\xff name"] = Base{Kind: Symlink, Target: "to\xfe", Mode: 0o777, Mtime: -5}
	put["-"] = Base{Kind: File, Size: 5 << 30, Ours: Stat{Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 5}, Theirs: Stat{Mtime: -1}}
	steps := []Step{
		{
			Path: samplePath(1), Op: "put", Kind: File, Mode: 0o755, Mtime: noon.UnixNano(),
			SHA256: sha256.Sum256([]byte("new")), Object: sha256.Sum256([]byte("new object")),
			Before: Before{Kind: File, Mode: 0o644, Mtime: 99, Object: sha256.Sum256([]byte("old object")), Size: 3},
		},
		{Path: "link", Op: "symlink", Kind: Symlink, Target: "a", Before: Before{Kind: Symlink, Target: "b"}},
		{Path: "dir", Op: "mkdir", Kind: Dir, Mode: 0o700},
	}
	applied := steps[0]
	applied.Result, applied.Conflict, applied.Message = "applied", "theirs", "both sides changed"
	return []step{
		{stepMeta, func(j *Journal) error {
			return j.UpdateMeta(func(m *Meta) {
				*m = Meta{
					Mount: "one", MountID: "id-1", Home: "/home/u/.hermes", SandboxURL: "ssh://u@h", SandboxID: "box", CreatedAt: noon,
					Generation: 3, Probe: "find=gnu",
				}
			})
		}},
		{stepPending, func(j *Journal) error { return j.SetPending(pending) }},
		{stepApply, func(j *Journal) error {
			return j.Apply(Update{
				Put: put, Delete: []string{"gone"}, ClearPending: true, Foreign: map[string]Stat{"theirs": {Ino: 5, Size: 6}}, Events: events,
			})
		}},
		{stepBegin, func(j *Journal) error {
			_, err := j.BeginCommit(Commit{Mount: "one", Home: "/home/u/.hermes", StartedAt: noon, Kind: "commit"}, steps)
			return err
		}},
		{stepSteps, func(j *Journal) error { return j.SetSteps(1, map[int]Step{0: applied}) }},
		{stepEnd, func(j *Journal) error { return j.EndCommit(1, noon.Add(time.Minute)) }},
		{"begin a second", func(j *Journal) error {
			_, err := j.BeginCommit(Commit{Mount: "one", StartedAt: noon, Kind: "restore"}, steps[:2])
			return err
		}},
		{stepForget, func(j *Journal) error { return j.ForgetCommits(1) }},
		{stepCompact, func(j *Journal) error { return j.Compact() }},
		{"pending again", func(j *Journal) error {
			return j.SetPending(map[string]*Base{"gone": nil, samplePath(0): pending[samplePath(0)]})
		}},
	}
}

// run runs a script and returns what the journal held before it and after each step.
func run(t testing.TB, j *Journal, steps []step) (states []string) {
	t.Helper()
	states = append(states, dump(t, j))
	for _, s := range steps {
		if err := s.do(j); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		states = append(states, dump(t, j))
	}
	return states
}
