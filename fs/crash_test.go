package fs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
)

// TestMain is also the daemon that the tests kill, and a user of its mount.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HERMESFS_TEST_DAEMON"); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if mnt := os.Getenv("HERMESFS_TEST_USER"); mnt != "" {
		if err := useMount(mnt); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func openTest(dir string) (*layer.Stack, error) {
	policy, err := access.New(access.Options{Preset: "all"})
	if err != nil {
		return nil, err
	}
	return layer.Open(layer.Options{
		Lower: filepath.Join(dir, "lower"), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Policy: policy,
	})
}

func serve(dir string) error {
	stack, err := openTest(dir)
	if err != nil {
		return err
	}
	o := Options{Stack: stack, Name: "kill", Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	var ov *Overlay
	if how := os.Getenv("HERMESFS_TEST_KEEP"); how == "" {
		ov, err = Mount(filepath.Join(dir, "mnt"), o)
	} else {
		ov, err = serveKept(how, dir, o)
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	ov.Wait()
	return stack.Close()
}

// After SIGKILL at any instant the next mount works and no file is half-written: each is what it
// was or what it was to become.
func TestKill(t *testing.T) {
	requireFUSE(t)
	dir := t.TempDir()
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	const files = 40
	big := func(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("lower %d\n", i)), 50_000) }
	for i := range files {
		write(t, filepath.Join(dir, "lower", "d", fmt.Sprint(i)), string(big(i)))
	}
	for round := range 12 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "HERMESFS_TEST_DAEMON="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("daemon said %q, %v", line, err)
		}
		var g sync.WaitGroup
		ops := make(chan struct{}, 1000)
		g.Go(func() { // copies up by chmod
			for i := range files {
				if os.Chmod(filepath.Join(mnt, "d", fmt.Sprint(i)), os.FileMode(0o600+round%8)) != nil {
					return
				}
				ops <- struct{}{}
			}
		})
		g.Go(func() { // saves as editors do, removes, makes again
			for i := range files {
				name := filepath.Join(mnt, "d", fmt.Sprint(i))
				if os.WriteFile(name+".tmp", big(i), 0o644) != nil || os.Rename(name+".tmp", name) != nil {
					return
				}
				ops <- struct{}{}
				sub := filepath.Join(mnt, "e")
				_, _ = os.Mkdir(sub, 0o755), os.Remove(sub)
			}
		})
		for range 1 + round*5 {
			<-ops
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		g.Wait()
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		} else if err != nil {
			if out, err := exec.Command("fusermount3", "-u", "-z", mnt).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		stack, err := openTest(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range files {
			path := "d/" + fmt.Sprint(i)
			f, e, err := stack.OpenFile(path)
			if err != nil {
				t.Fatalf("round %d: %s: %v", round, path, err)
			}
			got := make([]byte, e.Size+1)
			n, _ := f.ReadAt(got, 0)
			f.Close()
			if !bytes.Equal(got[:n], big(i)) {
				t.Errorf("round %d: %s is %d bytes, want %d", round, path, n, len(big(i)))
			}
		}
		if err := stack.Close(); err != nil {
			t.Fatal(err)
		}
		for _, tmp := range []string{"tmp-1", "tmp-2", "stage/tmp-1"} {
			if _, err := os.Lstat(filepath.Join(dir, "work", tmp)); !errors.Is(err, iofs.ErrNotExist) {
				t.Errorf("round %d: %s was not swept: %v", round, tmp, err)
			}
		}
	}
}
