package fs

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The oracle is a plain directory: every operation on the mount must answer as it does there, and
// the trees must end up the same, also after a remount and to the kernel's own overlayfs.
//
// A failing seed replays with -run TestOracle -oracle.seed=N.
var (
	oracleSeed  = flag.Uint64("oracle.seed", 0, "replay this one seed")
	oracleSeeds = flag.Uint64("oracle.seeds", 60, "how many seeds")
	oracleSteps = flag.Int("oracle.steps", 300, "operations a seed")
)

func TestOracle(t *testing.T) {
	requireFUSE(t)
	first, last := uint64(1), *oracleSeeds
	if *oracleSeed != 0 {
		first, last = *oracleSeed, *oracleSeed
	}
	for seed := first; seed <= last; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { runOracle(t, seed, *oracleSteps) }) {
			return
		}
	}
}

func runOracle(t *testing.T, seed uint64, steps int) {
	plain := filepath.Join(t.TempDir(), "plain")
	m := newMount(t, nil, func(lower string) {
		seedTree(t, lower, seed)
		// -a keeps times and links; the trees must start the same.
		if out, err := exec.Command("cp", "-a", lower, plain).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	})
	a := &actor{root: m.mnt, rng: rand.New(rand.NewPCG(seed, 1))}
	b := &actor{root: plain, rng: rand.New(rand.NewPCG(seed, 1))}
	t.Cleanup(a.close) // before the unmount
	t.Cleanup(b.close)
	var history []string
	for i := range steps {
		gotOp, got := a.step()
		_, want := b.step()
		history = append(history, fmt.Sprintf("%d %s = %s", i, gotOp, want))
		if got != want {
			t.Fatalf("seed %d step %d: %s = %s, want %s\nlast steps:\n%s", seed, i, gotOp, got, want, strings.Join(history[max(0, len(history)-25):], "\n"))
		}
		if i%100 == 99 {
			compareTrees(t, "mounted", m.mnt, plain, history)
		}
	}
	compareTrees(t, "mounted", m.mnt, plain, history)
	inos := inodeNumbers(t, m.mnt)
	a.close()
	m.remount()
	compareTrees(t, "remounted", m.mnt, plain, history)
	if diff := cmp.Diff(inos, inodeNumbers(t, m.mnt)); diff != "" {
		t.Errorf("inode numbers over a remount (-before +after):\n%s\nsteps:\n%s", diff, strings.Join(history, "\n"))
	}
	m.unmount()
	compareKernel(t, m, plain, history)
}

// seedTree makes a lower tree of a few directories and files.
func seedTree(t *testing.T, dir string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for _, d := range names {
		if rng.IntN(3) == 0 {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range names {
			path := filepath.Join(dir, d, f)
			switch rng.IntN(7) {
			case 0, 1:
				if err := os.WriteFile(path, []byte(strings.Repeat(path[len(dir):], rng.IntN(40))), 0o644); err != nil {
					t.Fatal(err)
				}
			case 2:
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(path, "a"), []byte(path[len(dir):]), 0o600); err != nil {
					t.Fatal(err)
				}
			case 3:
				if err := os.Symlink("../a", path); err != nil {
					t.Fatal(err)
				}
			case 4: // another name of a file, if there is one
				if files, _ := filepath.Glob(filepath.Join(dir, "?", "?")); len(files) > 0 {
					_ = os.Link(files[rng.IntN(len(files))], path)
				}
			}
		}
	}
}

var names = []string{"a", "b", "c", "d"}

// An actor does the same random operations as another with the same seed, below its own root.
type actor struct {
	root string
	rng  *rand.Rand
	open []*os.File
}

func (a *actor) close() {
	for _, f := range a.open {
		_ = f.Close()
	}
	a.open = nil
}

func (a *actor) path() string {
	depth := 1 + a.rng.IntN(3)
	parts := []string{a.root}
	for range depth {
		parts = append(parts, names[a.rng.IntN(len(names))])
	}
	return filepath.Join(parts...)
}

func (a *actor) rel(path string) string { return strings.TrimPrefix(path, a.root) }

