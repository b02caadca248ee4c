package fs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serveKept is the daemon of a keeper's test; its keeper is at descriptor 3.
func serveKept(how, dir string, o Options) (*Overlay, error) {
	var err error
	if o.Keeper, err = NewKeeper(os.NewFile(3, "keeper")); err != nil {
		return nil, err
	}
	if how == "first" {
		return Mount(filepath.Join(dir, "mnt"), o)
	}
	return Resume(filepath.Join(dir, "mnt"), o)
}

// A keeper starts daemons of one mount, one after the other, and holds it for them.
type keeper struct {
	t      *testing.T
	dir    string
	holder Holder
	socket int // another descriptor of the holder's end
	cmd    *exec.Cmd
}

func (k *keeper) mnt(parts ...string) string {
	return filepath.Join(append([]string{k.dir, "mnt"}, parts...)...)
}

func (k *keeper) start(how string) {
	t := k.t
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	if k.socket, err = unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	socket := k.socket
	t.Cleanup(func() { _ = unix.Close(socket) })
	go func() {
		if err := k.holder.Serve(os.NewFile(uintptr(fds[0]), "ours"), how != "first"); err != nil {
			t.Errorf("holder: %v", err)
		}
	}()
	k.cmd = exec.Command(os.Args[0])
	k.cmd.Env = append(os.Environ(), "HERMESFS_TEST_DAEMON="+k.dir, "HERMESFS_TEST_KEEP="+how)
	k.cmd.ExtraFiles = []*os.File{theirs}
	k.cmd.Stderr = os.Stderr
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("daemon said %q, %v", line, err)
	}
}

func (k *keeper) kill() {
	k.t.Helper()
	if err := k.cmd.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	_ = k.cmd.Wait()
}

func newKeeper(t *testing.T) *keeper {
	requireFUSE(t)
	k := &keeper{t: t, dir: t.TempDir()}
	if err := os.Mkdir(k.mnt(), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Geteuid() == 0 {
			_ = unix.Unmount(k.mnt(), unix.MNT_DETACH)
		} else {
			_ = exec.Command("fusermount3", "-u", "-z", k.mnt()).Run()
		}
		_ = k.holder.Close()
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
	})
	return k
}

// A daemon is killed and another takes its mount over, again and again: who uses the mount does
// not notice but for a wait.
func TestTakeover(t *testing.T) {
	k := newKeeper(t)
	for i := range 200 {
		write(t, filepath.Join(k.dir, "lower/d", fmt.Sprintf("%03d", i)), "lower "+fmt.Sprint(i))
	}
	write(t, filepath.Join(k.dir, "lower/deep/er/f"), "deep")
	k.start("first")

	lower, err := os.Open(k.mnt("d/007"))
	if err != nil {
		t.Fatal(err)
	}
	defer lower.Close()
	write(t, k.mnt("made/new"), "made ")
	upper, err := os.OpenFile(k.mnt("made/new"), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer upper.Close()
	dir, err := os.Open(k.mnt("d"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	seen, err := dir.Readdirnames(50)
	if err != nil {
		t.Fatal(err)
	}
	cwd := exec.Command("sh", "-c", "read x && cat er/f && echo && echo in cwd >er/g && ls er")
	cwd.Dir = k.mnt("deep")
	stdin, err := cwd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cwdOut := &strings.Builder{}
	cwd.Stdout, cwd.Stderr = cwdOut, cwdOut
	if err := cwd.Start(); err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(lower.Fd()), 0, 7, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)

	// Renamed just before the kill: the node has a name that the kernel does not ask for again.
	if err := os.Rename(k.mnt("made"), k.mnt("renamed")); err != nil {
		t.Fatal(err)
	}
	k.kill()
	// What is asked while nobody serves waits.
	answers := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(k.mnt("d/100"))
		answers <- fmt.Sprintf("%s, %v", data, err)
	}()
	select {
	case a := <-answers:
		t.Fatalf("an access while nobody serves was answered: %s", a)
	case <-time.After(200 * time.Millisecond):
	}
	k.start("next")
	if got := <-answers; got != "lower 100, <nil>" {
		t.Errorf("the access that waited: %s", got)
	}
	for round := range 3 {
		got, err := io.ReadAll(io.NewSectionReader(lower, 0, 100))
		if err != nil || string(got) != "lower 7" {
			t.Errorf("round %d: open lower file: %q, %v", round, got, err)
		}
		if got := faulted(t, mapped); got != "lower 7" {
			t.Errorf("round %d: mapping: %q", round, got)
		}
		if _, err := fmt.Fprintf(upper, "%d", round); err != nil {
			t.Errorf("round %d: append: %v", round, err)
		}
		want := "made " + "012"[:round+1]
		if got := read(t, k.mnt("renamed/new")); got != want {
			t.Errorf("round %d: appended file: %q, want %q", round, got, want)
		}
		more, err := dir.Readdirnames(50)
		if err != nil {
			t.Errorf("round %d: open directory: %v", round, err)
		}
		seen = append(seen, more...)
		if round < 2 {
			k.kill()
			k.start("next")
		}
	}
	names := map[string]bool{}
	for _, n := range seen {
		names[n] = true
	}
	if len(seen) != 200 || len(names) != 200 {
		t.Errorf("listing over the takeovers: %d names, %d different, want 200", len(seen), len(names))
	}
	fmt.Fprintln(stdin)
	if err := cwd.Wait(); err != nil || cwdOut.String() != "deep\nf\ng\n" {
		t.Errorf("process with its directory in the mount: %v: %q", err, cwdOut)
	}
	// Everything goes on as ever.
	write(t, k.mnt("d/after"), "after")
	if err := os.RemoveAll(k.mnt("renamed")); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(k.dir, "lower/d/007"), "by the host")
	eventually(t, "a change of the home", func() bool { return read(t, k.mnt("d/007")) == "by the host" })
}

