package fs

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
)

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("lstat %s: %v", path, err)
	}
	return st
}

// faulted reads mapped memory by a system call. A page fault on a file of this very process's mount
// would stop a thread that the scheduler waits for, and with it who answers.
func faulted(t *testing.T, mapped []byte) string {
	t.Helper()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	buf := make([]byte, len(mapped))
	if _, err := mem.ReadAt(buf, int64(uintptr(unsafe.Pointer(&mapped[0])))); err != nil {
		t.Fatal(err)
	}
	return string(buf)
}

// eventually polls until ok, for at most five seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); !ok(); <-tick {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func TestCopyUpKeepsWhatTheFileIs(t *testing.T) {
	m := newMount(t, nil, func(lower string) {
		write(t, filepath.Join(lower, "d/f"), "content")
		if err := os.Chmod(filepath.Join(lower, "d/f"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(filepath.Join(lower, "d/f"), "user.k", []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(lower, "d/sparse"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("end"), 64<<20); err != nil {
			t.Fatal(err)
		}
	})
	lower := stat(t, filepath.Join(m.lower, "d/f"))
	before, dirBefore := stat(t, m.path("d/f")), stat(t, m.path("d"))
	if err := os.Chmod(m.path("d/f"), 0o600); err != nil {
		t.Fatal(err)
	}
	after, dirAfter := stat(t, m.path("d/f")), stat(t, m.path("d"))
	if after.Ino != before.Ino || after.Mtim != before.Mtim || after.Mode != unix.S_IFREG|0o600 {
		t.Errorf("after copy-up: ino %d mtime %v mode %o, want %d %v %o", after.Ino, after.Mtim, after.Mode, before.Ino, before.Mtim, unix.S_IFREG|0o600)
	}
	if dirAfter.Mtim != dirBefore.Mtim || dirAfter.Ino != dirBefore.Ino {
		t.Errorf("directory after copy-up: mtime %v ino %d, want %v %d", dirAfter.Mtim, dirAfter.Ino, dirBefore.Mtim, dirBefore.Ino)
	}
	buf := make([]byte, 10)
	if n, err := unix.Getxattr(m.path("d/f"), "user.k", buf); err != nil || string(buf[:n]) != "v" {
		t.Errorf("attribute = %q, %v", buf[:max(n, 0)], err)
	}
	now := stat(t, filepath.Join(m.lower, "d/f"))
	now.Atim = lower.Atim // the copy was read
	if now != lower {
		t.Errorf("lower changed: %+v, want %+v", now, lower)
	}
	if err := os.Chmod(m.path("d/sparse"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := stat(t, m.path("d/sparse")); got.Size != 64<<20+3 || got.Blocks > 64 {
		t.Errorf("sparse copy: size %d blocks %d", got.Size, got.Blocks)
	}
	m.remount()
	if got := stat(t, m.path("d/f")); got.Ino != before.Ino {
		t.Errorf("ino after remount = %d, want %d", got.Ino, before.Ino)
	}
}

func TestOpenedBeforeCopyUpSeesIt(t *testing.T) {
	m := newMount(t, nil, func(lower string) { write(t, filepath.Join(lower, "f"), "old content") })
	r, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	mapped, err := unix.Mmap(int(r.Fd()), 0, 11, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	if got := faulted(t, mapped); got != "old content" {
		t.Fatalf("mapped = %q", got)
	}
	w, err := os.OpenFile(m.path("f"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := os.Stat(filepath.Join(m.upper, "f")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("opened for writing without a write: upper has it (%v)", err)
	}
	if _, err := w.WriteAt([]byte("NEW"), 0); err != nil {
		t.Fatal(err)
	}
	if got := faulted(t, mapped); got != "NEW content" {
		t.Errorf("mapped after write = %q", got)
	}
	buf := make([]byte, 11)
	if _, err := r.ReadAt(buf, 0); err != nil || string(buf) != "NEW content" {
		t.Errorf("old descriptor reads %q, %v", buf, err)
	}
	if got := read(t, filepath.Join(m.lower, "f")); got != "old content" {
		t.Errorf("lower = %q", got)
	}
}

func TestUnlinkedFileStaysUsable(t *testing.T) {
	m := newMount(t, nil, func(lower string) {
		write(t, filepath.Join(lower, "f"), "lower")
		write(t, filepath.Join(lower, "g"), "other")
	})
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(m.path("f")); err != nil {
		t.Fatal(err)
	}
	write(t, m.path("f"), "a new one")
	if err := os.Rename(m.path("g"), m.path("f")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("LOW"), 0); err != nil {
		t.Fatalf("write after unlink: %v", err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	if err != nil || string(got) != "LOWer" {
		t.Errorf("unlinked file = %q, %v", got, err)
	}
	if got := read(t, m.path("f")); got != "other" {
		t.Errorf("renamed over = %q", got)
	}
	if got := read(t, filepath.Join(m.lower, "f")); got != "lower" {
		t.Errorf("lower = %q", got)
	}
}

func TestAccessHoldsThroughEveryDoor(t *testing.T) {
	rules := []access.Rule{{Glob: "secret/**", Level: access.None}, {Glob: "key", Level: access.None}}
	m := newMount(t, rules, func(lower string) {
		write(t, filepath.Join(lower, "secret/s"), "host secret")
		write(t, filepath.Join(lower, "key"), "host key")
		write(t, filepath.Join(lower, ".sync.lock"), "")
		write(t, filepath.Join(lower, "open/f"), "f")
	})
	for _, name := range []string{"secret", "secret/s", "key", ".sync.lock", "open/../secret/s"} {
		if _, err := os.Lstat(m.mnt + "/" + name); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("lstat %s = %v, want not exist", name, err)
		}
		if err := os.Link(m.mnt+"/"+name, m.path("stolen")); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("link %s = %v, want not exist", name, err)
		}
		if err := os.Rename(m.mnt+"/"+name, m.path("stolen")); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("rename %s = %v, want not exist", name, err)
		}
	}
	ents, err := os.ReadDir(m.mnt)
	if err != nil || len(ents) != 1 || ents[0].Name() != "open" {
		t.Errorf("readdir = %v, %v; want open alone", ents, err)
	}
	// The names are free in the mount; what is made there never meets the host's.
	if err := os.Mkdir(m.path("secret"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ents, err := os.ReadDir(m.path("secret")); err != nil || len(ents) != 0 {
		t.Errorf("new directory over a hidden one = %v, %v", ents, err)
	}
	write(t, m.path("key"), "sandbox key")
	if err := os.Remove(m.path("key")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(m.path("key")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("removed name = %v, want not exist", err)
	}
	for _, err := range []error{
		os.Mkdir(m.path(".sync.lock"), 0o755), os.Rename(m.path("open/f"), m.path(".sync.lock")),
		os.Symlink("x", m.path(".hermesfs-x")), os.Link(m.path("open/f"), m.path(".sync.lock")),
	} {
		if !errors.Is(err, iofs.ErrPermission) {
			t.Errorf("own name: %v, want permission denied", err)
		}
	}
	// Whiteouts and marks cannot be made by hand.
	if err := unix.Mknod(m.path("white"), unix.S_IFCHR, 0); err == nil {
		t.Error("made a whiteout by hand")
	}
	if err := unix.Setxattr(m.path("open"), "trusted.overlay.opaque", []byte("y"), 0); err == nil {
		t.Error("made a directory opaque by hand")
	}
}

func TestPutAndRemoveShowAtOnce(t *testing.T) {
	m := newMount(t, nil, func(lower string) {
		write(t, filepath.Join(lower, "d/f"), "host")
		write(t, filepath.Join(lower, "d/gone"), "host")
	})
	old, err := os.Open(m.path("d/f"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := os.Lstat(m.path("d/new/x")); err == nil {
		t.Fatal("d/new/x is there")
	}
	put := func(path, data string) {
		t.Helper()
		st, err := m.Stage()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Abort()
		if _, err := st.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := m.Put(layer.Put{Path: path, Kind: layer.File, Mode: 0o755, Mtime: 1e18, Staged: st}); err != nil {
			t.Fatal(err)
		}
	}
	put("d/f", "sandbox's")
	put("d/new/x", "new")
	if err := m.Remove("d/gone", nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, m.path("d/f")); got != "sandbox's" {
		t.Errorf("d/f = %q", got)
	}
	if st := stat(t, m.path("d/f")); st.Mode != unix.S_IFREG|0o755 || st.Mtim.Nano() != 1e18 {
		t.Errorf("d/f mode %o mtime %d", st.Mode, st.Mtim.Nano())
	}
	if got := read(t, m.path("d/new/x")); got != "new" {
		t.Errorf("d/new/x = %q", got)
	}
	if _, err := os.Lstat(m.path("d/gone")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("d/gone = %v", err)
	}
	if got, err := io.ReadAll(old); err != nil || string(got) != "host" {
		t.Errorf("descriptor of the replaced file reads %q, %v", got, err)
	}
	var paths []string
	if err := m.Changes(t.Context(), func(c layer.Change) error {
		paths = append(paths, c.Path)
		if c.Path == "d/f" && (c.Origin.Kind != layer.File || c.Origin.Size != 4) {
			t.Errorf("origin of d/f = %+v", c.Origin)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(paths, " "); got != "d d/f d/gone d/new d/new/x" {
		t.Errorf("changes = %s", got)
	}
}

// A writer appends while its file is dropped again and again, as a live commit does: nothing that
// was written is lost.
func TestDropLosesNoWrite(t *testing.T) {
	m := newMount(t, nil, func(lower string) { write(t, filepath.Join(lower, "log"), "") })
	f, err := os.OpenFile(m.path("log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const lines = 3000
	var g sync.WaitGroup
	g.Go(func() {
		for range lines {
			if _, err := f.WriteString("line\n"); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	drops := 0
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		// Commit: copy what the view has into lower, then drop it if it is still that.
		e, err := m.Lstat("log")
		if err != nil {
			t.Fatal(err)
		}
		if !e.Upper {
			continue
		}
		file, e, err := m.OpenFile("log")
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(data)) != e.Size {
			continue
		}
		if err := os.WriteFile(filepath.Join(m.lower, "log"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		switch err := m.Drop("log", e.Identity); {
		case err == nil:
			drops++
		case !errors.Is(err, layer.ErrChanged):
			t.Fatal(err)
		}
	}
	if got := read(t, m.path("log")); got != strings.Repeat("line\n", lines) {
		t.Errorf("log has %d bytes, want %d", len(got), 5*lines)
	}
	if drops == 0 {
		t.Error("no drop came through: the test shows nothing")
	}
	t.Logf("%d drops", drops)
}

func TestLowerChangesShow(t *testing.T) {
	m := newMount(t, nil, func(lower string) {
		for _, name := range []string{"d/f", "d/r", "d/x", "d/m", "d/map", "moved/away/f", "up/f"} {
			write(t, filepath.Join(lower, name), "one")
		}
	})
	// Everything is in the kernel's caches, for an hour.
	look := func() {
		t.Helper()
		for _, name := range []string{"d/f", "d/r", "d/x", "d/m", "d/map", "moved/away/f"} {
			if got := read(t, m.path(name)); got != "one" {
				t.Fatalf("%s = %q", name, got)
			}
		}
		for _, name := range []string{"d/n", "in", "up/g"} {
			if _, err := os.Lstat(m.path(name)); err == nil {
				t.Fatalf("%s is there", name)
			}
		}
		if _, err := os.ReadDir(m.path("d")); err != nil {
			t.Fatal(err)
		}
	}
	look()
	write(t, m.path("up/f"), "upper's")
	mf, err := os.Open(m.path("d/map"))
	if err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(mf.Fd()), 0, 3, unix.PROT_READ, unix.MAP_SHARED)
	if err := errors.Join(err, mf.Close()); err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	if got := faulted(t, mapped); got != "one" {
		t.Fatalf("mapped = %q", got)
	}
	write(t, filepath.Join(m.lower, "d/f"), "two in place")
	write(t, filepath.Join(m.lower, "d/map"), "two")
	write(t, filepath.Join(m.lower, "tmp"), "two by rename")
	write(t, filepath.Join(m.lower, "up/f"), "not seen")
	write(t, filepath.Join(m.lower, "up/g"), "new beside upper's")
	write(t, filepath.Join(m.lower, "d/n"), "new")
	write(t, filepath.Join(m.lower, "in.tmp/sub/f"), "moved in")
	for _, err := range []error{
		os.Rename(filepath.Join(m.lower, "tmp"), filepath.Join(m.lower, "d/r")),
		os.Remove(filepath.Join(m.lower, "d/x")),
		os.Chmod(filepath.Join(m.lower, "d/m"), 0o400),
		os.Rename(filepath.Join(m.lower, "moved/away"), filepath.Join(m.lower, "moved/here")),
		os.Rename(filepath.Join(m.lower, "in.tmp"), filepath.Join(m.lower, "in")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(name, want string) {
		t.Helper()
		eventually(t, name, func() bool { got, err := os.ReadFile(m.path(name)); return err == nil && string(got) == want })
	}
	is("d/f", "two in place")
	is("d/r", "two by rename")
	is("d/n", "new")
	is("in/sub/f", "moved in")
	is("moved/here/f", "one")
	is("up/g", "new beside upper's")
	is("up/f", "upper's")
	eventually(t, "mapped page", func() bool { return faulted(t, mapped) == "two" })
	eventually(t, "mode", func() bool { return stat(t, m.path("d/m")).Mode == unix.S_IFREG|0o400 })
	for _, name := range []string{"d/x", "moved/away", "moved/away/f"} {
		eventually(t, name+" gone", func() bool { _, err := os.Lstat(m.path(name)); return errors.Is(err, iofs.ErrNotExist) })
	}
	eventually(t, "listing", func() bool {
		ents, err := os.ReadDir(m.path("d"))
		return err == nil && len(ents) == 5
	})
	// A directory that came in is followed too.
	write(t, filepath.Join(m.lower, "in/sub/g"), "later")
	is("in/sub/g", "later")
	write(t, filepath.Join(m.lower, "moved/here/f"), "again")
	is("moved/here/f", "again")
	if !m.Live() {
		t.Error("not live")
	}
}

// Without watches, or after lost events, changes show all the same.
func TestLowerChangesShowWithoutWatches(t *testing.T) {
	m := newMount(t, nil, func(lower string) { write(t, filepath.Join(lower, "d/f"), "one") })
	m.watch.mu.Lock()
	m.watch.full = true
	m.watch.mu.Unlock()
	if got := read(t, m.path("d/f")); got != "one" || m.Live() {
		t.Fatalf("d/f = %q, live %v", got, m.Live())
	}
	write(t, filepath.Join(m.lower, "d/f"), "two, longer")
	eventually(t, "the new content", func() bool { return read(t, m.path("d/f")) == "two, longer" })
}

func TestLostEvents(t *testing.T) {
	m := newMount(t, nil, func(lower string) { write(t, filepath.Join(lower, "d/f"), "one") })
	if got := read(t, m.path("d/f")); got != "one" {
		t.Fatalf("d/f = %q", got)
	}
	eventually(t, "the watch", func() bool { m.watch.mu.Lock(); defer m.watch.mu.Unlock(); return m.watch.byPath["d"] != 0 })
	m.watch.unwatch("d") // its events get lost
	write(t, filepath.Join(m.lower, "d/f"), "two, longer")
	write(t, filepath.Join(m.lower, "d/g"), "new")
	m.forgetLower()
	eventually(t, "the new content", func() bool { return read(t, m.path("d/f")) == "two, longer" })
	eventually(t, "the new file", func() bool { _, err := os.Lstat(m.path("d/g")); return err == nil })
}

func TestBusyMountIsNotUnmounted(t *testing.T) {
	m := newMount(t, nil, func(lower string) { write(t, filepath.Join(lower, "f"), "x") })
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(); !errors.Is(err, ErrBusy) {
		t.Errorf("Unmount = %v, want ErrBusy", err)
	}
	if got := read(t, m.path("f")); got != "x" {
		t.Errorf("f = %q", got)
	}
	f.Close()
}

func TestLongPathsAndNames(t *testing.T) {
	m := newMount(t, nil, nil)
	long := strings.Repeat("n", 255)
	dir := m.mnt
	for len(dir)+len(long)+1 < 3500 {
		dir += "/" + long
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/f", "deep")
	if got := read(t, dir+"/f"); got != "deep" {
		t.Errorf("deep file = %q", got)
	}
	if err := os.WriteFile(m.path(long+"n"), nil, 0o644); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("256 bytes: %v, want ENAMETOOLONG", err)
	}
	for _, name := range []string{"new\nline", "-rf", "quo'te\"", "\xff\xfe", ".wh.x"} {
		write(t, m.path(name), name)
		if got := read(t, m.path(name)); got != name {
			t.Errorf("%q = %q", name, got)
		}
	}
}

func TestReadDirWhileRemoving(t *testing.T) {
	m := newMount(t, nil, func(lower string) {
		for i := range 500 {
			write(t, filepath.Join(lower, "d", strings.Repeat("f", 1+i%50), "x"+strings.Repeat("y", i/50)), "")
		}
	})
	if err := os.RemoveAll(m.path("d")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(m.path("d")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("d = %v", err)
	}
	if err := os.Mkdir(m.path("d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ents, err := os.ReadDir(m.path("d")); err != nil || len(ents) != 0 {
		t.Errorf("made again = %v, %v", ents, err)
	}
	if _, err := os.Lstat(m.path("d/f/x")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a child of what was deleted = %v", err)
	}
}

func TestHardLinksOfLowerStayOneFile(t *testing.T) {
	m := newMount(t, nil, func(lower string) {
		write(t, filepath.Join(lower, "d/a"), "one")
		for _, name := range []string{"d/b", "c"} {
			if err := os.Link(filepath.Join(lower, "d/a"), filepath.Join(lower, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(lower, "e/f"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(lower, "d/a"), filepath.Join(lower, "e/f/g")); err != nil {
			t.Fatal(err)
		}
	})
	names := []string{"d/a", "d/b", "c", "e/f/g"}
	c, err := os.Open(m.path("c"))
	if err != nil {
		t.Fatal(err)
	}
	ino := stat(t, m.path("d/a")).Ino
	write(t, m.path("d/b"), "two")
	for _, name := range names {
		st := stat(t, m.path(name))
		if got := read(t, m.path(name)); got != "two" || st.Ino != ino || st.Nlink != 4 {
			t.Errorf("%s = %q ino %d nlink %d, want %q %d 4", name, got, st.Ino, st.Nlink, "two", ino)
		}
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "two" {
		t.Errorf("open descriptor reads %q, %v", got, err)
	}
	c.Close()
	if err := os.Remove(m.path("d/a")); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, m.path("c")); st.Nlink != 3 {
		t.Errorf("nlink after unlink = %d, want 3", st.Nlink)
	}
	m.remount()
	for _, name := range names[1:] {
		if got := read(t, m.path(name)); got != "two" || stat(t, m.path(name)).Ino != ino {
			t.Errorf("after remount %s = %q ino %d, want two %d", name, got, stat(t, m.path(name)).Ino, ino)
		}
	}
}
