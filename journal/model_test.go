package journal

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is the journal as plain maps.
type model struct {
	path    string
	j       *Journal
	meta    Meta
	base    map[string]Base
	pending map[string]*Base
	foreign map[string]Stat
	commits map[uint64]Commit
	steps   map[uint64][]Step
	events  []Event
	last    uint64 // commit number given
}

// TestModel does random things to a journal and to plain maps, reopening in between.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		m := &model{
			path: filepath.Join(t.TempDir(), "journal.db"),
			base: map[string]Base{}, pending: map[string]*Base{}, foreign: map[string]Stat{},
			commits: map[uint64]Commit{}, steps: map[uint64][]Step{},
		}
		m.open(r, false)
		defer func() { _ = m.j.Close() }()
		r.Repeat(map[string]func(*rapid.T){
			"":           m.check,
			"apply":      m.apply,
			"pending":    m.setPending,
			"meta":       m.updateMeta,
			"begin":      m.begin,
			"setSteps":   m.setSteps,
			"end":        m.end,
			"forget":     m.forget,
			"compact":    func(r *rapid.T) { m.ok(r, m.j.Compact()) },
			"reopen":     func(r *rapid.T) { m.open(r, false) },
			"openToRead": func(r *rapid.T) { m.open(r, true); m.check(r); m.open(r, false) },
		})
	})
}

func (m *model) ok(r *rapid.T, err error) {
	if err != nil {
		r.Fatal(err)
	}
}

func (m *model) open(r *rapid.T, readOnly bool) {
	if m.j != nil {
		m.ok(r, m.j.Close())
	}
	j, err := Open(m.path, Options{ReadOnly: readOnly, Timeout: -1})
	m.ok(r, err)
	m.j = j
}

// Few paths, so that operations meet; some long, so that pages split and values need several pages.
func genPath(r *rapid.T) string {
	p := rapid.SampledFrom([]string{"a", "a/b", "skills", "\xff\xfe", "new\nline", "-rf", strings.Repeat("d/", 1500) + "x"}).Draw(r, "path")
	return p + rapid.SampledFrom([]string{"", "1", "22", "/333", "4.md", strings.Repeat("z", 200)}).Draw(r, "suffix")
}

func genStat(r *rapid.T) Stat {
	return Stat{
		Dev: rapid.Uint64().Draw(r, "dev"), Ino: rapid.Uint64().Draw(r, "ino"), Size: rapid.Int64().Draw(r, "size"),
		Mtime: rapid.Int64().Draw(r, "mtime"), Ctime: rapid.Int64().Draw(r, "ctime"),
	}
}

func genBase(r *rapid.T) Base {
	b := Base{
		Kind: rapid.SampledFrom([]Kind{File, Dir, Symlink}).Draw(r, "kind"), Size: rapid.Int64Min(0).Draw(r, "size"),
		Mode: rapid.Uint32().Draw(r, "mode"), Mtime: rapid.Int64().Draw(r, "mtime"), Generation: rapid.Uint64().Draw(r, "generation"),
		PushedAt: rapid.Int64().Draw(r, "pushed"), HashedAt: rapid.Int64().Draw(r, "hashed"),
	}
	if b.Kind == Symlink {
		b.Target = rapid.StringN(1, 20, 9000).Draw(r, "target")
	}
	if rapid.Bool().Draw(r, "content") {
		copy(b.SHA256[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(r, "sha256"))
		b.Ours, b.Theirs = genStat(r), genStat(r)
		if rapid.Bool().Draw(r, "near") {
			b.Ours.Size, b.Ours.Mtime = b.Size, b.Mtime
			b.Theirs.Size, b.Theirs.Mtime = b.Size, floorSecond(b.Mtime)
		}
	}
	return b
}

func genTime(r *rapid.T) time.Time {
	return noon.Add(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(r, "at")))
}

