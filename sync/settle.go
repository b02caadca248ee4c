package syncer

import (
	"context"
	"fmt"

	"hermesfs/backends"
	"hermesfs/journal"
)

// settle finds out what became of a push that was cut: what the sandbox has of it becomes base,
// the rest is as before. A path that has neither is one that the sandbox changed.
func (e *Engine) settle(ctx context.Context) error {
	pending, err := e.o.Journal.Pending()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if len(pending) == 0 {
		return nil
	}
	e.log.Info("settling a push that was cut", "paths", len(pending))
	theirs := map[string]backends.Entry{}
	var hash []string
	problems, err := e.manifest(ctx, func(entry backends.Entry) error {
		if p, ok := pending[entry.Path]; ok {
			theirs[entry.Path] = entry
			if p != nil && p.Kind == journal.File && entry.Kind == backends.File && p.Size == entry.Size {
				hash = append(hash, entry.Path)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	sums, err := e.hashTheirs(ctx, hash)
	if err != nil {
		return err
	}
	u := journal.Update{Put: map[string]journal.Base{}, ClearPending: true}
	odd := map[string]bool{}
	for _, q := range problems {
		odd[q.Path] = true
	}
	for path, p := range pending {
		entry, there := theirs[path]
		switch {
		case atOrBelow(odd, path):
			err = e.doubt(&u, path)
		case p == nil && !there:
			u.Delete = append(u.Delete, path)
		case p != nil && there && Kind(p.Kind) == Kind(entry.Kind) && p.Target == entry.Target &&
			(p.Kind != journal.File || sums[path] == p.SHA256):
			p.Mode, p.Theirs = theirMode(entry), theirStat(entry)
			u.Put[path] = *p
		default:
			err = e.doubt(&u, path)
		}
		if err != nil {
			return err
		}
	}
	return e.note(u)
}

// doubt makes the next pull look at a path, whatever its stat.
func (e *Engine) doubt(u *journal.Update, path string) error {
	b, ok, err := e.o.Journal.Base(path)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if ok {
		b.Theirs = journal.Stat{}
		u.Put[path] = b
	}
	return nil
}

// hashTheirs asks the sandbox for the hashes of files.
func (e *Engine) hashTheirs(ctx context.Context, paths []string) (map[string][32]byte, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	e.progress(Progress{Phase: "hash", Total: len(paths)})
	sums, err := e.o.Sandbox.Hash(ctx, paths)
	if err != nil {
		return nil, fmt.Errorf("hash in the sandbox: %w", err)
	}
	return sums, nil
}
