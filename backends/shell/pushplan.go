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
	slices.SortFunc(p.files, byDir)
	slices.SortFunc(p.links, byDir)
}

func byDir(a, b backends.Put) int {
	return cmp.Or(strings.Compare(parentOf(a.Path), parentOf(b.Path)), strings.Compare(a.Path, b.Path))
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

func (l *list) line(s string) {
	l.b.WriteString(s)
	l.b.WriteByte('\n')
}

// listNames are the control members, in the order in which their sums are in the last one.
var listNames = []string{
	"del", "del.old", "del.new", "del.sums", "dirs", "dirs.old", "dirs.new", "dirs.sums",
	"files", "files.old", "files.new", "files.sums", "sent", "links", "clear", "modes", "dmodes", "drop",
}

// A batchList is one list of records with what belongs to them.
type batchList struct{ records, old, new, sums *list }

func (p *pusher) batchList(all map[string]*list, name string) batchList {
	return batchList{all[name], all[name+".old"], all[name+".new"], all[name+".sums"]}
}

// add adds a record: what to do with path, what is expected and what is sent.
func (l batchList) add(what byte, path string, expect *backends.Expect, sent string) {
	old := state(expect)
	l.records.add(string([]byte{what, old[0]}) + dotted(path))
	l.old.line(old)
	l.new.line(sent)
	if old[0] == 'f' {
		l.sums.line(old[1:])
	}
}

// state is what is expected as a line: the kind and, of files and symlinks, the sum.
func state(expect *backends.Expect) string {
	if expect == nil {
		return "*"
	}
	switch expect.Kind {
	case backends.File:
		return "f" + hex.EncodeToString(expect.SHA256[:])
	case backends.Dir:
		return "d"
	case backends.Symlink:
		return "l" + hex.EncodeToString(expect.SHA256[:])
	}
	return "-"
}

// lists makes the control members, the last of which has the sums of the others.
func (p *pusher) lists() []*list {
	all := map[string]*list{}
	for _, name := range listNames {
		all[name] = &list{name: name}
	}
	del, dirs, files := p.batchList(all, "del"), p.batchList(all, "dirs"), p.batchList(all, "files")
	for _, d := range p.deletes {
		del.add('x', d.Path, d.Expect, "-")
	}
	for _, d := range p.dirs {
		expect := d.Expect
		switch {
		case d.implicit:
			dirs.add('i', d.Path, nil, "d")
			continue
		case expect == nil:
			all["clear"].add("*./" + d.Path)
		case expect.Kind == backends.File || expect.Kind == backends.Symlink:
			// It goes before the directories are looked at.
			all["clear"].add(state(expect) + "./" + d.Path)
			expect = &backends.Expect{}
		}
		dirs.add('d', d.Path, expect, "d")
	}
	for _, f := range p.things() {
		sum := p.sums[f.Path]
		if f.Kind == backends.Symlink {
			sum = sha256.Sum256([]byte(f.Target))
			all["links"].add(f.Target, dotted(f.Path))
			files.add('l', f.Path, f.Expect, "l"+hex.EncodeToString(sum[:]))
			continue
		}
		files.add('f', f.Path, f.Expect, "f"+hex.EncodeToString(sum[:]))
		all["sent"].line(hex.EncodeToString(sum[:]))
		if f.Mode&0o400 == 0 {
			all["modes"].add(modeWord(f.Mode, f.Path))
		}
	}
	for _, f := range p.files {
		if p.dropped[f.Path] {
			all["drop"].add(dotted(f.Path))
		}
	}
	all["dmodes"].add(p.dirModes()...)
	var members []*list
	end := &list{name: "end"}
	for _, name := range listNames {
		members = append(members, all[name])
		end.line(fmt.Sprintf("%x", sha256.Sum256([]byte(all[name].b.String()))))
	}
	return append(members, end)
}

// things are the files that count and the symlinks, those of a directory together.
func (p *pusher) things() []backends.Put {
	var things []backends.Put
	for _, f := range p.files {
		if !p.dropped[f.Path] && !p.missing[f.Path] {
			things = append(things, f)
		}
	}
	things = append(things, p.links...)
	slices.SortFunc(things, byDir)
	return things
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
