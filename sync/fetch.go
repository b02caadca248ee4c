package syncer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"hermesfs/backends"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// fetchUnasked is how much is fetched at once rather than first asking for its hashes, which
// costs a round trip.
const fetchUnasked = 1 << 20

const defaultMaxBytes = 2 << 30

var errTooLarge = errors.New("it is over the limit on what one pull may bring")

// fetched is one file that came from the sandbox.
type fetched struct {
	staged *layer.Staged // nil when it went to the objects at once
	object [32]byte
	sha256 [32]byte
	size   int64
	entry  backends.Entry // as the archive has it
}

func (f *fetched) close() {
	if f.staged != nil {
		f.staged.Abort()
		f.staged = nil
	}
}

// compare settles what the sandbox has at the paths that need no fetching: by kind, or by asking
// for the hash where the size is what one of us has.
func (p *pulling) compare(ctx context.Context) error {
	var ask []string
	var bytes int64
	for path, entry := range p.theirs {
		if entry.Kind != backends.File {
			p.states[path] = stateOf(Kind(entry.Kind), [32]byte{}, theirMode(entry), entry.Target)
			continue
		}
		b := p.bases[path]
		likely := b.Kind == journal.File && b.Size == entry.Size
		if b.Kind == 0 {
			o, err := p.e.o.Tree.Lstat(path)
			likely = err == nil && o.Kind == layer.File && o.Size == entry.Size
		}
		if likely {
			ask = append(ask, path)
			bytes += entry.Size
		}
	}
	if bytes <= fetchUnasked {
		return nil
	}
	slices.SortFunc(ask, comparePaths)
	sums, err := p.e.hashTheirs(ctx, ask)
	if err != nil {
		return err
	}
	for path, sum := range sums {
		entry, ok := p.theirs[path]
		if !ok || entry.Kind != backends.File {
			continue
		}
		same := p.bases[path].Kind == journal.File && p.bases[path].SHA256 == sum
		if !same {
			o, _, err := p.e.ourState(ctx, path, p.bases[path])
			same = err == nil && o.Kind == File && o.SHA256 == sum
		}
		if same {
			p.states[path] = stateOf(File, sum, theirMode(entry), "")
		}
	}
	return nil
}

// fetch gets the content of what differs. Nothing is applied before all of it has come.
func (p *pulling) fetch(ctx context.Context) error {
	want := p.affordable()
	if err := p.fetchPaths(ctx, want); err != nil {
		return err
	}
	for _, path := range want {
		if f := p.got[path]; f == nil {
			p.skip(path, nil) // it went away meanwhile, or is a problem already
		} else {
			p.states[path] = stateOf(File, f.sha256, theirMode(f.entry), "")
		}
	}
	return p.e.fail("pull-fetched")
}

// fetchMore gets what the plan wants though the sandbox did not change it, as what ours had dropped
// and comes back with its directory, and for the objects what the plan does not want.
func (p *pulling) fetchMore(ctx context.Context, plan []planned) error {
	var want []string
	for _, a := range plan {
		brings := a.ChangesOurs() && a.Want.Kind == File && !a.Want.sameContent(a.Ours)
		beside := a.wasOpen && !a.deferred && a.policy == Both && a.Theirs.Kind == File
		if (brings || beside) && p.got[a.Path] == nil {
			want = append(want, a.Path)
		}
		if a.wasOpen && a.policy == Ours && a.Theirs.Kind == File && a.Theirs != a.Base {
			p.loses[a.Path] = true
			want = append(want, a.Path)
		}
	}
	return p.fetchPaths(ctx, want)
}

func (p *pulling) fetchPaths(ctx context.Context, want []string) error {
	if len(want) == 0 {
		return nil
	}
	p.e.progress(Progress{Phase: "fetch", Total: len(want)})
	asked := make(map[string]bool, len(want))
	for _, path := range want {
		asked[path] = true
	}
	problems, err := p.e.o.Sandbox.Fetch(ctx, want, p.e.limits(), func(entry backends.Entry, r io.Reader) error {
		if !asked[entry.Path] || entry.Kind != backends.File {
			return nil
		}
		return p.receive(ctx, entry, r)
	})
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	for _, q := range problems {
		if gone(q.Err) {
			continue
		}
		p.skip(q.Path, q.Err)
	}
	for _, path := range want {
		if f := p.got[path]; f != nil {
			p.r.Bytes += f.size
		}
	}
	return nil
}

// affordable lists what to fetch: the small ones first, up to the limit.
func (p *pulling) affordable() []string {
	var want []string
	for path, entry := range p.theirs {
		if _, known := p.states[path]; !known && entry.Kind == backends.File {
			want = append(want, path)
		}
	}
	slices.SortFunc(want, func(a, b string) int {
		return cmp.Or(cmp.Compare(p.theirs[a].Size, p.theirs[b].Size), comparePaths(a, b))
	})
	left := p.e.o.MaxBytes
	if left == 0 {
		left = defaultMaxBytes
	}
	n := 0
	for n < len(want) && p.theirs[want[n]].Size <= left {
		left -= p.theirs[want[n]].Size
		n++
	}
	for _, path := range want[n:] {
		p.skip(path, errTooLarge)
	}
	want = want[:n]
	slices.SortFunc(want, comparePaths)
	return want
}

// receive takes one file in: staged, or to the objects if it is known to lose.
func (p *pulling) receive(ctx context.Context, entry backends.Entry, r io.Reader) (err error) {
	f := &fetched{entry: entry}
	sum := sha256.New()
	r = io.TeeReader(ctxReader{ctx, r}, sum)
	if p.loses[entry.Path] {
		f.object, f.size, err = p.e.objects.Put(r)
	} else {
		if f.staged, err = p.e.o.Tree.Stage(); err != nil {
			return err
		}
		f.size, err = io.Copy(f.staged, r)
		err = errors.Join(err, f.staged.Close())
	}
	if err != nil {
		f.close()
		return err
	}
	f.sha256 = [32]byte(sum.Sum(nil))
	if old := p.got[entry.Path]; old != nil { // twice in one archive: the last one counts
		old.close()
	}
	p.got[entry.Path] = f
	p.e.progress(Progress{Phase: "fetch", Path: entry.Path, Done: len(p.got), Bytes: f.size})
	return nil
}
