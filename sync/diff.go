package syncer

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"hermesfs/fs/layer"
)

// Diff lists where the merged view differs from the home now, in the order of a walk; with paths
// only at or below those. It changes nothing and takes no lock.
func (e *Engine) Diff(ctx context.Context, paths []string) ([]DiffEntry, error) {
	h, err := openHome(e.o.Home)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	defer h.Close()
	d := differ{e: e, h: h}
	err = e.o.Tree.Changes(ctx, func(c layer.Change) error {
		if len(paths) > 0 && !named(paths, c.Path) {
			return nil
		}
		return d.change(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	return d.out, nil
}

// named says whether a path is one of those named, or below one.
func named(paths []string, path string) bool {
	for _, n := range paths {
		if n == path || below(path, n) {
			return true
		}
	}
	return false
}

type differ struct {
	e   *Engine
	h   *home
	out []DiffEntry
}

func (d *differ) change(ctx context.Context, c layer.Change) error {
	host, err := d.h.lstat(c.Path)
	if err != nil {
		host = hostFile{Kind: otherKind} // through a symlink of the home: not the same file
	}
	kind := Kind(c.Kind)
	out := DiffEntry{
		Path: c.Path, Kind: kind.String(), Level: c.Level, Size: c.Size, Mode: fmt.Sprintf("%04o", c.Mode&0o7777),
		HomeChanged: host.Kind != Kind(c.Origin.Kind) || host.Kind == File && host.ID != c.Origin.Identity,
	}
	switch {
	case kind == Absent && host.Kind == Absent:
		return nil
	case kind == Absent:
		out.Change, out.Kind, out.Mode, out.Size = "deleted", host.Kind.String(), "", host.ID.Size
	case host.Kind == Absent:
		out.Change = "created"
	case kind != host.Kind:
		out.Change = "type"
	default:
		if out.Change, err = d.compare(ctx, c, host, &out); err != nil {
			return err
		}
	}
	if kind == Dir || kind == Absent && host.Kind == Dir {
		out.Size = 0
	}
	if out.Change != "" {
		d.out = append(d.out, out)
	}
	return nil
}

// compare tells how two of one kind differ, "" if they do not. Files of two sizes are not read.
func (d *differ) compare(ctx context.Context, c layer.Change, host hostFile, out *DiffEntry) (string, error) {
	mode := ""
	if c.Mode&permBits != host.Mode&permBits {
		mode = "chmod"
	}
	switch {
	case host.Kind == Symlink && c.Target != host.Target:
		return "modified", nil
	case host.Kind == Symlink:
		return "", nil
	case host.Kind != File:
		return mode, nil
	case c.Size != host.ID.Size:
		return "modified", nil
	}
	upper, err := d.e.hashOurs(ctx, c.Path)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "modified", nil // not readable just now; it is shown all the same
	}
	f, err := d.h.open(c.Path)
	if err != nil {
		return "modified", nil
	}
	defer f.Close()
	lower, _, err := bothSums(ctxReader{ctx, io.Reader(f)})
	if err != nil {
		return "", err
	}
	if lower == upper.sha256 {
		return mode, nil
	}
	out.LowerSHA256, out.UpperSHA256 = hex.EncodeToString(lower[:]), hex.EncodeToString(upper.sha256[:])
	return "modified", nil
}
