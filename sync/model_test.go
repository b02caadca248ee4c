package syncer

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hermesfs/fs/layer"
)

// TestModel lets the home's owner, a process in the mount and one in the sandbox change files at
// random, and syncs. Every content is written once. What any of them wrote must be in the home,
// the sandbox or the objects afterwards, unless the same side has overwritten or deleted it, and
// when nothing is left open all three must be equal.
//
// It runs often against a sandbox in Go, and now and then against real scripts.
func TestModel(t *testing.T) {
	for _, policy := range []Policy{Theirs, Ours, Both} {
		t.Run(string(policy), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				runModel(t, rt, policy, inGo)
			})
		})
	}
}

func TestModelOverScripts(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	old := checks.Value.String()
	if old == checks.DefValue {
		must(t, checks.Value.Set("10"))
		defer func() { must(t, checks.Value.Set(old)) }()
	}
	for _, policy := range []Policy{Theirs, Both} {
		t.Run(string(policy), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { runModel(t, rt, policy, func(*rig) {}) })
		})
	}
}

type model struct {
	*rapid.T
	r     *rig
	n     int
	edits map[string]map[string]string // side → path → value written since the last cycle
}

func runModel(t *testing.T, rt *rapid.T, policy Policy, change func(*rig)) {
	start := tree{"a": "base-a", "d/x": "base-x", "d/y": "base-y|0755", "d/e/z": "base-z", "l": "->keep", "keep": "k"}
	r := newFastRig(t, start, func(r *rig) { r.options.Conflict, r.options.AllowDeletes = policy, true }, change)
	defer r.close()
	r.start()
	m := &model{T: rt, r: r, edits: map[string]map[string]string{}}
	for range rapid.IntRange(1, 3).Draw(rt, "cycles") {
		for _, side := range []string{"home", "mount", "far"} {
			m.edits[side] = map[string]string{}
		}
		for range rapid.IntRange(1, 6).Draw(rt, "ops") {
			m.op()
		}
		m.cycle()
	}
}

var modelPaths = []string{"a", "b", "d", "d/x", "d/y", "d/e", "d/e/z", "d/e/new", "c/deep/er", "l"}

