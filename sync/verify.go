package syncer

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"

	"hermesfs/backends"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// BasesChecked is how much VerifyBases looked at.
type BasesChecked struct {
	Bases   int `json:"bases"`
	Checked int `json:"checked"` // files that were read
}

// VerifyBases reads every file of the merged view that its stat alone clears as unchanged, and calls
// fn for each whose content is not its base's: a push would pass it over for ever. What was changed
// since is no problem. It does not wait for its turn: a file that changes meanwhile is left out.
func (e *Engine) VerifyBases(ctx context.Context, fn func(Problem)) (BasesChecked, error) {
	var r BasesChecked
	bases, err := e.loadBases()
	if err != nil {
		return r, err
	}
	r.Bases = len(bases)
	for _, path := range sortedPaths(bases) {
		b := bases[path]
		entry, err := e.o.Tree.Lstat(path)
		if err != nil || entry.Kind != layer.File || !clean(entry.Identity, b) {
			continue
		}
		h, err := e.hashOurs(ctx, path)
		switch {
		case ctx.Err() != nil:
			return r, context.Cause(ctx)
		case errors.Is(err, errUnstable), errors.Is(err, iofs.ErrNotExist):
			continue
		case err != nil:
			fn(Problem{path, err.Error()})
			continue
		}
		r.Checked++
		if h.sha256 == b.SHA256 || !clean(h.entry.Identity, b) {
			continue
		}
		// A push that ended meanwhile may have moved the base.
		if now, ok, err := e.o.Journal.Base(path); err == nil && ok && sameBase(now, b) {
			fn(Problem{path, fmt.Sprintf("sha256 %x, but the journal says %x of the same unchanged file", h.sha256, b.SHA256)})
		}
	}
	return r, nil
}

func sameBase(a, b journal.Base) bool { return a.SHA256 == b.SHA256 && a.Ours == b.Ours }

// VerifySandbox does the same with the sandbox: its files whose stat is the one that was seen last, and
// which a pull therefore passes over. What the sandbox changed since is no problem.
func (e *Engine) VerifySandbox(ctx context.Context, fn func(Problem)) (BasesChecked, error) {
	done, err := e.take(ctx)
	if err != nil {
		return BasesChecked{}, err
	}
	defer done()
	var r BasesChecked
	if e.o.Sandbox == nil {
		return r, nil
	}
	bases, err := e.loadBases()
	if err != nil {
		return r, err
	}
	r.Bases = len(bases)
	var paths []string
	_, err = e.manifest(ctx, func(entry backends.Entry) error {
		b, ok := bases[entry.Path]
		if ok && b.Kind == journal.File && entry.Kind == backends.File && theirStat(entry) == b.Theirs {
			paths = append(paths, entry.Path)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	sums, err := e.hashTheirs(ctx, paths)
	if err != nil {
		return r, err
	}
	for _, path := range paths {
		sum, ok := sums[path]
		if !ok {
			continue // it vanished, or cannot be read: a pull says so
		}
		r.Checked++
		if sum != bases[path].SHA256 {
			fn(Problem{path, fmt.Sprintf("sha256 %x, but the journal says %x of the same unchanged file", sum, bases[path].SHA256)})
		}
	}
	return r, nil
}
