package access

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxWords bounds the automaton: 4,096 positions are about a thousand rules.
const maxWords = 64

// A Policy gives every path of a home its level. It is immutable and safe concurrently.
//
// All patterns run side by side as one automaton: each part of each pattern is a bit, a set bit
// means "the names so far match up to here", and one name moves all bits at once. The bit after a
// pattern's last part is its end. So a lookup takes one pass over the path and allocates nothing.
type Policy struct {
	words    int
	start    []uint64
	literals map[string][]uint64 // bits before a literal part, by name
	any1     []uint64            // bits before a "*"
	wilds    []wildPart          // the other parts with wildcards
	deep     []uint64            // bits before a "**"
	useful   []uint64            // bits of patterns that give a level above None
	ends     []uint64            // bits after the last part
	givers   []giver             // those patterns, strongest first
	patterns []pattern
}

type wildPart struct {
	part
	bits []uint64
}

// A giver is a pattern that gives a level above None.
type giver struct {
	level      Level
	first, end int      // its bits
	blockers   []uint64 // ends of the patterns that keep it from giving its level
}

type bitset []uint64

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b bitset) meets(o []uint64) bool {
	for w := range b {
		if b[w]&o[w] != 0 {
			return true
		}
	}
	return false
}

func compilePolicy(list []pattern) (*Policy, error) {
	size := 0
	first := make([]int, len(list))
	for i := range list {
		first[i] = size
		size += len(list[i].parts) + 1
	}
	words := (size + 63) / 64
	if words > maxWords {
		return nil, fmt.Errorf("access rules: too many (%d)", len(list))
	}
	make1 := func() bitset { return make(bitset, words) }
	p := &Policy{
		words: words, start: make1(), literals: map[string][]uint64{}, any1: make1(), deep: make1(),
		useful: make1(), ends: make1(), patterns: list,
	}
	wilds := map[part]bitset{}
	for i := range list {
		bitset(p.start).set(first[i])
		for j, pt := range list[i].parts {
			p.addPart(pt, first[i]+j, wilds)
		}
		bitset(p.ends).set(first[i] + len(list[i].parts))
	}
	p.skipDeep(p.start)
	for pt, bits := range wilds {
		p.wilds = append(p.wilds, wildPart{pt, bits})
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].level == None {
			continue
		}
		g := giver{level: list[i].level, first: first[i], end: first[i] + len(list[i].parts), blockers: make1()}
		for bit := g.first; bit <= g.end; bit++ {
			bitset(p.useful).set(bit)
		}
		for b := range list {
			if blocks(list, b, i) {
				bitset(g.blockers).set(first[b] + len(list[b].parts))
			}
		}
		p.givers = append(p.givers, g)
	}
	return p, nil
}

func (p *Policy) addPart(pt part, bit int, wilds map[part]bitset) {
	switch pt.kind {
	case literal:
		if p.literals[pt.text] == nil {
			p.literals[pt.text] = make(bitset, p.words)
		}
		bitset(p.literals[pt.text]).set(bit)
	case any1:
		bitset(p.any1).set(bit)
	case deep:
		bitset(p.deep).set(bit)
	case wild:
		if wilds[pt] == nil {
			wilds[pt] = make(bitset, p.words)
		}
		wilds[pt].set(bit)
	}
}

// Level returns the level of the file or directory at path, by its name only.
func (p *Policy) Level(path string) Level {
	var buf [maxWords]uint64
	state := bitset(buf[:p.words])
	if !p.walk(state, path) {
		return None
	}
	for i := range p.givers {
		if g := &p.givers[i]; state.has(g.end) && !state.meets(g.blockers) {
			return g.level
		}
	}
	return None
}

// Enter tells whether something below the directory dir may be above None: then dir is shown and
// entered, whatever its own level.
func (p *Policy) Enter(dir string) bool {
	var buf, covered [maxWords]uint64
	state := bitset(buf[:p.words])
	if !p.walk(state, dir) {
		return false
	}
	p.covers(covered[:p.words], state)
	for i := range p.givers {
		g := &p.givers[i]
		for bit := g.first; bit < g.end; bit++ {
			if state.has(bit) {
				if !bitset(covered[:p.words]).meets(g.blockers) {
					return true
				}
				break
			}
		}
	}
	return false
}

// covers sets the ends of the patterns that match everything below a state.
func (p *Policy) covers(to, state []uint64) {
	carry := uint64(0)
	for w := range state {
		last := state[w] & p.deep[w]
		to[w] = (last<<1 | carry) & p.ends[w]
		carry = last >> 63
	}
}

// walk moves state from the start along path, false when nothing there or below can be above None.
func (p *Policy) walk(state bitset, path string) bool {
	copy(state, p.start)
	if path == "." || path == "" {
		return true
	}
	var buf [maxWords]uint64
	for root := true; ; root = false {
		name, rest, more := strings.Cut(path, "/")
		if name == "" || name[0] == '.' && (name == "." || name == ".." || hiddenName(name, root)) {
			return false
		}
		p.step(state, buf[:p.words], name)
		if !state.meets(p.useful) {
			return false
		}
		if !more {
			return true
		}
		path = rest
	}
}

// step moves state along one name. matched is scratch.
func (p *Policy) step(state, matched []uint64, name string) {
	copy(matched, p.any1)
	if bits := p.literals[name]; bits != nil {
		for w := range matched {
			matched[w] |= bits[w]
		}
	}
	for i := range p.wilds {
		wp := &p.wilds[i]
		if bitset(state).meets(wp.bits) && strings.Contains(name, wp.must) && doublestar.MatchUnvalidated(wp.text, name) {
			for w := range matched {
				matched[w] |= wp.bits[w]
			}
		}
	}
	carry := uint64(0)
	for w := range state {
		moved := state[w] & matched[w]
		state[w] = moved<<1 | carry | state[w]&p.deep[w]
		carry = moved >> 63
	}
	p.skipDeep(state)
}

// skipDeep lets every "**" match no name at all. Patterns have no two of them in a row.
func (p *Policy) skipDeep(state []uint64) {
	carry := uint64(0)
	for w := range state {
		at := state[w] & p.deep[w]
		state[w] |= at<<1 | carry
		carry = at >> 63
	}
}

// Hidden tells whether path is one of hermesfs's own names, or below one: never shown, never
// created through the mount, whatever the rules say.
func (p *Policy) Hidden(path string) bool {
	for root := true; ; root = false {
		name, rest, more := strings.Cut(path, "/")
		if hiddenName(name, root) {
			return true
		}
		if !more {
			return false
		}
		path = rest
	}
}

// hiddenName tells whether a name is hermesfs's own: staging names everywhere, and at the root the
// lock file of the home and the directory that a sandbox's home has.
func hiddenName(name string, root bool) bool {
	return strings.HasPrefix(name, ".hermesfs-") || root && (name == ".sync.lock" || name == ".hermesfs")
}
