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

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func fileOf(content string, mode uint32) State {
	s := State{Kind: File, Mode: mode}
	copy(s.SHA256[:], content)
	return s
}

func dirOf(mode uint32) State    { return State{Kind: Dir, Mode: mode} }
func linkTo(target string) State { return State{Kind: Symlink, Target: target} }
func content(s State) string     { return strings.TrimRight(string(s.SHA256[:]), "\x00") }
func with(t States, more States) States {
	t = maps.Clone(t)
	for p, s := range more {
		t[p] = s
		if s.Kind == Absent {
			delete(t, p)
		}
	}
	return t
}

func (s State) short() string {
	switch s.Kind {
	case File:
		return fmt.Sprintf("file(%s,%03o)", content(s), s.Mode)
	case Dir:
		return fmt.Sprintf("dir(%03o)", s.Mode)
	case Symlink:
		return "link(" + s.Target + ")"
	}
	return "-"
}

// changes are what a side may do; who tells the sides' versions apart.
type change struct {
	name string
	do   func(who string) States
}

var fileChanges = []change{
	{"none", func(string) States { return nil }},
	{"modify", func(who string) States { return States{"p": fileOf(who, 0o644)} }},
	{"same-modify", func(string) States { return States{"p": fileOf("new", 0o644)} }},
	{"delete", func(string) States { return States{"p": {}} }},
	{"chmod", func(string) States { return States{"p": fileOf("base", 0o755)} }},
	{"modify+chmod", func(who string) States { return States{"p": fileOf(who, 0o700)} }},
	{"to-symlink", func(who string) States { return States{"p": linkTo(who)} }},
	{"to-directory", func(who string) States { return States{"p": dirOf(0o755), "p/" + who: fileOf(who, 0o644)} }},
	{"to-empty-dir", func(string) States { return States{"p": dirOf(0o755)} }},
}

var absentChanges = []change{
	{"none", func(string) States { return nil }},
	{"create", func(who string) States { return States{"p": fileOf(who, 0o644)} }},
	{"create-same", func(string) States { return States{"p": fileOf("new", 0o644)} }},
	{"create-exec", func(string) States { return States{"p": fileOf("new", 0o755)} }},
	{"create-symlink", func(who string) States { return States{"p": linkTo(who)} }},
	{"create-dir", func(who string) States { return States{"p": dirOf(0o755), "p/" + who: fileOf(who, 0o644)} }},
}

var dirChanges = []change{
	{"none", func(string) States { return nil }},
	{"chmod", func(who string) States {
		return States{"p": dirOf(map[string]uint32{"ours": 0o700, "theirs": 0o750}[who])}
	}},
	{"delete", func(string) States { return States{"p": {}, "p/a": {}, "p/s": {}, "p/s/b": {}} }},
	{"modify-inside", func(who string) States { return States{"p/s/b": fileOf(who, 0o644)} }},
	{"delete-inside", func(string) States { return States{"p/s": {}, "p/s/b": {}} }},
	{"create-inside", func(who string) States { return States{"p/s/" + who: fileOf(who, 0o644)} }},
	{"to-file", func(who string) States {
		return States{"p": fileOf(who, 0o644), "p/a": {}, "p/s": {}, "p/s/b": {}}
	}},
	{"to-symlink", func(who string) States {
		return States{"p": linkTo(who), "p/a": {}, "p/s": {}, "p/s/b": {}}
	}},
}

func TestReconcileTruthTable(t *testing.T) {
	tables := []struct {
		name    string
		base    States
		changes []change
	}{
		{"file", States{"p": fileOf("base", 0o644)}, fileChanges},
		{"absent", States{}, absentChanges},
		{"directory", States{"p": dirOf(0o755), "p/a": fileOf("base", 0o644), "p/s": dirOf(0o755), "p/s/b": fileOf("base", 0o644)}, dirChanges},
	}
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "# base: %s\n", table.name)
		for _, o := range table.changes {
			for _, th := range table.changes {
				fmt.Fprintf(&b, "%s / %s\n", o.name, th.name)
				actions := Reconcile(table.base, with(table.base, o.do("ours")), with(table.base, th.do("theirs")))
				for _, a := range actions {
					fmt.Fprintf(&b, "    %s\n", describe(a))
				}
			}
		}
	}
	path := filepath.Join("testdata", "reconcile.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("truth table differs from %s (-want +got):\n%s", path, diff)
	}
}

// describe shows an action by what each side must do and, of a clash, what each policy makes of it.
func describe(a Action) string {
	s := a.Path + ": "
	switch {
	case a.Open:
		s += fmt.Sprintf("%s clash of %s and %s", a.Clash, a.Ours.short(), a.Theirs.short())
		if a.Root != a.Path {
			return s + ", with " + a.Root
		}
		return s + fmt.Sprintf("; theirs: %s, ours: %s", a.Resolve(Theirs).Want.short(), a.Resolve(Ours).Want.short())
	case a.ChangesOurs() && a.ChangesTheirs():
		s += "both get " + a.Want.short()
	case a.ChangesOurs():
		s += "ours gets " + a.Want.short()
	case a.ChangesTheirs():
		s += "theirs gets " + a.Want.short()
	default:
		s += "both have " + a.Want.short()
	}
	if a.Clash != NoClash {
		s += ", " + string(a.Clash)
	}
	return s
}

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

func TestBesideName(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"skills/a/SKILL.md", "skills/a/SKILL.sandbox-one.md"},
		{"a.tar.gz", "a.tar.sandbox-one.gz"},
		{"skills/noext", "skills/noext.sandbox-one"},
		{"skills/.usage", "skills/.usage.sandbox-one"},
	} {
		if got := besideName(tc.path, "one"); got != tc.want {
			t.Errorf("besideName(%q) = %q, want %q", tc.path, got, tc.want)
		}
	}
}
