package syncer

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// genTree draws a valid tree with few names, so that sides meet.
func genTree(t *rapid.T, label string) States {
	tree := States{}
	growTree(t, tree, ".", 0, label)
	return tree
}

func growTree(t *rapid.T, tree States, dir string, depth int, label string) {
	for _, name := range []string{"a", "a.b", "c"} {
		p := strings.TrimPrefix(dir+"/"+name, "./")
		s := genState(t, label+p, depth < 2)
		if s.Kind == Absent {
			continue
		}
		tree[p] = s
		if s.Kind == Dir {
			growTree(t, tree, p, depth+1, label)
		}
	}
}

func genState(t *rapid.T, label string, dirs bool) State {
	n := 7
	if dirs {
		n = 10
	}
	mode := rapid.SampledFrom([]uint32{0o644, 0o755}).Draw(t, label+" mode")
	switch rapid.IntRange(0, n).Draw(t, label) {
	case 0, 1:
		return State{}
	case 2:
		return linkTo(rapid.SampledFrom([]string{"x", "y"}).Draw(t, label+" target"))
	case 8, 9, 10:
		return dirOf(mode)
	}
	return fileOf(rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, label+" content"), mode)
}

// genChanged draws a successor of a tree: some subtrees are drawn anew, the rest stays.
func genChanged(t *rapid.T, base States, label string) States {
	out := maps.Clone(base)
	paths := append(slices.Sorted(maps.Keys(base)), "a", "a/c", "c", "a/a/a.b")
	for range rapid.IntRange(0, 4).Draw(t, label+" changes") {
		p := rapid.SampledFrom(paths).Draw(t, label+" path")
		if parent := parentOf(p); parent != "." && out[parent].Kind != Dir {
			continue
		}
		s := genState(t, label+" new", strings.Count(p, "/") < 2)
		if s.Kind != Dir || out[p].Kind != Dir { // a directory that stays one keeps what is in it
			for q := range out {
				if below(q, p) {
					delete(out, q)
				}
			}
		}
		if s.Kind == Absent {
			delete(out, p)
		} else {
			out[p] = s
		}
	}
	return out
}

func applyTo(tree States, actions []Action) States {
	out := maps.Clone(tree)
	for _, a := range actions {
		if a.Want.Kind == Absent {
			delete(out, a.Path)
		} else {
			out[a.Path] = a.Want
		}
	}
	return out
}

func genSides(t *rapid.T) (base, ours, theirs States) {
	base = genTree(t, "base ")
	return base, genChanged(t, base, "ours"), genChanged(t, base, "theirs")
}

func TestReconcileMakesSidesEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := genSides(t)
		policy := rapid.SampledFrom([]Policy{Theirs, Ours}).Draw(t, "policy")
		actions := resolveAll(Reconcile(base, ours, theirs), policy)
		got, far := applyTo(ours, actions), applyTo(theirs, actions)
		if diff := cmp.Diff(got, far); diff != "" {
			t.Fatalf("sides differ after the plan (-ours +theirs):\n%s", diff)
		}
		for p := range got {
			if parent := parentOf(p); parent != "." && got[parent].Kind != Dir {
				t.Fatalf("%s stays in %s, which is %s", p, parent, got[parent].short())
			}
		}
		// Idempotent: a second run has nothing to do, and one after a crash before base was
		// written only takes note.
		if again := Reconcile(got, got, got); len(again) > 0 {
			t.Fatalf("second run: %v", again)
		}
		for _, a := range Reconcile(base, got, got) {
			if a.Open || a.ChangesOurs() || a.ChangesTheirs() {
				t.Fatalf("run after a lost base: %s", describe(a))
			}
		}
		// And so does one after ours alone was written.
		for _, a := range resolveAll(Reconcile(theirs, got, theirs), policy) {
			if a.ChangesOurs() {
				t.Fatalf("run with theirs as base: %s", describe(a))
			}
		}
	})
}

func TestReconcileOrderCanBeApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := genSides(t)
		tree := maps.Clone(ours)
		for _, a := range resolveAll(Reconcile(base, ours, theirs), Theirs) {
			if !a.ChangesOurs() {
				continue
			}
			if a.Want.Kind != Absent {
				if parent := parentOf(a.Path); parent != "." && tree[parent].Kind != Dir {
					t.Fatalf("%s comes before its parent", a.Path)
				}
			}
			if a.Want.Kind != Dir {
				for q := range tree {
					if below(q, a.Path) {
						t.Fatalf("%s is replaced or removed while %s is in it", a.Path, q)
					}
				}
			}
			if a.Want.Kind == Absent {
				delete(tree, a.Path)
			} else {
				tree[a.Path] = a.Want
			}
		}
	})
}

func TestReconcileUnchangedSideTakesTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, changed, _ := genSides(t)
		for _, side := range []string{"theirs", "ours"} {
			ours, theirs := base, changed
			if side == "ours" {
				ours, theirs = changed, base
			}
			actions := Reconcile(base, ours, theirs)
			for _, a := range actions {
				if a.Open || a.Clash != NoClash {
					t.Fatalf("%s changed alone: %s", side, describe(a))
				}
			}
			if diff := cmp.Diff(changed, applyTo(base, actions)); diff != "" {
				t.Fatalf("%s changed alone (-want +got):\n%s", side, diff)
			}
		}
	})
}

func TestReconcileNeverDropsAnEdit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := genSides(t)
		policy := rapid.SampledFrom([]Policy{Theirs, Ours}).Draw(t, "policy")
		plan := Reconcile(base, ours, theirs)
		byPath := map[string]Action{}
		for _, a := range plan {
			byPath[a.Path] = a
		}
		result := applyTo(ours, resolveAll(plan, policy))
		for _, side := range []struct {
			name      string
			tree, far States
		}{{"ours", ours, theirs}, {"theirs", theirs, ours}} {
			for p, s := range side.tree {
				if s == base[p] || s.Kind == Dir {
					continue
				}
				got := result[p]
				open := byPath[p].Open
				switch {
				case open: // a policy decided, and the caller keeps the loser
				case side.far[p] == base[p] && got != s:
					t.Fatalf("%s alone made %s %s, it became %s", side.name, p, s.short(), got.short())
				case side.far[p].Kind == Absent && got != s:
					t.Fatalf("%s made %s %s, the other deleted it, it became %s", side.name, p, s.short(), got.short())
				case got.Kind == Absent:
					t.Fatalf("%s's %s of %s is gone without a clash", side.name, s.short(), p)
				case s.Kind == File && got.Kind == File && !s.sameContent(base[p]) && !s.sameContent(got):
					t.Fatalf("%s's content of %s is gone without a clash", side.name, p)
				}
			}
		}
	})
}

func TestReconcileIsSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := genSides(t)
		a, b := Reconcile(base, ours, theirs), Reconcile(base, theirs, ours)
		if len(a) != len(b) {
			t.Fatalf("%d actions one way, %d the other", len(a), len(b))
		}
		for i := range a {
			x, y := a[i], b[i]
			if x.Path != y.Path || x.Clash != y.Clash || x.Open != y.Open {
				t.Fatalf("%s against %s", describe(x), describe(y))
			}
			if x.Want.Kind == Dir && y.Want.Kind == Dir {
				continue // ours has the say over the mode
			}
			if x.Want != y.Want {
				t.Fatalf("%s against %s", describe(x), describe(y))
			}
			if x.Open && x.Resolve(Theirs).Want != y.Resolve(Ours).Want {
				t.Fatalf("%s resolves differently the other way", describe(x))
			}
		}
	})
}

// A pull gives Reconcile only what changed and what its doc comment asks for.
func TestReconcilePartialTrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := genSides(t)
		want := onOurs(Reconcile(base, ours, theirs))
		pick := map[string]bool{}
		all := with(with(base, ours), theirs)
		for p := range all {
			if base[p] != theirs[p] {
				for ; p != "."; p = parentOf(p) {
					pick[p] = true
				}
			}
		}
		for p := range maps.Clone(pick) {
			if mixedDir(base[p], ours[p], theirs[p]) {
				for q := range all {
					if below(q, p) {
						pick[q] = true
					}
				}
			}
		}
		part := func(full States) States {
			out := States{}
			for p, s := range full {
				if pick[p] {
					out[p] = s
				}
			}
			return out
		}
		if diff := cmp.Diff(want, onOurs(Reconcile(part(base), part(ours), part(theirs)))); diff != "" {
			t.Fatalf("partial trees give another plan (-full +partial):\n%s", diff)
		}
	})
}

func onOurs(actions []Action) []Action {
	var out []Action
	for _, a := range actions {
		if a.Open || a.ChangesOurs() {
			out = append(out, a)
		}
	}
	return out
}
