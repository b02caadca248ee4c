package fs

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
)

// testMount is a mounted view for a test.
type testMount struct {
	*Overlay
	t                  *testing.T
	lower, upper, work string
	mnt                string
	stack              *layer.Stack
	policy             *access.Policy
}

// requireFUSE skips where there is no FUSE, loudly where it must be there.
func requireFUSE(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return
	}
	if os.Getenv("HERMESFS_TEST_REQUIRE") != "" {
		t.Fatalf("FUSE is required here: %v", err)
	}
	t.Skipf("no FUSE: %v", err)
}

// newMount mounts an empty lower with everything allowed. setup fills lower first.
func newMount(t *testing.T, rules []access.Rule, setup func(lower string)) *testMount {
	t.Helper()
	requireFUSE(t)
	dir := t.TempDir()
	m := &testMount{
		t: t, lower: filepath.Join(dir, "lower"), upper: filepath.Join(dir, "state", "upper"),
		work: filepath.Join(dir, "state", "work"), mnt: filepath.Join(dir, "mnt"),
	}
	for _, d := range []string{m.lower, m.mnt} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if setup != nil {
		setup(m.lower)
	}
	var err error
	if m.policy, err = access.New(access.Options{Preset: "all", Rules: rules}); err != nil {
		t.Fatal(err)
	}
	m.mount()
	t.Cleanup(m.unmount)
	return m
}

func (m *testMount) mount() {
	m.t.Helper()
	var err error
	log := slog.New(slog.NewTextHandler(testWriter{m.t}, nil))
	m.stack, err = layer.Open(layer.Options{Lower: m.lower, Upper: m.upper, Work: m.work, Policy: m.policy, Log: log})
	if err != nil {
		m.t.Fatal(err)
	}
	if m.Overlay, err = Mount(m.mnt, Options{Stack: m.stack, Name: "test", AllowOther: os.Geteuid() == 0, Log: log}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *testMount) unmount() {
	m.t.Helper()
	if m.Overlay == nil {
		return
	}
	if err := m.Unmount(); err != nil {
		m.t.Error(err)
		if err := m.Detach(); err != nil {
			m.t.Error(err)
		}
	}
	m.Overlay = nil
	if err := m.stack.Close(); err != nil {
		m.t.Error(err)
	}
}

func (m *testMount) remount() { m.unmount(); m.mount() }

func (m *testMount) path(parts ...string) string {
	return filepath.Join(append([]string{m.mnt}, parts...)...)
}

// testWriter sends the log to the test's.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("%s", p); return len(p), nil }
