package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/backends"
	"hermesfs/backends/dir"
	"hermesfs/backends/shell"
)

// newSandbox reaches the directory home's .hermes by real scripts.
func newSandbox(t *testing.T, home string) Sandbox {
	tr, err := dir.New(dir.Options{Path: home})
	must(t, err)
	return shell.New(tr, shell.Options{Mount: "one"})
}

// inGo gives a rig a sandbox without processes, for what runs a thousand times.
func inGo(r *rig) { r.sandbox = &faulty{Sandbox: &dirSandbox{home: r.far}, far: r.far} }

// dirSandbox is a Sandbox in Go over a directory.
type dirSandbox struct{ home string }

func (d *dirSandbox) Hello(context.Context) (backends.Hello, error) {
	_, err := os.Stat(d.home)
	marker, _ := os.ReadFile(filepath.Join(d.home, ".hermesfs/marker"))
	return backends.Hello{Home: d.home, Exists: err == nil, Marker: string(marker)}, nil
}

func (d *dirSandbox) Claim(_ context.Context, id string) error {
	if err := os.MkdirAll(filepath.Join(d.home, ".hermesfs"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.home, ".hermesfs/marker"), []byte(id), 0o600)
}

func (d *dirSandbox) entry(path string) (backends.Entry, error) {
	var st unix.Stat_t
	full := filepath.Join(d.home, path)
	if err := unix.Lstat(full, &st); err != nil {
		return backends.Entry{}, err
	}
	e := backends.Entry{Path: path, Mode: st.Mode & 0o7777, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Ino: st.Ino, Kind: backends.Other}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Kind, e.Size = backends.File, st.Size
	case unix.S_IFDIR:
		e.Kind = backends.Dir
	case unix.S_IFLNK:
		e.Kind = backends.Symlink
		e.Target, _ = os.Readlink(full)
	}
	return e, nil
}

func (d *dirSandbox) Manifest(_ context.Context, scope backends.Scope, fn func(backends.Entry) error) ([]backends.Problem, error) {
	var problems []backends.Problem
	for _, root := range scope.Roots {
		err := filepath.WalkDir(filepath.Join(d.home, root), func(full string, de iofs.DirEntry, err error) error {
			p, _ := filepath.Rel(d.home, full)
			if errors.Is(err, iofs.ErrNotExist) {
				return nil
			}
			if err != nil {
				problems = append(problems, backends.Problem{Path: p, Err: err})
				return nil
			}
			if slices.Contains(scope.PrunePaths, p) || de.IsDir() && slices.Contains(scope.PruneNames, de.Name()) {
				if de.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			e, err := d.entry(p)
			if err != nil {
				return nil
			}
			return fn(e)
		})
		if err != nil {
			return problems, err
		}
	}
	return problems, nil
}

func (d *dirSandbox) Hash(_ context.Context, paths []string) (map[string][32]byte, error) {
	out := map[string][32]byte{}
	for _, p := range paths {
		if b, err := os.ReadFile(filepath.Join(d.home, p)); err == nil {
			out[p] = sha256.Sum256(b)
		}
	}
	return out, nil
}

func (d *dirSandbox) meets(path string, x *backends.Expect) bool {
	if x == nil {
		return true
	}
	e, err := d.entry(path)
	switch {
	case err != nil:
		return x.Kind == 0
	case e.Kind != x.Kind:
		return false
	case e.Kind == backends.Symlink:
		return sha256.Sum256([]byte(e.Target)) == x.SHA256
	case e.Kind == backends.File:
		b, _ := os.ReadFile(filepath.Join(d.home, path))
		return sha256.Sum256(b) == x.SHA256
	}
	return true
}

func (d *dirSandbox) Push(_ context.Context, b *backends.Batch) (*backends.PushResult, error) {
	r := &backends.PushResult{}
	content := map[string][]byte{}
	var sent []backends.Sent
	for _, del := range b.Deletes {
		sent = append(sent, backends.Sent{Path: del.Path, Deleted: true})
	}
	for _, p := range b.Puts {
		s := backends.Sent{Path: p.Path}
		switch p.Kind {
		case backends.File:
			rc, err := p.Open()
			if err != nil {
				r.Problems = append(r.Problems, backends.Problem{Path: p.Path, Err: err})
				continue
			}
			data, err := io.ReadAll(rc)
			if err := errors.Join(err, rc.Close()); err != nil {
				return nil, err
			}
			if int64(len(data)) != p.Size {
				r.Changed = append(r.Changed, p.Path)
				continue
			}
			content[p.Path], s.SHA256 = data, sha256.Sum256(data)
		case backends.Symlink:
			s.SHA256 = sha256.Sum256([]byte(p.Target))
		}
		sent = append(sent, s)
	}
	if err := b.Ready(sent); err != nil {
		return nil, err
	}
	for _, del := range b.Deletes {
		full := filepath.Join(d.home, del.Path)
		if _, err := os.Lstat(full); err == nil && (!d.meets(del.Path, del.Expect) || os.Remove(full) != nil) {
			r.Refused = append(r.Refused, del.Path)
			continue
		}
		r.Done = append(r.Done, backends.Done{Sent: backends.Sent{Path: del.Path, Deleted: true}})
	}
	for _, p := range b.Puts {
		i := slices.IndexFunc(sent, func(s backends.Sent) bool { return s.Path == p.Path && !s.Deleted })
		if i < 0 {
			continue
		}
		if !d.meets(p.Path, p.Expect) {
			r.Refused = append(r.Refused, p.Path)
			continue
		}
		if err := d.put(p, content[p.Path]); err != nil {
			r.Problems = append(r.Problems, backends.Problem{Path: p.Path, Err: err})
			continue
		}
		e, err := d.entry(p.Path)
		if err != nil {
			return nil, err
		}
		r.Done = append(r.Done, backends.Done{Sent: sent[i], Entry: e})
	}
	return r, nil
}

func (d *dirSandbox) put(p backends.Put, data []byte) error {
	full := filepath.Join(d.home, p.Path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if st, err := os.Lstat(full); err == nil && st.IsDir() != (p.Kind == backends.Dir) {
		if err := os.Remove(full); err != nil {
			return err
		}
	}
	switch p.Kind {
	case backends.Dir:
		if err := os.MkdirAll(full, 0o755); err != nil {
			return err
		}
		return os.Chmod(full, os.FileMode(p.Mode))
	case backends.Symlink:
		_ = os.Remove(full)
		return os.Symlink(p.Target, full)
	}
	tmp := full + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(tmp, os.FileMode(p.Mode)), os.Chtimes(tmp, time.Time{}, p.Mtime)); err != nil {
		return err
	}
	return os.Rename(tmp, full)
}

func (d *dirSandbox) Fetch(_ context.Context, paths []string, lim backends.Limits, fn func(backends.Entry, io.Reader) error) ([]backends.Problem, error) {
	var problems []backends.Problem
	for _, p := range paths {
		e, err := d.entry(p)
		if err != nil {
			continue
		}
		f, err := os.Open(filepath.Join(d.home, p))
		if err != nil {
			problems = append(problems, backends.Problem{Path: p, Err: errors.New(strings.TrimPrefix(err.Error(), d.home))})
			continue
		}
		err = fn(e, f)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
	return problems, nil
}
