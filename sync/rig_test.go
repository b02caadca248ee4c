package syncer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/backends"
	"hermesfs/fs/access"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// A rig is one home, one sandbox and one mount's state, all real, with an Engine over them.
type rig struct {
	t       *testing.T
	home    string // the lower directory
	far     string // the home in the sandbox
	state   string // upper, work, journal, objects
	options Options

	access  access.Options
	stack   *layer.Stack
	journal *journal.Journal
	sandbox *faulty
	clock   *fakeClock
	log     *logBuffer
	*Engine
}

// newRig makes a rig with the preset "all" and files in the home; it is not attached yet.
func newRig(t *testing.T, files tree, change ...func(*rig)) *rig {
	t.Helper()
	return newRigIn(t, t.TempDir(), files, change...)
}

// newFastRig is for tests that sync a lot and care for neither disks nor power cuts.
func newFastRig(t *testing.T, files tree, change ...func(*rig)) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hermesfs-sync-*")
	if err != nil {
		return newRig(t, files, change...)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return newRigIn(t, dir, files, change...)
}

func newRigIn(t *testing.T, dir string, files tree, change ...func(*rig)) *rig {
	t.Helper()
	r := rigIn(t, dir)
	must(t, os.MkdirAll(r.home, 0o755))
	must(t, os.MkdirAll(filepath.Dir(r.far), 0o755))
	must(t, os.MkdirAll(r.state, 0o700))
	files.write(t, r.home)
	for _, f := range change {
		f(r)
	}
	r.open()
	t.Cleanup(r.close)
	return r
}

// rigIn is the rig in a directory, not open yet.
func rigIn(t *testing.T, dir string) *rig {
	far := filepath.Join(dir, "far", ".hermes")
	return &rig{
		t: t, home: filepath.Join(dir, "home"), far: far, state: filepath.Join(dir, "state"),
		access: access.Options{Preset: "all"}, options: Options{Name: "one", SandboxURL: "dir:" + filepath.Dir(far)},
		clock: &fakeClock{now: time.Now()}, log: &logBuffer{},
	}
}

// open opens the mount's state, as a mount does.
func (r *rig) open() {
	policy, err := access.New(r.access)
	must(r.t, err)
	r.stack, err = layer.Open(layer.Options{
		Lower: r.home, Upper: filepath.Join(r.state, "upper"), Work: filepath.Join(r.state, "work"), Policy: policy,
	})
	must(r.t, err)
	r.journal, err = journal.Open(filepath.Join(r.state, "journal.db"), journal.Options{})
	must(r.t, err)
	must(r.t, r.journal.UpdateMeta(func(m *journal.Meta) { m.Mount, m.MountID = "one", "0123456789abcdef" }))
	o := r.options
	o.Home, o.Tree, o.Journal, o.Objects, o.Policy = r.home, r.stack, r.journal, filepath.Join(r.state, "objects"), policy
	o.Clock, o.Log = r.clock, slog.New(slog.NewTextHandler(r.log, nil))
	if r.sandbox == nil {
		r.sandbox = &faulty{Sandbox: newSandbox(r.t, filepath.Dir(r.far)), far: r.far}
	}
	if o.SandboxURL != "" {
		o.Sandbox = r.sandbox
	}
	r.Engine, err = New(o)
	must(r.t, err)
}

func (r *rig) close() {
	must(r.t, r.stack.Close())
	must(r.t, r.journal.Close())
}

// remount ends this mount and starts it again.
func (r *rig) remount() {
	r.close()
	r.open()
}

// start attaches and pushes.
func (r *rig) start() {
	r.t.Helper()
	_, err := r.Attach(ctx)
	must(r.t, err)
	r.push()
}

func (r *rig) push() PushReport {
	r.t.Helper()
	report, err := r.Push(ctx)
	must(r.t, err)
	return report
}

func (r *rig) pull() PullReport {
	r.t.Helper()
	report, err := r.Pull(ctx)
	must(r.t, err)
	return report
}

func (r *rig) commit(paths ...string) CommitReport {
	r.t.Helper()
	report, err := r.Commit(ctx, CommitOptions{Paths: paths})
	must(r.t, err)
	return report
}

func (r *rig) syncBack() SyncBackReport {
	r.t.Helper()
	report, err := r.SyncBack(ctx)
	must(r.t, err)
	return report
}