func genEvents(r *rapid.T) []Event {
	return rapid.SliceOfN(rapid.Custom(func(r *rapid.T) Event {
		return Event{At: genTime(r), Path: genPath(r), What: rapid.SampledFrom([]string{"pushed", "pulled"}).Draw(r, "what"), Detail: rapid.StringN(0, 9, -1).Draw(r, "detail")}
	}), 0, 40).Draw(r, "events")
}

func (m *model) apply(r *rapid.T) {
	u := Update{
		Put:           rapid.MapOfN(rapid.Custom(genPath), rapid.Custom(genBase), 0, 12).Draw(r, "put"),
		Delete:        rapid.SliceOfN(rapid.Custom(genPath), 0, 20).Draw(r, "delete"),
		ClearPending:  rapid.Bool().Draw(r, "clear"),
		Foreign:       rapid.MapOfN(rapid.Custom(genPath), rapid.Custom(genStat), 0, 3).Draw(r, "foreign"),
		ForeignDelete: rapid.SliceOfN(rapid.Custom(genPath), 0, 3).Draw(r, "foreign delete"),
		Events:        genEvents(r),
	}
	m.ok(r, m.j.Apply(u))
	for _, path := range u.Delete {
		delete(m.base, path)
	}
	maps.Copy(m.base, u.Put)
	for _, path := range u.ForeignDelete {
		delete(m.foreign, path)
	}
	maps.Copy(m.foreign, u.Foreign)
	if u.ClearPending {
		clear(m.pending)
	}
	m.events = append(m.events, u.Events...)
}

func (m *model) setPending(r *rapid.T) {
	m.pending = rapid.MapOfN(rapid.Custom(genPath), rapid.Ptr(rapid.Custom(genBase), true), 0, 12).Draw(r, "pending")
	m.ok(r, m.j.SetPending(m.pending))
}

func (m *model) updateMeta(r *rapid.T) {
	m.meta.Mount, m.meta.CreatedAt = rapid.String().Draw(r, "mount"), genTime(r)
	m.meta.Generation++
	m.ok(r, m.j.UpdateMeta(func(to *Meta) { *to = m.meta }))
}

func genStep(r *rapid.T) Step {
	s := Step{
		Path: genPath(r), Op: rapid.SampledFrom([]string{"put", "delete", "mkdir"}).Draw(r, "op"), Kind: File,
		Mode: rapid.Uint32().Draw(r, "mode"), Mtime: rapid.Int64().Draw(r, "mtime"), Message: rapid.String().Draw(r, "message"),
		Before: Before{Kind: Dir, Mtime: rapid.Int64().Draw(r, "before"), Size: rapid.Int64().Draw(r, "size")},
	}
	copy(s.SHA256[:], rapid.SliceOfN(rapid.Byte(), 0, 32).Draw(r, "sha256"))
	copy(s.Before.Object[:], rapid.SliceOfN(rapid.Byte(), 0, 32).Draw(r, "object"))
	return s
}

func (m *model) begin(r *rapid.T) {
	c := Commit{Mount: "one", Home: "/h", StartedAt: genTime(r), Kind: "commit"}
	steps := rapid.SliceOfN(rapid.Custom(genStep), 0, 12).Draw(r, "steps")
	seq, err := m.j.BeginCommit(c, steps)
	m.ok(r, err)
	m.last++
	if seq != m.last {
		r.Fatalf("BeginCommit gave %d, want %d", seq, m.last)
	}
	c.Seq, c.Open, c.Steps = seq, true, len(steps)
	m.commits[seq], m.steps[seq] = c, steps
}

// commit draws a commit, mostly one that exists.
func (m *model) commit(r *rapid.T) (seq uint64, exists bool) {
	seq = rapid.Uint64Range(1, m.last+1).Draw(r, "commit")
	_, exists = m.commits[seq]
	return seq, exists
}

func (m *model) refused(r *rapid.T, err, want error) {
	if err == nil || !strings.Contains(err.Error(), want.Error()) {
		r.Fatalf("got %v, want %v", err, want)
	}
}

