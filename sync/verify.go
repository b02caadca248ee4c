package syncer

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"

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