func (m *model) op() {
	side := rapid.SampledFrom([]string{"home", "mount", "far"}).Draw(m.T, "side")
	path := rapid.SampledFrom(modelPaths).Draw(m.T, "path")
	kind := rapid.SampledFrom([]string{"write", "write", "write", "write-in-place", "delete", "chmod", "mkdir", "link"}).Draw(m.T, "kind")
	m.n++
	value := fmt.Sprintf("v%d", m.n)
	if side == "mount" {
		m.mountOp(kind, path, value)
		return
	}
	root := m.r.home
	if side == "far" {
		root = m.r.far
	}
	full := filepath.Join(root, path)
	st, err := os.Lstat(full)
	there := err == nil
	switch kind {
	case "write-in-place":
		if !there || !st.Mode().IsRegular() {
			return
		}
		must(m.r.t, os.WriteFile(full, []byte(value), 0))
		m.edits[side][path] = value
	case "write":
		m.clear(side, root, path)
		must(m.r.t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(m.r.t, os.WriteFile(full, []byte(value), 0o644))
		m.edits[side][path] = value
	case "delete":
		m.clear(side, root, path)
	case "chmod":
		if there && st.Mode()&os.ModeSymlink == 0 {
			must(m.r.t, os.Chmod(full, st.Mode().Perm()^0o011))
		}
	case "mkdir":
		if there && st.IsDir() {
			return
		}
		m.clear(side, root, path)
		must(m.r.t, os.MkdirAll(full, 0o755))
	case "link":
		m.clear(side, root, path)
		must(m.r.t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(m.r.t, os.Symlink(strings.Repeat("../", strings.Count(path, "/"))+"keep", full))
	}
	m.log(side, kind, path, value)
}

func (m *model) log(side, kind, path, value string) {
	m.Logf("%s: %s %s (%s)", side, kind, path, value)
}

// clear removes what stands in the way of path, itself included.
func (m *model) clear(side, root, path string) {
	for dir := parentOf(path); dir != "."; dir = parentOf(dir) {
		if st, err := os.Lstat(filepath.Join(root, dir)); err == nil && !st.IsDir() {
			must(m.r.t, os.Remove(filepath.Join(root, dir)))
			delete(m.edits[side], dir)
		}
	}
	must(m.r.t, os.RemoveAll(filepath.Join(root, path)))
	for p := range m.edits[side] {
		if p == path || below(p, path) {
			delete(m.edits[side], p)
		}
	}
}

func (m *model) mountOp(kind, path, value string) {
	s := m.r.stack
	e, err := s.Lstat(path)
	there := err == nil
	switch kind {
	case "write", "write-in-place":
		m.clearMount(path)
		m.r.put(path, value, 0o644)
		m.edits["mount"][path] = value
	case "delete":
		m.clearMount(path)
	case "chmod":
		if there && e.Kind == layer.File {
			st, mtime, err := m.r.Engine.restage(path)
			must(m.r.t, err)
			must(m.r.t, s.Put(layer.Put{Path: path, Kind: layer.File, Mode: e.Mode ^ 0o011, Mtime: mtime, Staged: st}))
		}
	case "mkdir":
		if there && e.Kind == layer.Dir {
			return
		}
		m.clearMount(path)
		must(m.r.t, s.Put(layer.Put{Path: path, Kind: layer.Dir, Mode: 0o755}))
	case "link":
		m.clearMount(path)
		target := strings.Repeat("../", strings.Count(path, "/")) + "keep"
		must(m.r.t, s.Put(layer.Put{Path: path, Kind: layer.Symlink, Target: target}))
	}
	m.log("mount", kind, path, value)
}

func (m *model) clearMount(path string) {
	for dir := parentOf(path); dir != "."; dir = parentOf(dir) {
		if e, err := m.r.stack.Lstat(dir); err == nil && e.Kind != layer.Dir {
			must(m.r.t, m.r.stack.Remove(dir, nil))
			delete(m.edits["mount"], dir)
		}
	}
	var doomed []string
	must(m.r.t, m.r.stack.Walk(ctx, func(e layer.Entry) error {
		if e.Path == path || below(e.Path, path) {
			doomed = append(doomed, e.Path)
		}
		return nil
	}))
	for _, p := range slices.Backward(doomed) {
		must(m.r.t, m.r.stack.Remove(p, nil))
		delete(m.edits["mount"], p)
	}
}

// cycle syncs, and checks what must hold.
func (m *model) cycle() {
	if rapid.Bool().Draw(m.T, "push first") {
		m.r.push()
	}
	if rapid.Bool().Draw(m.T, "remount") {
		m.r.remount()
		_, err := m.r.Attach(ctx)
		must(m.r.t, err)
	}
	back := m.r.syncBack()
	if n := len(back.Pull.Problems) + len(back.Commit.Problems); n > 0 {
		m.Fatalf("problems: pull %v, commit %v", back.Pull.Problems, back.Commit.Problems)
	}
	push := m.r.push()
	if len(push.Problems)+len(push.Refused) > 0 {
		m.Fatalf("push after sync back: problems %v, refused %v", push.Problems, push.Refused)
	}
	home, far := m.visible(m.r.home), m.visible(m.r.far)
	if !maps.Equal(home, far) {
		m.Fatalf("home and sandbox differ\nhome    %v\nsandbox %v\npull %+v\ncommit %+v", home, far, back.Pull, back.Commit)
	}
	var left []string
	must(m.r.t, m.r.stack.Changes(ctx, func(c layer.Change) error {
		if c.Kind != layer.Dir {
			left = append(left, c.Path)
		}
		return nil
	}))
	if len(left) > 0 {
		m.Fatalf("upper still has %q", left)
	}
	values := map[string]bool{}
	for _, v := range home {
		values[strings.TrimSuffix(strings.TrimSuffix(v, "|0755"), "|0655")] = true
		values[strings.Split(v, "|")[0]] = true
	}
	for _, v := range m.r.allObjects() {
		values[v] = true
	}
	for side, edits := range m.edits {
		for path, v := range edits {
			if !values[v] {
				m.Fatalf("%s wrote %s to %s, and it is nowhere\nhome %v\npull %+v\ncommit %+v", side, v, path, home, back.Pull, back.Commit)
			}
		}
	}
	again := m.r.syncBack()
	if n := len(again.Pull.Pulled) + len(again.Pull.Deleted) + len(again.Commit.Applied); n > 0 {
		m.Fatalf("a second sync back is not empty: %+v", again)
	}
	if p := m.r.push(); len(p.Pushed)+len(p.Deleted) > 0 {
		m.Fatalf("a second push is not empty: %+v", p)
	}
}

func (m *model) visible(root string) tree {
	out := readTree(m.r.t, root)
	for p := range out {
		if p == ".sync.lock" || strings.HasPrefix(p, ".hermesfs/") {
			delete(out, p)
		}
	}
	return out
}