// step does one operation and says what it was and what came of it.
func (a *actor) step() (op, result string) {
	p, q, n := a.path(), a.path(), a.rng.IntN(5000)
	kind := a.rng.IntN(26)
	switch kind {
	case 0, 1:
		return "create " + a.rel(p), a.write(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, n)
	case 2:
		return "overwrite " + a.rel(p), a.write(p, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, n)
	case 3:
		return "append " + a.rel(p), a.write(p, unix.O_APPEND|unix.O_WRONLY, n)
	case 4:
		return fmt.Sprintf("truncate %s %d", a.rel(p), n), errString(unix.Truncate(p, int64(n)))
	case 5, 6:
		return "mkdir " + a.rel(p), errString(unix.Mkdir(p, 0o755))
	case 7:
		return "rmdir " + a.rel(p), errString(unix.Rmdir(p))
	case 8:
		return "unlink " + a.rel(p), errString(unix.Unlink(p))
	case 9, 10, 11:
		return fmt.Sprintf("rename %s %s", a.rel(p), a.rel(q)), errString(unix.Rename(p, q))
	case 12:
		return fmt.Sprintf("exchange %s %s", a.rel(p), a.rel(q)), errString(unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE))
	case 13:
		return fmt.Sprintf("noreplace %s %s", a.rel(p), a.rel(q)), errString(unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_NOREPLACE))
	case 14:
		return "symlink " + a.rel(p), errString(unix.Symlink("b/c", p))
	case 15:
		return fmt.Sprintf("link %s %s", a.rel(p), a.rel(q)), errString(unix.Linkat(unix.AT_FDCWD, p, unix.AT_FDCWD, q, 0))
	case 16:
		modes := []uint32{0o700, 0o755, 0o4711, 0o2755, 0o710}
		if os.Geteuid() == 0 { // whom no mode keeps from walking the tree
			modes = []uint32{0o600, 0o755, 0o4711, 0o2755, 0o444}
		}
		return "chmod " + a.rel(p), errString(unix.Fchmodat(unix.AT_FDCWD, p, modes[n%len(modes)], 0))
	case 17:
		return "chown " + a.rel(p), errString(unix.Lchown(p, os.Geteuid(), os.Getegid()))
	case 18:
		ts := []unix.Timespec{{Sec: int64(n)}, {Sec: int64(n) * 3, Nsec: 12345}}
		return "utimes " + a.rel(p), errString(unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW))
	case 19:
		return "setxattr " + a.rel(p), errString(unix.Lsetxattr(p, "user.k", []byte(fmt.Sprint(n)), 0))
	case 20:
		return "removexattr " + a.rel(p), errString(unix.Lremovexattr(p, "user.k"))
	case 21:
		return "rm -r " + a.rel(p), errString(os.RemoveAll(p))
	case 22:
		return "hole " + a.rel(p), a.hole(p, n)
	case 23:
		return "readdir " + a.rel(p), a.list(p)
	case 24:
		return "keep open " + a.rel(p), a.keep(p)
	default:
		return "use open", a.useOpen(n)
	}
}

func (a *actor) write(p string, flags, n int) string {
	fd, err := unix.Open(p, flags, 0o644)
	if err != nil {
		return errString(err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(strings.Repeat(fmt.Sprint(n), n%50)))
	return errString(err)
}

func (a *actor) hole(p string, n int) string {
	fd, err := unix.Open(p, unix.O_RDWR, 0)
	if err != nil {
		return errString(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte("end"), int64(n)*10); err != nil {
		return errString(err)
	}
	return errString(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(n)))
}

func (a *actor) list(p string) string {
	ents, err := os.ReadDir(p)
	if err != nil {
		return errString(errors.Unwrap(err))
	}
	var out []string
	for _, e := range ents {
		out = append(out, e.Name()+e.Type().String())
	}
	return strings.Join(out, " ")
}

// keep opens a file that later steps read and write, whatever becomes of its name.
func (a *actor) keep(p string) string {
	f, err := os.OpenFile(p, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return errString(errors.Unwrap(err))
	}
	if a.open = append(a.open, f); len(a.open) > 4 {
		_ = a.open[0].Close()
		a.open = a.open[1:]
	}
	return "ok"
}

func (a *actor) useOpen(n int) string {
	if len(a.open) == 0 {
		return "none"
	}
	f := a.open[n%len(a.open)]
	if _, err := f.WriteAt([]byte("kept"), int64(n%100)); err != nil {
		return err.Error()
	}
	buf := make([]byte, 200)
	got, _ := f.ReadAt(buf, 0)
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return errString(err)
	}
	return fmt.Sprintf("%q size %d nlink %d", buf[:got], st.Size, st.Nlink)
}

func errString(err error) string {
	if err == nil {
		return "ok"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// describeTree is what a tree is to who looks at it, path by path.
func describeTree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		desc := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			desc += fmt.Sprintf(" nlink %d %d %q", st.Nlink, st.Size, data[:min(len(data), 300)])
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			desc += " -> " + target
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Mtim.Sec < 1e9 {
			desc += fmt.Sprintf(" mtime %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		buf := make([]byte, 4096)
		if n, err := unix.Llistxattr(path, buf); err == nil && n > 0 {
			attrs := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
			sort.Strings(attrs)
			desc += " " + strings.Join(attrs, ",")
		}
		out[strings.TrimPrefix(path, root)] = desc
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compareTrees(t *testing.T, what, got, want string, history []string) {
	t.Helper()
	if diff := cmp.Diff(describeTree(t, want), describeTree(t, got)); diff != "" {
		t.Fatalf("%s tree (-want +got):\n%s\nsteps:\n%s", what, diff, strings.Join(history, "\n"))
	}
}

func inodeNumbers(t *testing.T, root string) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if os.Geteuid() != 0 && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return err // takes no attribute without privilege: the number of a copy is new
		}
		out[strings.TrimPrefix(path, root)] = st.Ino
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// compareKernel mounts the layers with the kernel's overlayfs, which must show the same tree.
func compareKernel(t *testing.T, m *testMount, plain string, history []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // needs a mount namespace of its own: the root run shows it
	}
	dir := t.TempDir()
	work := filepath.Join(filepath.Dir(m.upper), "kernel-work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	// A copy of upper: the kernel leaves marks of its own.
	upper := filepath.Join(filepath.Dir(m.upper), "kernel-upper")
	if out, err := exec.Command("cp", "-a", m.upper, upper).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on", m.lower, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, data); err != nil {
		t.Fatalf("mount overlayfs: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	compareTrees(t, "kernel", dir, plain, history)
}
