package syncer

import (
	"slices"
	"strings"
)

// Clash is how two changes of one path differ.
type Clash string

// The clashes. All but EditDelete are left to a policy, see Resolve.
const (
	NoClash      Clash = ""
	ContentClash Clash = "content"     // two different contents or targets
	ModeClash    Clash = "mode"        // one content, two different modes
	TypeClash    Clash = "type"        // two different kinds
	EditDelete   Clash = "edit-delete" // one side deleted what the other changed: the change stays
)

// An Action is what becomes of one path. It changes a side that does not have Want.
type Action struct {
	Path               string
	Base, Ours, Theirs State
	// Want is what both sides shall have. It is not decided while Open.
	Want  State
	Clash Clash
	Open  bool // a policy must decide
	// Root is the path of the clash that this one is part of: below a directory that the other
	// side made something else, everything goes with that directory. Else it is Path.
	Root string
}

// ChangesOurs says whether ours must change.
func (a Action) ChangesOurs() bool { return !a.Open && a.Want != a.Ours }

// ChangesTheirs says whether theirs must change.
func (a Action) ChangesTheirs() bool { return !a.Open && a.Want != a.Theirs }

// Reconcile merges two successors of base, path by path. It answers every path at which not all
// three are equal once merged, in the order in which they can be applied: removals with children
// before parents, then the rest with parents before children. The trees may be partial, as long
// as for each path that differs they have its parents, and all below it where it is a directory
// on any side that is not one on another.
//
// What only one side changed, the other gets. Equal changes need nothing but a new base. A mode
// that one side changed and a content that the other changed are merged. A change beats a
// deletion, and brings the directories above it back.
func Reconcile(base, ours, theirs States) []Action {
	m := merger{base: base, ours: ours, theirs: theirs, children: map[string][]string{}}
	seen := map[string]bool{}
	for _, t := range []States{base, ours, theirs} {
		for p, s := range t {
			for s.Kind != Absent && !seen[p] && p != "." {
				seen[p] = true
				parent := parentOf(p)
				m.children[parent] = append(m.children[parent], p)
				p = parent
			}
		}
	}
	for _, p := range m.children["."] {
		m.path(p)
	}
	sortActions(m.actions)
	return m.actions
}

type merger struct {
	base, ours, theirs States
	children           map[string][]string
	actions            []Action
}

// path merges p and all below it, and says whether something will be there.
func (m *merger) path(p string) bool {
	b, o, t := m.base[p], m.ours[p], m.theirs[p]
	if clashing(o, t) && !m.oneSided(p, b, o, t) {
		m.clash(p, p)
		return true
	}
	a := Action{Path: p, Base: b, Ours: o, Theirs: t, Root: p}
	a.Want, a.Clash, a.Open = merge(b, o, t)
	survivors := false
	for _, c := range m.children[p] {
		survivors = m.path(c) || survivors
	}
	if survivors && a.Want.Kind == Absent {
		// Something in the directory stays, so it does.
		a.Want, a.Clash = o, EditDelete
		if o.Kind != Dir {
			a.Want = t
		}
		if a.Want.Kind != Dir { // a partial tree: the caller left the parents out
			a.Want = State{Kind: Dir, Mode: 0o755}
		}
	}
	m.add(a)
	return a.Open || a.Want.Kind != Absent
}

func (m *merger) add(a Action) {
	if a.Open || a.Clash != NoClash || a.Want != a.Base || a.Want != a.Ours || a.Want != a.Theirs {
		m.actions = append(m.actions, a)
	}
}

// clashing says whether one is a directory and the other something else.
func clashing(o, t State) bool {
	return o.Kind != Absent && t.Kind != Absent && (o.Kind == Dir) != (t.Kind == Dir)
}

// oneSided says whether a directory against something else is the change of one side only: the
// other has what base has, with all below it.
func (m *merger) oneSided(p string, b, o, t State) bool {
	return o == b && m.sameBelow(p, m.ours) || t == b && m.sameBelow(p, m.theirs)
}

func (m *merger) sameBelow(p string, side States) bool {
	for _, c := range m.children[p] {
		if side[c] != m.base[c] || !m.sameBelow(c, side) {
			return false
		}
	}
	return true
}