func (m *model) setSteps(r *rapid.T) {
	seq, exists := m.commit(r)
	steps := rapid.MapOfN(rapid.IntRange(0, 12), rapid.Custom(genStep), 1, 3).Draw(r, "steps")
	err := m.j.SetSteps(seq, steps)
	for i := range steps {
		exists = exists && i < len(m.steps[seq])
	}
	if !exists {
		m.refused(r, err, ErrNotFound)
		return
	}
	m.ok(r, err)
	m.steps[seq] = slices.Clone(m.steps[seq])
	for i, s := range steps {
		m.steps[seq][i] = s
	}
}

func (m *model) end(r *rapid.T) {
	seq, exists := m.commit(r)
	at := genTime(r)
	err := m.j.EndCommit(seq, at)
	if !exists {
		m.refused(r, err, ErrNotFound)
		return
	}
	m.ok(r, err)
	c := m.commits[seq]
	if at.Before(c.StartedAt) {
		at = c.StartedAt
	}
	c.EndedAt, c.Open = at, false
	m.commits[seq] = c
}

func (m *model) forget(r *rapid.T) {
	seq, exists := m.commit(r)
	err := m.j.ForgetCommits(seq)
	switch {
	case !exists:
		m.refused(r, err, ErrNotFound)
	case m.commits[seq].Open:
		m.refused(r, err, ErrCommitOpen)
	default:
		m.ok(r, err)
		delete(m.commits, seq)
		delete(m.steps, seq)
	}
}

// check compares everything that can be read.
func (m *model) check(r *rapid.T) {
	got := &model{path: m.path, j: m.j, base: map[string]Base{}, commits: map[uint64]Commit{}, steps: map[uint64][]Step{}, last: m.last}
	var err error
	got.meta, err = m.j.Meta()
	m.ok(r, err)
	var order []string
	m.ok(r, m.j.Bases(func(path string, b Base) error {
		order = append(order, path)
		got.base[path] = b
		return nil
	}))
	if !slices.IsSorted(order) {
		r.Fatalf("Bases came as %q", order)
	}
	got.pending, err = m.j.Pending()
	m.ok(r, err)
	got.foreign, err = m.j.Foreign()
	m.ok(r, err)
	m.ok(r, m.j.Commits(func(c Commit) error { got.commits[c.Seq] = c; return nil }))
	for seq, c := range got.commits {
		got.steps[seq] = make([]Step, c.Steps)
		m.ok(r, m.j.Steps(seq, func(i int, s Step) error { got.steps[seq][i] = s; return nil }))
		if len(m.steps[seq]) == 0 {
			got.steps[seq] = m.steps[seq] // nil or empty
		}
	}
	m.ok(r, m.j.Log("", func(e Event) error { got.events = append(got.events, e); return nil }))
	if len(got.events) == 0 {
		got.events = m.events
	}
	if !reflect.DeepEqual(got, m) {
		r.Fatalf("the journal holds\n%+v\nwant\n%+v", got, m)
	}
	if n, err := m.j.CountBases(); err != nil || n != len(m.base) {
		r.Fatalf("CountBases() = %d, %v, want %d", n, err, len(m.base))
	}
	path := genPath(r)
	want, exists := m.base[path]
	if b, ok, err := m.j.Base(path); err != nil || ok != exists || b != want {
		r.Fatalf("Base(%q) = %+v, %v, %v, want %+v, %v", path, b, ok, err, want, exists)
	}
	var events []Event
	m.ok(r, m.j.Log(path, func(e Event) error { events = append(events, e); return nil }))
	for _, e := range m.events {
		if e.Path == path {
			if len(events) == 0 || events[0] != e {
				r.Fatalf("Log(%q) lacks %+v", path, e)
			}
			events = events[1:]
		}
	}
	if len(events) > 0 {
		r.Fatalf("Log(%q) has %+v too many", path, events)
	}
	m.ok(r, m.j.Verify(func(problem string) { r.Errorf("Verify: %s", problem) }))
}
