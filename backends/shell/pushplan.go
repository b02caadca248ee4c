package shell

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"hermesfs/backends"
)

// A pusher is one push.
type pusher struct {
	b *backends.Batch
	t tools

	deletes []backends.Delete
	dirs    []dirPut       // parents first; also those that only have to be there
	files   []backends.Put // regular files, those of a directory together
	links   []backends.Put
	dropped map[string]bool // files whose bytes were sent and do not count
	missing map[string]bool // files that could not be opened
	sums    map[string][32]byte

	sent   []backends.Sent
	result backends.PushResult

	refused map[string]bool // what the answer says
	gone    map[string]bool
	failed  map[string]error
	stats   map[string]backends.Entry
}

type dirPut struct {
	backends.Put
	implicit bool
}

func newPusher(b *backends.Batch, t tools) *pusher {
	p := &pusher{b: b, t: t, dropped: map[string]bool{}, missing: map[string]bool{}, sums: map[string][32]byte{}}
	p.plan()
	return p
}

func (p *pusher) empty() bool {
	return len(p.deletes)+len(p.dirs)+len(p.files)+len(p.links) == 0
}

func (p *pusher) problem(path string, err error) {
	p.result.Problems = append(p.result.Problems, backends.Problem{Path: path, Err: err})
}

// plan sorts the batch and makes problems of what cannot be sent.
func (p *pusher) plan() {
	deleted := map[string]bool{}
	for _, d := range p.b.Deletes {
		switch {
		case !pushable(d.Path):
			p.problem(d.Path, errPath)
		case deleted[d.Path]:
			p.problem(d.Path, errTwice)
		default:
			deleted[d.Path] = true
			p.deletes = append(p.deletes, d)
		}
	}
	kinds := map[string]backends.Kind{}
	var puts []backends.Put
	for _, put := range p.b.Puts {
		err := checkPut(put)
		if _, twice := kinds[put.Path]; twice && err == nil {
			err = errTwice
		}
		if err != nil {
			p.problem(put.Path, err)
			continue
		}
		kinds[put.Path] = put.Kind
		puts = append(puts, put)
	}
	for _, put := range puts {
		if belowFile(put.Path, kinds) {
			p.problem(put.Path, errBelow)
			continue
		}
		p.needParents(put.Path, kinds)
		switch put.Kind {
		case backends.Dir:
			p.dirs = append(p.dirs, dirPut{Put: put})
		case backends.File:
			p.files = append(p.files, put)
		case backends.Symlink:
			p.links = append(p.links, put)
		}
	}
	slices.SortFunc(p.dirs, func(a, b dirPut) int { return strings.Compare(a.Path, b.Path) })
	byDir := func(a, b backends.Put) int {
		return cmp.Or(strings.Compare(parentOf(a.Path), parentOf(b.Path)), strings.Compare(a.Path, b.Path))
	}
	slices.SortFunc(p.files, byDir)
	slices.SortFunc(p.links, byDir)
}

// needParents adds the directories above path that the batch does not have. Where they are
// missing in the sandbox they are made 0755.
func (p *pusher) needParents(path string, kinds map[string]backends.Kind) {
	for dir := parentOf(path); dir != "." && kinds[dir] == 0; dir = parentOf(dir) {
		kinds[dir] = backends.Dir
		p.dirs = append(p.dirs, dirPut{Put: backends.Put{Path: dir, Kind: backends.Dir, Mode: 0o755}, implicit: true})
	}
}

func belowFile(path string, kinds map[string]backends.Kind) bool {
	for dir := parentOf(path); dir != "."; dir = parentOf(dir) {
		if k := kinds[dir]; k != 0 && k != backends.Dir {
			return true
		}
	}
	return false
}

func checkPut(put backends.Put) error {
	switch {
	case !pushable(put.Path):
		return errPath
	case put.Kind == backends.Symlink && (put.Target == "" || len(put.Target) > 4095 || strings.IndexByte(put.Target, 0) >= 0):
		return errTarget
	case put.Kind == backends.File && (put.Size < 0 || put.Open == nil):
		return fmt.Errorf("a file of size %d without content", put.Size)
	case put.Kind != backends.File && put.Kind != backends.Dir && put.Kind != backends.Symlink:
		return errSpecial
	}
	return nil
}