// put writes a file of the mount, as a local process would.
func (r *rig) put(path, content string, mode uint32) {
	r.t.Helper()
	st, err := r.stack.Stage()
	must(r.t, err)
	_, err = st.Write([]byte(content))
	must(r.t, err)
	must(r.t, r.stack.Put(layer.Put{Path: path, Kind: layer.File, Mode: mode, Mtime: time.Now().UnixNano(), Staged: st}))
}

func (r *rig) remove(path string) {
	r.t.Helper()
	must(r.t, r.stack.Remove(path, nil))
}

// object reads a preimage.
func (r *rig) object(name string) string {
	r.t.Helper()
	if len(name) != 64 {
		r.t.Fatalf("%q is not an object", name)
	}
	b, err := os.ReadFile(filepath.Join(r.state, "objects", name[:2], name[2:]))
	must(r.t, err)
	return string(b)
}

// objects lists the content of all preimages.
func (r *rig) allObjects() []string {
	r.t.Helper()
	var out []string
	must(r.t, filepath.WalkDir(filepath.Join(r.state, "objects"), func(p string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		out = append(out, string(b))
		return err
	}))
	return out
}

// faulty is a Sandbox whose calls can be made to fail.
type faulty struct {
	Sandbox
	far   string
	mu    sync.Mutex
	calls []string
	fail  func(op string) error // before the call

	unreadable []string // directories and files
}

func (f *faulty) call(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, op)
	if f.fail == nil {
		return nil
	}
	return f.fail(op)
}

func (f *faulty) count(op string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == op {
			n++
		}
	}
	return n
}

func (f *faulty) Manifest(ctx context.Context, scope backends.Scope, fn func(backends.Entry) error) ([]backends.Problem, error) {
	if err := f.call("manifest"); err != nil {
		return nil, err
	}
	problems, err := f.Sandbox.Manifest(ctx, scope, func(e backends.Entry) error {
		for _, p := range f.unreadable {
			if below(e.Path, p) {
				return nil
			}
		}
		return fn(e)
	})
	for _, p := range f.unreadable {
		if st, err := os.Stat(filepath.Join(f.far, p)); err == nil && st.IsDir() {
			problems = append(problems, backends.Problem{Path: p, Err: iofs.ErrPermission})
		}
	}
	return problems, err
}

func (f *faulty) Fetch(ctx context.Context, paths []string, lim backends.Limits, fn func(backends.Entry, io.Reader) error) ([]backends.Problem, error) {
	if err := f.call("fetch"); err != nil {
		return nil, err
	}
	var can []string
	var bad []backends.Problem
	for _, p := range paths {
		if slices.Contains(f.unreadable, p) {
			bad = append(bad, backends.Problem{Path: p, Err: iofs.ErrPermission})
		} else {
			can = append(can, p)
		}
	}
	problems, err := f.Sandbox.Fetch(ctx, can, lim, fn)
	return append(problems, bad...), err
}

func (f *faulty) Push(ctx context.Context, b *backends.Batch) (*backends.PushResult, error) {
	if err := f.call("push"); err != nil {
		return nil, err
	}
	return f.Sandbox.Push(ctx, b)
}

func (f *faulty) Hash(ctx context.Context, paths []string) (map[string][32]byte, error) {
	if err := f.call("hash"); err != nil {
		return nil, err
	}
	return f.Sandbox.Hash(ctx, paths)
}

// fakeClock does not wait.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	slept  []time.Duration
	onWait func()
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	c.now = c.now.Add(d)
	if c.onWait != nil {
		c.onWait()
	}
	return ctx.Err()
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.SplitSeq(l.b.String(), "\n") {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

var ctx = context.Background()

func must(t *testing.T, err error) {
	if err != nil && t == nil { // a child that is not a test
		panic(err)
	}
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

func sha(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func statOf(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st
}

// untouched says whether a file is what it was, but for having been read.
func untouched(a, b unix.Stat_t) bool {
	return a.Ino == b.Ino && a.Mtim == b.Mtim && a.Ctim == b.Ctim && a.Mode == b.Mode && a.Size == b.Size
}

func transient(what string) error {
	return &backends.TransportError{Op: what, Err: errors.New("connection lost")}
}

func withCancel() (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }
