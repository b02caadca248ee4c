package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// Hashes of contents that nobody had to read: they are equal to nothing but themselves.
var (
	unreadBase  = [32]byte{31: 1}
	unreadUpper = [32]byte{31: 2}
)

// unknownTarget is the target of a symlink that base had and nobody knows.
const unknownTarget = "\x00"

// A job is one path of a commit.
type job struct {
	Action
	change  layer.Change
	src     string // path of the content in the merged view; Path but for versions put beside
	host    hostFile
	policy  Policy
	wasOpen bool
	object  [32]byte // what a restore puts there
	beside  string   // where the version that lost goes, under the policy Both

	step  journal.Step
	index int // of step
	temp  string
}

// planning finds out what a commit has to do.
type planning struct {
	e       *Engine
	h       *home
	r       *CommitReport
	o       CommitOptions
	met     map[string]bool         // which of o.Paths have a change
	changes map[string]layer.Change // what may be committed
	parents map[string]layer.Change // directories of upper above them
	hosts   map[string]hostFile
	base    States
	ours    States
	theirs  States
}

// plan compares the upper layer with the home. The caller holds the home's lock.
func (e *Engine) plan(ctx context.Context, h *home, o CommitOptions, r *CommitReport) ([]*job, []*job, error) {
	p := &planning{
		e: e, h: h, r: r, o: o, met: map[string]bool{},
		changes: map[string]layer.Change{}, parents: map[string]layer.Change{}, hosts: map[string]hostFile{},
		base: States{}, ours: States{}, theirs: States{},
	}
	for _, n := range o.Paths {
		p.met[n] = false
	}
	dirs := map[string]layer.Change{}
	err := e.o.Tree.Changes(ctx, func(c layer.Change) error {
		if c.Kind == layer.Dir {
			dirs[c.Path] = c
		}
		if p.lets(c) {
			p.changes[c.Path] = c
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list changes: %w", err)
	}
	for _, n := range o.Paths {
		if !o.exact && !p.met[n] {
			r.Problems = append(r.Problems, Problem{n, "nothing to commit there"})
		}
	}
	for path := range p.changes {
		for dir := parentOf(path); dir != "."; dir = parentOf(dir) {
			if _, ok := p.changes[dir]; ok {
				continue
			}
			if c, ok := dirs[dir]; ok {
				p.parents[dir] = c
			}
		}
	}
	for _, path := range sortedPaths(p.parents) {
		if err := p.parent(path, p.parents[path]); err != nil {
			return nil, nil, err
		}
	}
	for i, path := range sortedPaths(p.changes) {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		e.progress(Progress{Phase: "scan", Path: path, Done: i, Total: len(p.changes)})
		if err := p.look(ctx, path, p.changes[path]); err != nil {
			if ctx.Err() != nil {
				return nil, nil, context.Cause(ctx)
			}
			p.drop(path, err)
		}
	}
	todo, rest := p.jobs()
	return todo, rest, nil
}

// lets says whether access lets a change go home, and reports why not.
func (p *planning) lets(c layer.Change) bool {
	refuse := func(reason string) bool {
		p.r.Refused = append(p.r.Refused, Refused{c.Path, reason})
		return false
	}
	named := p.isNamed(c.Path)
	switch {
	case len(p.o.Paths) > 0 && !named, p.e.o.Policy.Hidden(c.Path):
		return false
	case c.Level < access.Review:
		// A directory is in upper for what is below it as well.
		if c.Kind == layer.Dir && (p.e.o.Policy.Enter(c.Path) || c.Origin.Kind == layer.Dir) {
			return false
		}
		return refuse("access is " + c.Level.String())
	case c.Level == access.Review && !named:
		if c.Kind != layer.Dir || c.Origin.Kind != layer.Dir {
			p.r.Review = append(p.r.Review, c.Path)
		}
		return false
	case c.Kind == layer.Other:
		return refuse(errSpecial.Error())
	case c.Kind == layer.Symlink:
		if _, err := linkTarget(p.e.o.Policy, c.Path, c.Target); err != nil {
			return refuse(err.Error())
		}
	}
	return true
}

// isNamed says whether the commit was asked for a path, or for a directory above it.
func (p *planning) isNamed(path string) bool {
	if p.o.exact {
		_, ok := p.met[path]
		return ok
	}
	named := false
	for _, n := range p.o.Paths {
		if n == path || below(path, n) {
			named, p.met[n] = true, true
		}
	}
	return named
}

// drop takes a path that cannot be handled out of the plan, with all below it.
func (p *planning) drop(path string, err error) {
	p.r.Problems = append(p.r.Problems, Problem{path, err.Error()})
	for q := range p.changes {
		if q == path || below(q, path) {
			delete(p.changes, q)
			delete(p.base, q)
			delete(p.ours, q)
			delete(p.theirs, q)
		}
	}
}

// parent takes in a directory that is not committed itself: it is made where the home has none.
func (p *planning) parent(path string, c layer.Change) error {
	host, err := p.h.lstat(path)
	if err != nil {
		return nil // whatever is below it says so
	}
	p.hosts[path] = host
	switch host.Kind {
	case Dir:
		s := stateOf(Dir, [32]byte{}, host.Mode, "")
		p.base[path], p.ours[path], p.theirs[path] = s, s, s
	case Absent:
		p.theirs[path] = entryState(c.Entry, [32]byte{})
	default:
		p.ours[path] = stateOf(host.Kind, unreadBase, host.Mode, host.Target)
		p.base[path], p.theirs[path] = dirOnly, dirOnly
	}
	return nil
}

// look finds the three states of one path, and reads files only where their stat does not tell.
func (p *planning) look(ctx context.Context, path string, c layer.Change) error {
	if _, ok := p.changes[path]; !ok {
		return nil // dropped with its directory
	}
	host, err := p.h.lstat(path)
	if err != nil {
		return err
	}
	if host.Kind == otherKind {
		return errors.New("the home has a fifo, a socket or a device there")
	}
	origin := c.Origin
	if o, ok := p.e.rebased[path]; ok {
		origin = o
	}
	p.hosts[path] = host
	s, err := p.hashes(ctx, c, origin, host)
	if err != nil {
		return err
	}
	p.base[path] = stateOf(Kind(origin.Kind), s.base, origin.Mode, baseTarget(origin, host, c))
	p.ours[path] = stateOf(host.Kind, s.host, host.Mode, host.Target)
	p.theirs[path] = entryState(c.Entry, s.upper)
	return nil
}

// baseTarget is the target of a symlink that an origin has only the hash of.
func baseTarget(origin layer.Origin, host hostFile, c layer.Change) string {
	if origin.Kind != layer.Symlink {
		return ""
	}
	if host.Kind == Symlink && host.ID == origin.Identity {
		return host.Target
	}
	for _, target := range []string{host.Target, c.Target} {
		if target != "" && sha256.Sum256([]byte(target)) == origin.SHA256 {
			return target
		}
	}
	return unknownTarget
}

type threeHashes struct{ base, host, upper [32]byte }

// hashes finds the hashes of one path, where they matter.
func (p *planning) hashes(ctx context.Context, c layer.Change, origin layer.Origin, host hostFile) (s threeHashes, err error) {
	s.base, s.upper = p.baseHash(c.Path, origin), unreadUpper
	still := host.Kind == File && origin.Kind == layer.File && host.ID == origin.Identity
	switch {
	case still && (c.Kind != layer.File || c.Size != host.ID.Size):
		s.host = s.base // nobody needs to know which
		return s, nil
	case still && s.base != unreadBase:
		s.host = s.base
	case host.Kind == File:
		if s.host, err = p.h.sha256(ctx, c.Path, host); err != nil {
			return s, err
		}
		if still || s.base == unreadBase && sameBytes(host.ID, origin.Identity) {
			s.base = s.host
		}
	}
	if c.Kind != layer.File {
		return s, nil
	}
	b, ok, err := p.e.o.Journal.Base(c.Path)
	if err != nil {
		return s, fmt.Errorf("read journal: %w", err)
	}
	if ok && clean(c.Identity, b) {
		s.upper = b.SHA256
		return s, nil
	}
	h, err := p.e.hashOurs(ctx, c.Path)
	if err != nil {
		return s, err
	}
	s.upper = h.sha256
	return s, nil
}

// sameBytes says whether only something other than the content changed: the mode, the name.
func sameBytes(a, b layer.Identity) bool {
	a.Ctime, b.Ctime = 0, 0
	return a == b
}

// baseHash is the hash that an origin has, or that the journal has for the same version.
func (p *planning) baseHash(path string, origin layer.Origin) [32]byte {
	if origin.Kind != layer.File {
		return [32]byte{}
	}
	if origin.SHA256 != [32]byte{} {
		return origin.SHA256
	}
	if b, ok, err := p.e.o.Journal.Base(path); err == nil && ok && clean(origin.Identity, b) {
		return b.SHA256
	}
	return unreadBase
}

// sha256 is the hash of a file of the home, which must not change meanwhile.
func (h *home) sha256(ctx context.Context, path string, host hostFile) (sum [32]byte, err error) {
	f, err := h.open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	b := sha256.New()
	if _, err := io.Copy(b, ctxReader{ctx, f}); err != nil {
		return sum, err
	}
	if !isStill(int(f.Fd()), host.ID) {
		return sum, errors.New("it changes in the home just now")
	}
	return [32]byte(b.Sum(nil)), nil
}

// jobs decides every path: what has to be done in the home, and what only leaves upper.
func (p *planning) jobs() (todo, rest []*job) {
	decided := map[string]bool{}
	var actions []Action
	open := map[string]bool{}
	for _, a := range Reconcile(p.base, p.ours, p.theirs) {
		open[a.Path] = a.Open
		actions = append(actions, a)
	}
	policy := p.e.o.Conflict
	if policy == Merge {
		policy = Theirs // no text bases are kept yet
	}
	for _, a := range resolveAll(actions, policy) {
		decided[a.Path] = true
		j := &job{Action: a, change: p.changes[a.Path], src: a.Path, host: p.hosts[a.Path], policy: policy, wasOpen: open[a.Path]}
		switch {
		case !j.ChangesOurs():
			rest = append(rest, j)
			if !j.ChangesTheirs() && j.Want.Kind != Dir {
				p.r.Equal = append(p.r.Equal, a.Path)
			}
		case j.change.Path == "":
			j.change = p.parents[a.Path]
			fallthrough
		default:
			todo = append(todo, j)
		}
		if j.wasOpen && policy == Both && a.Theirs.Kind != Absent {
			if b := p.besideJob(j); b != nil {
				todo = append(todo, b)
			}
		}
	}
	for _, path := range sortedPaths(p.changes) {
		if !decided[path] {
			a := Action{Path: path, Ours: p.ours[path], Theirs: p.theirs[path], Want: p.ours[path], Root: path}
			rest = append(rest, &job{Action: a, change: p.changes[path], src: path, host: p.hosts[path]})
			if p.changes[path].Kind != layer.Dir {
				p.r.Equal = append(p.r.Equal, path)
			}
		}
	}
	return todo, rest
}

// besideJob writes the version that lost next to the home's. It is nil when it stands there already,
// after a commit that was interrupted.
func (p *planning) besideJob(j *job) *job {
	j.beside = besideName(j.Root, p.e.o.Name)
	for i := 2; i < 1000; i++ {
		host, err := p.h.lstat(j.beside)
		_, there := p.e.o.Tree.Lstat(j.beside) // upper may have one that is on its way
		if err != nil || host.Kind == Absent && there != nil {
			break
		}
		if j.Path == j.Root && p.standsThere(j, host) {
			return nil
		}
		j.beside = fmt.Sprintf("%s.%d", besideName(j.Root, p.e.o.Name), i)
	}
	j.beside += strings.TrimPrefix(j.Path, j.Root)
	return &job{
		Action: Action{Path: j.beside, Theirs: j.Theirs, Want: j.Theirs, Root: j.beside},
		change: j.change, src: j.Path, policy: j.policy,
	}
}

func (p *planning) standsThere(j *job, host hostFile) bool {
	switch {
	case host.Kind != j.Theirs.Kind:
		return false
	case host.Kind == Symlink:
		return host.Target == j.Theirs.Target
	case host.Kind == File && host.ID.Size == j.change.Size:
		sum, err := p.h.sha256(context.Background(), j.beside, host)
		return err == nil && sum == j.Theirs.SHA256
	}
	return false
}