func pushable(path string) bool {
	if !validPath(path, 4095) || path == ownDir || strings.HasPrefix(path, ownDir+"/") {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if len(name) > 255 {
			return false
		}
	}
	return true
}

// A list is one control member, see scripts/push.sh.
type list struct {
	name string
	b    strings.Builder
}

func (l *list) add(words ...string) {
	for _, w := range words {
		l.b.WriteString(w)
		l.b.WriteByte(0)
	}
}

var noSum [32]byte

func record(what byte, expect *backends.Expect, sum [32]byte, path string) string {
	kind, want := byte('*'), noSum
	if expect != nil {
		want = expect.SHA256
		switch expect.Kind {
		case backends.File:
			kind = 'f'
		case backends.Dir:
			kind = 'd'
		case backends.Symlink:
			kind = 'l'
		default:
			kind = '-'
		}
	}
	return string([]byte{what, kind}) + hex.EncodeToString(want[:]) + hex.EncodeToString(sum[:]) + dotted(path)
}

// lists makes the control members, in the order in which scripts/push.sh sums them up, and then
// the sums.
func (p *pusher) lists() []*list {
	del, dirs, files := &list{name: "del"}, &list{name: "dirs"}, &list{name: "files"}
	links, modes, dmodes, drop := &list{name: "links"}, &list{name: "modes"}, &list{name: "dmodes"}, &list{name: "drop"}
	for _, d := range p.deletes {
		del.add(record('x', d.Expect, noSum, d.Path))
	}
	for _, d := range p.dirs {
		what := byte('d')
		if d.implicit {
			what = 'i'
		}
		dirs.add(record(what, d.Expect, noSum, d.Path))
	}
	var things []string // files and links, those of a directory together
	for _, f := range p.files {
		switch {
		case p.dropped[f.Path]:
			drop.add(dotted(f.Path))
		case !p.missing[f.Path]:
			things = append(things, f.Path+"\x00"+record('f', f.Expect, p.sums[f.Path], f.Path))
			if f.Mode&0o400 == 0 {
				modes.add(modeWord(f.Mode, f.Path))
			}
		}
	}
	for _, l := range p.links {
		links.add(l.Target, dotted(l.Path))
		things = append(things, l.Path+"\x00"+record('l', l.Expect, sha256.Sum256([]byte(l.Target)), l.Path))
	}
	slices.SortStableFunc(things, func(a, b string) int {
		pa, _, _ := strings.Cut(a, "\x00")
		pb, _, _ := strings.Cut(b, "\x00")
		return cmp.Or(strings.Compare(parentOf(pa), parentOf(pb)), strings.Compare(pa, pb))
	})
	for _, thing := range things {
		_, rec, _ := strings.Cut(thing, "\x00")
		files.add(rec)
	}
	dmodes.add(p.dirModes()...)
	all := []*list{del, dirs, files, links, modes, dmodes, drop}
	end := &list{name: "end"}
	for _, l := range all {
		fmt.Fprintf(&end.b, "%x\n", sha256.Sum256([]byte(l.b.String())))
	}
	return append(all, end)
}

// dirModes groups directories by mode, for few calls of chmod. Those that lock their owner out
// come last, and what is in them before them.
func (p *pusher) dirModes() []string {
	var open, closed []backends.Put
	for _, d := range p.dirs {
		switch {
		case d.implicit:
		case d.Mode&0o700 == 0o700:
			open = append(open, d.Put)
		default:
			closed = append(closed, d.Put)
		}
	}
	slices.SortStableFunc(open, func(a, b backends.Put) int { return cmp.Compare(a.Mode, b.Mode) })
	slices.Reverse(closed)
	var words []string
	for _, d := range append(open, closed...) {
		words = append(words, modeWord(d.Mode, d.Path))
	}
	return words
}

func modeWord(mode uint32, path string) string {
	return fmt.Sprintf("%04o:%s", mode&0o7777, dotted(path))
}
