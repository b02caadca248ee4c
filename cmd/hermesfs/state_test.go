package main

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFindStateDir(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"own variable", map[string]string{"HERMESFS_STATE_DIR": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s"},
		{"xdg", map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/hermesfs"},
		{"relative xdg is ignored", map[string]string{"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/hermesfs"},
		{"home", map[string]string{"HOME": "/h"}, "/h/.local/state/hermesfs"},
		{"nothing", nil, ""},
	} {
		got, err := findStateDir(func(k string) string { return tc.env[k] })
		if string(got) != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("findStateDir(%s) = %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestValidName(t *testing.T) {
	for _, good := range []string{"one", "A.b-c_9", "_x", "help", strings.Repeat("a", 64)} {
		if err := validName(good); err != nil {
			t.Errorf("validName(%q) = %v, want nil", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "ü", strings.Repeat("a", 65)} {
		if validName(bad) == nil {
			t.Errorf("validName(%q) = nil, want an error", bad)
		}
	}
}

func testState(t *testing.T) stateDir {
	t.Helper()
	s := stateDir(filepath.Join(t.TempDir(), "state"))
	if err := s.create(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConfigRoundTrip(t *testing.T) {
	m := testState(t).mount("one")
	if _, err := m.config(); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("config of no mount = %v, want ErrNotExist", err)
	}
	want := mountConfig{
		Home: "/h", Mountpoint: "/m", Backend: "dir:/s", Preset: "hermes", Rules: []string{"a/{b,c}=read"},
		Conflict: "both", Checkpoint: duration(90 * time.Second), CreatedAt: time.Unix(5, 6).UTC(),
	}
	if err := m.setConfig(want); err != nil {
		t.Fatal(err)
	}
	got, err := m.config()
	if err != nil {
		t.Fatal(err)
	}
	if got.Format != configFormat || got.Name != "one" || got.Checkpoint != want.Checkpoint ||
		got.Rules[0] != want.Rules[0] || !got.CreatedAt.Equal(want.CreatedAt) {
		t.Errorf("config = %+v, want %+v", got, want)
	}
	for path, mode := range map[string]os.FileMode{string(m.state): 0o700, m.path(): 0o700, filepath.Join(m.path(), "config.json"): 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("mode of %s = %v, %v, want %v", path, st.Mode().Perm(), err, mode)
		}
	}
	leftovers, _ := filepath.Glob(filepath.Join(m.path(), ".state-*"))
	if len(leftovers) > 0 {
		t.Errorf("left behind: %v", leftovers)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	m := testState(t).mount("one")
	for name, read := range map[string]func() error{
		"config.json":  func() error { _, err := m.config(); return err },
		"history.json": func() error { _, err := m.history(); return err },
	} {
		if err := writeState(filepath.Join(m.path(), name), map[string]any{"format": 99}); err != nil {
			t.Fatal(err)
		}
		if err := read(); !errors.Is(err, errFormat) {
			t.Errorf("%s of format 99 = %v, want errFormat", name, err)
		}
	}
}

func TestLockIsExclusiveAndSurvivesForget(t *testing.T) {
	m := testState(t).mount("one")
	if err := ensureDir(m.path()); err != nil {
		t.Fatal(err)
	}
	l, err := m.tryLock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.tryLock(); !errors.Is(err, errLocked) {
		t.Errorf("second lock = %v, want errLocked", err)
	}
	if !m.locked() {
		t.Error("locked = false while the lock is held")
	}
	if _, err := m.lock(t.Context(), 0, nil); !errors.Is(err, errLocked) || !strings.Contains(err.Error(), "one") {
		t.Errorf("lock that waited = %v, want errLocked with the name", err)
	}
	// The lock of a directory that was removed is worth nothing to who opened it before.
	if err := m.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.tryLock(); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("lock of a forgotten mount = %v, want ErrNotExist", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("Close twice = %v", err)
	}
	left, _ := os.ReadDir(m.state.mounts())
	if len(left) > 0 {
		t.Errorf("forget left %v", left)
	}
}

func TestRemoveAllOfUnreadableDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "a"), 0o000); err != nil {
		t.Fatal(err)
	}
	if err := removeAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}
