package syncer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	"hermesfs/backends"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// Attach meets the sandbox; it comes before the first Push of a mount. A sandbox that has our
// marker is the one that base is about. Any other is fresh: nothing that is missing there counts
// as deleted, what equals ours is adopted, what only the sandbox has is foreign and left alone,
// and where both have something ours wins at the next Push and theirs is kept as an object.
func (e *Engine) Attach(ctx context.Context) (AttachReport, error) {
	done, err := e.take(ctx)
	if err != nil {
		return AttachReport{}, err
	}
	defer done()
	if e.o.Sandbox == nil {
		return AttachReport{}, nil
	}
	r, err := e.attach(ctx)
	if err != nil {
		return r, fmt.Errorf("attach: %w", err)
	}
	return r, nil
}

func (e *Engine) attach(ctx context.Context) (AttachReport, error) {
	hello, err := e.o.Sandbox.Hello(ctx)
	if err != nil {
		return AttachReport{}, err
	}
	r := AttachReport{Home: hello.Home, Probe: hello.Probe}
	meta, err := e.o.Journal.Meta()
	if err != nil {
		return r, fmt.Errorf("read journal: %w", err)
	}
	id := meta.SandboxID
	if !hello.Exists || id == "" || hello.Marker != id {
		r.Fresh, r.Replaced = true, id != ""
		if r.Replaced {
			e.log.Warn("the sandbox is not the one that was pushed to before: nothing missing there counts as deleted", "url", e.o.SandboxURL)
		}
		if err := e.meetFresh(ctx, hello.Exists, &r); err != nil {
			return r, err
		}
		id = newID()
	}
	// The identity is ours only once the marker is there too: killed in between, the next
	// Attach finds a fresh sandbox and adopts what is equal.
	err = e.o.Journal.UpdateMeta(func(m *journal.Meta) {
		m.SandboxID, m.SandboxURL, m.Probe = id, e.o.SandboxURL, hello.Probe
	})
	if err != nil {
		return r, fmt.Errorf("write journal: %w", err)
	}
	if !r.Fresh {
		return r, nil
	}
	if err := e.fail("attach-claim"); err != nil {
		return r, err
	}
	return r, e.o.Sandbox.Claim(ctx, id)
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

// meetFresh makes base and foreign anew from what a fresh sandbox has.
func (e *Engine) meetFresh(ctx context.Context, exists bool, r *AttachReport) error {
	old, err := e.loadBases()
	if err != nil {
		return err
	}
	foreign, err := e.o.Journal.Foreign()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	u := journal.Update{ClearPending: true, Foreign: map[string]journal.Stat{}, ForeignDelete: sortedPaths(foreign), Delete: sortedPaths(old)}
	m := meeting{base: map[string]journal.Base{}}
	if exists {
		var both []backends.Entry
		problems, err := e.manifest(ctx, func(entry backends.Entry) error {
			_, err := e.o.Tree.Lstat(entry.Path)
			switch {
			case err == nil:
				both = append(both, entry)
			default:
				u.Foreign[entry.Path] = theirStat(entry)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, p := range problems {
			r.Problems = append(r.Problems, Problem{p.Path, p.Err.Error()})
		}
		if m, err = e.meet(ctx, both); err != nil {
			return err
		}
	}
	u.Put, u.Events = m.base, m.events
	r.Adopted, r.Foreign, r.Preimages = m.adopted, len(u.Foreign), m.kept
	r.Problems = append(r.Problems, m.problems...)
	return e.note(u)
}

// A meeting is what becomes of paths that both sides have and base does not.
type meeting struct {
	base     map[string]journal.Base // what theirs has: the version that the next push replaces
	adopted  int                     // the same on both sides
	kept     []Kept
	events   []journal.Event
	problems []Problem
}

// meet compares paths that both sides have, and keeps theirs where it is not the same.
func (e *Engine) meet(ctx context.Context, both []backends.Entry) (meeting, error) {
	m := meeting{base: map[string]journal.Base{}}
	ours := map[string]hashed{}
	var ask []string
	for _, entry := range both {
		o, err := e.o.Tree.Lstat(entry.Path)
		if err != nil || o.Kind != layer.File || entry.Kind != backends.File || o.Size != entry.Size {
			continue
		}
		h, err := e.hashOurs(ctx, entry.Path)
		if err != nil {
			if ctx.Err() != nil {
				return m, context.Cause(ctx)
			}
			continue
		}
		ours[entry.Path] = h
		ask = append(ask, entry.Path)
	}
	sums, err := e.hashTheirs(ctx, ask)
	if err != nil {
		return m, err
	}
	t := trust{}
	for _, entry := range both {
		t.see(entry)
	}
	theirs := map[string]backends.Entry{}
	for _, entry := range both {
		b := journal.Base{
			Kind: journal.Kind(entry.Kind), Size: entry.Size, Mode: theirMode(entry), Mtime: entry.Mtime,
			Target: entry.Target, Theirs: theirStat(t.entry(entry)),
		}
		h, hashed := ours[entry.Path]
		switch {
		case entry.Kind == backends.Other:
			m.problems = append(m.problems, Problem{entry.Path, errSpecial.Error()})
			continue
		case entry.Kind != backends.File:
		case hashed && sums[entry.Path] == h.sha256:
			b.SHA256, b.Ours, b.HashedAt = h.sha256, ourStat(h.entry.Identity), h.at
			m.adopted++
		default:
			theirs[entry.Path] = entry
		}
		m.base[entry.Path] = b
	}
	return m, e.keepTheirs(ctx, theirs, &m)
}

// keepTheirs fetches the sandbox's versions into the objects.
func (e *Engine) keepTheirs(ctx context.Context, theirs map[string]backends.Entry, m *meeting) error {
	if len(theirs) == 0 {
		return nil
	}
	got := map[string]journal.Base{}
	objects := map[string]string{}
	problems, err := e.o.Sandbox.Fetch(ctx, sortedPaths(theirs), e.limits(), func(entry backends.Entry, r io.Reader) error {
		if _, asked := theirs[entry.Path]; !asked || entry.Kind != backends.File {
			return nil
		}
		sum := sha256.New()
		object, size, err := e.objects.Put(io.TeeReader(r, sum))
		if err != nil {
			return err
		}
		b := m.base[entry.Path]
		b.SHA256, b.Size = [32]byte(sum.Sum(nil)), size
		got[entry.Path], objects[entry.Path] = b, ObjectName(object)
		return nil
	})
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	for _, p := range problems {
		m.problems = append(m.problems, Problem{p.Path, p.Err.Error()})
	}
	for path := range theirs {
		b, ok := got[path]
		if !ok {
			delete(m.base, path) // gone or unreadable: the push is refused there, a pull sees to it
			continue
		}
		m.base[path] = b
		m.kept = append(m.kept, Kept{path, objects[path]})
		m.events = append(m.events, journal.Event{At: e.clock.Now(), Path: path, What: "kept", Detail: objects[path]})
	}
	return nil
}

func (e *Engine) limits() backends.Limits { return backends.Limits{MaxBytes: e.o.MaxBytes} }

// meetForeign sees to paths that ours has by now and that stood in the sandbox before the first
// push: theirs is kept, then ours wins.
func (e *Engine) meetForeign(ctx context.Context, puts []layer.Entry, bases map[string]journal.Base, r *PushReport) ([]layer.Entry, error) {
	foreign, err := e.o.Journal.Foreign()
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	ask := map[string]bool{}
	var roots []string
	for _, p := range puts {
		if _, known := bases[p.Path]; known {
			continue
		}
		if _, ok := foreign[p.Path]; ok {
			ask[p.Path] = true
			roots = append(roots, p.Path)
		}
	}
	if len(ask) == 0 {
		return puts, nil
	}
	var both []backends.Entry
	_, err = e.o.Sandbox.Manifest(ctx, backends.Scope{Roots: roots}, func(entry backends.Entry) error {
		if ask[entry.Path] {
			both = append(both, entry)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the sandbox: %w", err)
	}
	m, err := e.meet(ctx, both)
	if err != nil {
		return nil, err
	}
	r.Problems = append(r.Problems, m.problems...)
	if err := e.note(journal.Update{Put: m.base, ForeignDelete: roots, Events: m.events}); err != nil {
		return nil, err
	}
	out := puts[:0]
	for _, p := range puts {
		b, met := m.base[p.Path]
		if met {
			bases[p.Path] = b
		}
		if !met || !clean(p.Identity, b) || baseState(b).Mode != p.Mode&permBits {
			out = append(out, p)
		}
	}
	return out, nil
}

// gone says whether an error means that nothing is there.
func gone(err error) bool { return errors.Is(err, iofs.ErrNotExist) }
