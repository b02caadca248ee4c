package access

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Scope says which paths of the sandbox a scan looks at: everything that can be above None is at
// or below roots, and only what is None for sure is pruned. A root may be a file, and need not exist.
func (p *Policy) Scope() (roots, prunePaths, pruneNames []string) {
	roots = p.roots()
	prunePaths = p.prunePaths(roots)
	for i, root := range roots {
		names := p.PruneNames(root)
		if i == 0 {
			pruneNames = names
			continue
		}
		pruneNames = slices.DeleteFunc(pruneNames, func(n string) bool { return !slices.Contains(names, n) })
	}
	return roots, prunePaths, pruneNames
}

// roots returns the longest literal beginnings of the patterns that give a level, the outermost ones.
func (p *Policy) roots() []string {
	var all []string
	for i := range p.patterns {
		root := p.patterns[i].root()
		if p.patterns[i].level > None && (p.Level(root) > None || p.Enter(root)) {
			all = append(all, root)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(path string) bool {
		return slices.ContainsFunc(all, func(root string) bool { return path != root && within(path, root) })
	})
}

// prunePaths returns the directories within roots that are hidden by their full path.
func (p *Policy) prunePaths(roots []string) []string {
	paths := []string{".hermesfs", ".sync.lock"}
	for i := range p.patterns {
		pt := &p.patterns[i]
		if root := pt.root(); pt.level == None && root != "." {
			paths = append(paths, root)
		}
	}
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), func(path string) bool {
		return p.Level(path) > None || p.Enter(path) ||
			!slices.ContainsFunc(roots, func(root string) bool { return path != root && within(path, root) })
	})
}

// PruneNames returns the names of directories that are None for sure, with all below them,
// anywhere below root. What Scope returns holds for all roots together and may be less.
func (p *Policy) PruneNames(root string) []string {
	state, scratch := make(bitset, p.words), make([]uint64, p.words)
	if !p.walk(state, root) {
		return nil
	}
	var names []string
	for i := range p.patterns {
		pt := &p.patterns[i]
		if n := len(pt.parts); pt.level == None && n > 1 && pt.parts[n-1].kind == deep && pt.parts[n-2].kind == literal {
			if name := pt.parts[n-2].text; p.hiddenBelow(state, scratch, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hiddenBelow tells whether every path with a component name below a state is None for sure.
func (p *Policy) hiddenBelow(state bitset, scratch []uint64, name string) bool {
	// What may match at some depth: as if every name matched every part.
	may := slices.Clone(state)
	p.saturate(may)
	p.step(may, scratch, name)
	p.saturate(may)
	// What surely covers: patterns that wait at a "**" do so at every depth.
	sure, covered := make(bitset, p.words), make(bitset, p.words)
	for w := range sure {
		sure[w] = state[w] & p.deep[w]
	}
	p.skipDeep(sure)
	p.step(sure, scratch, name)
	p.covers(covered, sure)
	for i := range p.givers {
		if g := &p.givers[i]; may.has(g.end) && !covered.meets(g.blockers) {
			return false
		}
	}
	return true
}

// saturate adds every bit that some further names lead to.
func (p *Policy) saturate(state []uint64) {
	for changed := true; changed; {
		changed = false
		carry := uint64(0)
		for w := range state {
			at := state[w] &^ p.ends[w]
			next := state[w] | at<<1 | carry
			carry = at >> 63
			changed = changed || next != state[w]
			state[w] = next
		}
	}
}

// root returns the literal beginning of a pattern.
func (pt *pattern) root() string {
	var names []string
	for _, part := range pt.parts {
		if part.kind != literal {
			break
		}
		names = append(names, part.text)
	}
	if len(names) == 0 {
		return "."
	}
	return strings.Join(names, "/")
}

// within tells whether path is root or below it.
func within(path, root string) bool {
	return root == "." || path == root || strings.HasPrefix(path, root+"/")
}

// matchesBelow is used where a path has to be held against one list of globs.
func matchesBelow(globs []string, path string) bool {
	for _, glob := range globs {
		if doublestar.MatchUnvalidated(glob, path) || doublestar.MatchUnvalidated(glob+"/**", path) {
			return true
		}
	}
	return false
}