// clash makes p and all below it one open clash.
func (m *merger) clash(p, root string) {
	m.actions = append(m.actions, Action{
		Path: p, Base: m.base[p], Ours: m.ours[p], Theirs: m.theirs[p],
		Clash: TypeClash, Open: true, Root: root,
	})
	for _, c := range m.children[p] {
		if m.ours[c].Kind != Absent || m.theirs[c].Kind != Absent || m.base[c].Kind != Absent {
			m.clash(c, root)
		}
	}
}

// merge decides one path by itself.
func merge(b, o, t State) (want State, clash Clash, open bool) {
	switch {
	case o == t, t == b:
		return o, NoClash, false
	case o == b:
		return t, NoClash, false
	case o.Kind == Absent, t.Kind == Absent:
		return mergeDeleted(b, o, t)
	case o.Kind != t.Kind:
		return State{}, TypeClash, true
	case o.Kind == Dir:
		// Ours has the say over a directory's mode that both set.
		if o.Mode == b.Mode {
			o.Mode = t.Mode
		}
		return o, NoClash, false
	case o.Kind == Symlink:
		return State{}, ContentClash, true
	}
	return mergeFiles(b, o, t)
}

// mergeDeleted decides a path that one side deleted and the other changed.
func mergeDeleted(b, o, t State) (State, Clash, bool) {
	kept := o
	if o.Kind == Absent {
		kept = t
	}
	if kept.Kind == Dir && b.Kind == Dir {
		// Only its mode can have changed: no reason to bring it back, unless something in it is.
		return State{}, NoClash, false
	}
	return kept, EditDelete, false
}

// mergeFiles decides content and mode of two changed files each by itself.
func mergeFiles(b, o, t State) (State, Clash, bool) {
	if b.Kind != File {
		if o.sameContent(t) {
			return State{}, ModeClash, true
		}
		return State{}, ContentClash, true
	}
	want := o
	switch {
	case o.sameContent(t), t.sameContent(b):
	case o.sameContent(b):
		want.SHA256 = t.SHA256
	default:
		return State{}, ContentClash, true
	}
	switch {
	case o.Mode == t.Mode, t.Mode == b.Mode:
	case o.Mode == b.Mode:
		want.Mode = t.Mode
	case o.sameContent(t):
		return State{}, ModeClash, true
	default:
		// The one that changed the content as well has the say.
		if o.sameContent(b) {
			want.Mode = t.Mode
		}
	}
	return want, NoClash, false
}

// Resolve decides an open action by policy: Ours and Both keep ours, the others take theirs.
func (a Action) Resolve(policy Policy) Action {
	if !a.Open {
		return a
	}
	a.Open = false
	winner, loser := a.Theirs, a.Ours
	if policy == Ours || policy == Both {
		winner, loser = a.Ours, a.Theirs
	}
	a.Want = winner
	if a.Clash == ContentClash && a.Base.Kind == File && winner.Kind == File && winner.Mode == a.Base.Mode {
		a.Want.Mode = loser.Mode // the loser's mode is a change of its own
	}
	return a
}

// resolveAll decides all open actions and puts them in order again.
func resolveAll(actions []Action, policy Policy) []Action {
	out := make([]Action, len(actions))
	for i, a := range actions {
		out[i] = a.Resolve(policy)
	}
	sortActions(out)
	return out
}

func sortActions(actions []Action) { slices.SortFunc(actions, compareActions) }

// compareActions orders removals first, children before parents, then the rest, parents first.
func compareActions(a, b Action) int {
	ra, rb := !a.Open && a.Want.Kind == Absent, !b.Open && b.Want.Kind == Absent
	switch {
	case ra && rb:
		return comparePaths(b.Path, a.Path)
	case ra:
		return -1
	case rb:
		return 1
	}
	return comparePaths(a.Path, b.Path)
}

// comparePaths orders paths as a walk meets them: a directory, what is in it, its next sibling.
func comparePaths(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		a, b = restA, restB
	}
}

// mixedDir says whether a path is a directory in one of the trees and not in another.
func mixedDir(b, o, t State) bool {
	n := 0
	for _, s := range []State{b, o, t} {
		if s.Kind == Dir {
			n++
		}
	}
	return n == 1 || n == 2
}
