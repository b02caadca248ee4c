package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
)

// resolveHome returns the absolute path, without symlinks, of a home that can be mounted.
func resolveHome(home string) (string, error) {
	abs, err := filepath.Abs(home)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return "", fmt.Errorf("home %s does not exist: create it with 'mkdir -p %s', or name another",
			quote(home), shellQuote(abs))
	case err != nil:
		return "", fmt.Errorf("home %s: %w", quote(home), bare(err))
	}
	st, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("home %s: %w", quote(home), bare(err))
	}
	if !st.IsDir() {
		return "", fmt.Errorf("home %s is not a directory", quote(home))
	}
	d, err := os.Open(real)
	if err != nil {
		return "", fmt.Errorf("home %s cannot be read: %w", quote(home), bare(err))
	}
	return real, d.Close()
}

// A mountpoint is where a mount is to be.
type mountpoint struct {
	path string // absolute, without symlinks
	dead bool   // a FUSE mount without a daemon stands there
}

// resolveMountpoint says where a mountpoint really is and whether something may be mounted
// there, apart from what it has in it, see checkEmpty.
func resolveMountpoint(arg string) (mountpoint, error) {
	abs, err := filepath.Abs(arg)
	if err != nil {
		return mountpoint{}, err
	}
	// A dead mount can be reached by its parent only.
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err == nil {
		p := filepath.Join(parent, filepath.Base(abs))
		if m, _ := mountAt(p); m != nil && m.fuse() && deadMount(p) {
			if !m.ours() {
				return mountpoint{}, fmt.Errorf("mountpoint %s is a dead %s mount: take it away with 'fusermount3 -uz %s'",
					quote(arg), m.kind, shellQuote(p))
			}
			return mountpoint{path: p, dead: true}, nil
		}
	}
	real, err := filepath.EvalSymlinks(abs)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return mountpoint{}, fmt.Errorf("mountpoint %s does not exist: create it with 'mkdir -p %s'",
			quote(arg), shellQuote(abs))
	case err != nil:
		return mountpoint{}, fmt.Errorf("mountpoint %s: %w", quote(arg), bare(err))
	}
	st, err := os.Stat(real)
	if err != nil {
		return mountpoint{}, fmt.Errorf("mountpoint %s: %w", quote(arg), bare(err))
	}
	if !st.IsDir() {
		return mountpoint{}, fmt.Errorf("mountpoint %s is not a directory", quote(arg))
	}
	return mountpoint{path: real}, nil
}

// checkFree says whether nothing is mounted at a mountpoint and nothing is in it. owner names
// the mount of ours that is there, as far as it is known.
func checkFree(arg string, p mountpoint, owner func(path string) string) error {
	m, err := mountAt(p.path)
	if err != nil {
		return err
	}
	switch {
	case m != nil && m.ours() && owner(p.path) != "":
		return fmt.Errorf("mountpoint %s is already mounted: unmount it with 'hermesfs unmount %s', or name another",
			quote(arg), owner(p.path))
	case m != nil && m.fuse():
		return fmt.Errorf("mountpoint %s is already mounted (%s): unmount it with 'fusermount3 -u %s', or name another",
			quote(arg), m.kind, shellQuote(p.path))
	}
	// Another file system mounted there is a directory like any other.
	d, err := os.Open(p.path)
	if err != nil {
		return fmt.Errorf("mountpoint %s: %w", quote(arg), bare(err))
	}
	defer d.Close()
	if names, _ := d.Readdirnames(1); len(names) > 0 {
		return fmt.Errorf("mountpoint %s is not empty (it has %s): empty it or name another directory",
			quote(arg), quote(names[0]))
	}
	return nil
}

// checkApart refuses layouts in which the mount would show itself.
func checkApart(home string, p mountpoint, state stateDir) error {
	// A dead mountpoint is looked at by its parent.
	inHome := contains(home, p.path)
	switch {
	case home == p.path:
		return fmt.Errorf("mountpoint %s is the home itself: mount it elsewhere, the home stays where it is", quote(p.path))
	case inHome:
		return fmt.Errorf("mountpoint %s is inside its own home %s: name a directory outside of it",
			quote(p.path), quote(home))
	case contains(p.path, home):
		return fmt.Errorf("home %s is inside the mountpoint %s: name a mountpoint beside it", quote(home), quote(p.path))
	case contains(home, string(state)):
		return fmt.Errorf("state directory %s is inside the home %s: set HERMESFS_STATE_DIR to one outside of it",
			quote(string(state)), quote(home))
	case contains(p.path, string(state)):
		return fmt.Errorf("state directory %s is inside the mountpoint %s: name another mountpoint, or set HERMESFS_STATE_DIR",
			quote(string(state)), quote(p.path))
	case contains(string(state), p.path):
		return fmt.Errorf("mountpoint %s is inside the state directory %s: name another", quote(p.path), quote(string(state)))
	case contains(string(state), home):
		return fmt.Errorf("home %s is inside the state directory %s: set HERMESFS_STATE_DIR to another",
			quote(home), quote(string(state)))
	}
	return nil
}

// contains says whether path is dir or below it, by identity of the directories on the way, so
// that bind mounts and symlinks do not deceive it. What does not exist is judged by the part
// that does.
func contains(dir, path string) bool {
	want, err := os.Stat(dir)
	if err != nil {
		return within(path, dir)
	}
	for p := path; ; p = filepath.Dir(p) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
			if st, err := os.Stat(p); err == nil && os.SameFile(st, want) {
				return true
			}
		}
		if p == filepath.Dir(p) {
			return false
		}
	}
}

// checkFUSE says whether this user can mount at all.
func checkFUSE() error {
	st, err := os.Stat("/dev/fuse")
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return errors.New("no /dev/fuse: load it with 'modprobe fuse', or give the container '--device /dev/fuse'")
	}
	// What counts is whether the device works: fusermount3 opens it for users who may not.
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		f.Close()
	} else if os.Geteuid() == 0 || !errors.Is(err, iofs.ErrPermission) {
		return fmt.Errorf("/dev/fuse cannot be opened: %w: load it with 'modprobe fuse', or give the container '--device /dev/fuse'", bare(err))
	}
	if os.Geteuid() != 0 {
		_, err = fusermount()
		return err
	}
	return nil
}

// condition says whether a mount is mounted, stopped or dead, without touching the mountpoint.
func (m mountDir) condition(cfg mountConfig) string {
	if m.locked() && (m.standsAt(cfg.Mountpoint) || m.answers()) {
		return stateMounted
	}
	return m.unattended(cfg)
}

// answers says whether a daemon listens; also one whose mount was detached from outside.
func (m mountDir) answers() bool {
	c, err := m.dial(context.Background())
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// unattended is condition while no daemon has the lock: what is mounted then has none.
func (m mountDir) unattended(cfg mountConfig) string {
	if m.standsAt(cfg.Mountpoint) && deadMount(cfg.Mountpoint) {
		return stateDead
	}
	return stateStopped
}

// standsAt says whether this mount is in the mount table at a path.
func (m mountDir) standsAt(path string) bool {
	at, err := mountAt(path)
	return err == nil && at != nil && at.ours() && at.name == m.name
}