// Without its keeper a daemon goes on, and still tells the kernel what changed.
func TestKeeperGone(t *testing.T) {
	k := newKeeper(t)
	write(t, filepath.Join(k.dir, "lower/f"), "one")
	k.start("first")
	if got := read(t, k.mnt("f")); got != "one" {
		t.Fatalf("f = %q", got)
	}
	if err := unix.Shutdown(k.socket, unix.SHUT_RDWR); err != nil { // as if it was killed
		t.Fatal(err)
	}
	write(t, filepath.Join(k.dir, "lower/f"), "two, longer")
	write(t, filepath.Join(k.dir, "lower/g"), "new")
	eventually(t, "a change of the home", func() bool { return read(t, k.mnt("f")) == "two, longer" })
	eventually(t, "a new file", func() bool { _, err := os.Lstat(k.mnt("g")); return err == nil })
}

// A process makes, renames and removes while its daemon is killed at random: each call is carried
// out once, whether it was answered by the daemon that began it or by the next.
func TestTakeoverInMidRequest(t *testing.T) {
	k := newKeeper(t)
	write(t, filepath.Join(k.dir, "lower/x"), "x")
	k.start("first")
	// A process of its own: closing its files at an exec can wait for a request, and the next
	// daemon is started by an exec of this one.
	user := exec.Command(os.Args[0])
	user.Env = append(os.Environ(), "HERMESFS_TEST_USER="+k.mnt())
	stdin, err := user.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &strings.Builder{}
	user.Stdout, user.Stderr = said, said
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for range 25 {
		<-tick.C
		k.kill()
		k.start("next")
	}
	stdin.Close()
	if err := user.Wait(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	t.Logf("%s", said)
}

// useMount works in a mount until its standard input ends.
func useMount(mnt string) error {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for i := 0; ; i++ {
		select {
		case <-stop:
			fmt.Println(i, "rounds")
			return nil
		default:
		}
		a, b, d := filepath.Join(mnt, fmt.Sprintf("a%d", i)), filepath.Join(mnt, fmt.Sprintf("b%d", i)), filepath.Join(mnt, fmt.Sprintf("d%d", i))
		for _, step := range []struct {
			what string
			do   func() error
		}{
			{"mkdir", func() error { return os.Mkdir(d, 0o755) }},
			{"write", func() error { return os.WriteFile(a, []byte(a), 0o644) }},
			{"link", func() error { return os.Link(a, d+"/l") }},
			{"rename", func() error { return os.Rename(a, b) }},
			{"symlink", func() error { return os.Symlink("b", d+"/s") }},
			{"unlink", func() error { return os.Remove(d + "/s") }},
			{"unlink link", func() error { return os.Remove(d + "/l") }},
			{"rmdir", func() error { return os.Remove(d) }},
		} {
			if err := step.do(); err != nil {
				return fmt.Errorf("%d: %s: %w", i, step.what, err)
			}
		}
		if data, err := os.ReadFile(b); err != nil || string(data) != a {
			return fmt.Errorf("%d: read %q, %v", i, data, err)
		}
	}
}

func FuzzDecodeTable(f *testing.F) {
	b := appendTableRecord(nil, record{kind: recordName, id: 2, gen: 1, ino: 2, parent: 1, mode: unix.S_IFREG, name: "a"})
	b = appendTableRecord(b, record{kind: recordDrop, id: 2})
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		records, size := decodeTable(b)
		var again []byte
		for _, r := range records {
			again = appendTableRecord(again, r)
		}
		got, _ := decodeTable(again)
		if size > len(b) || len(got) != len(records) {
			t.Errorf("%d records of %d bytes came back as %d", len(records), size, len(got))
		}
	})
}
