package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary runs itself as the process that dies.
const (
	envCrashPoint = "HERMESFS_JOURNAL_CRASH_POINT" // run the script, die at this failpoint
	envCrashLoop  = "HERMESFS_JOURNAL_CRASH_LOOP"  // write generation after generation until killed
	envFull       = "HERMESFS_JOURNAL_FULL"        // write past a limit on the file's size
	envHold       = "HERMESFS_JOURNAL_HOLD"        // hold the lock until stdin ends
	crashPaths    = 60
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envCrashPoint) != "":
		crashAt(os.Args[1], os.Getenv(envCrashPoint))
	case os.Getenv(envCrashLoop) != "":
		crashLoop(os.Args[1])
	case os.Getenv(envFull) != "":
		writeUntilFull(os.Args[1])
	case os.Getenv(envHold) != "":
		hold(os.Args[1])
	}
	os.Exit(m.Run())
}

// die ends a child that failed.
func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// crashAt runs the script and dies at the point.
func crashAt(path, point string) {
	j, err := Open(path, Options{Fail: func(at string) error {
		if at == point {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}})
	die(err)
	for _, s := range script(crashPaths) {
		die(s.do(j))
	}
	os.Exit(0)
}

func crashLoop(path string) {
	j, err := Open(path, Options{})
	die(err)
	var last uint64
	die(j.Bases(func(_ string, b Base) error { last = b.Generation; return nil }))
	for g := last + 1; ; g++ {
		put := map[string]Base{}
		pending := map[string]*Base{}
		for i := range crashPaths {
			b := sampleBase(samplePath(i), i)
			b.Generation = g
			put[samplePath(i)], pending[samplePath(i)] = b, &b
		}
		die(j.SetPending(pending))
		die(j.Apply(Update{Put: put, ClearPending: true, Events: []Event{{Path: "all", What: "pushed", Detail: fmt.Sprint(g)}}}))
		if g%7 == 0 {
			die(j.Compact())
		}
		fmt.Println(g)
	}
}

func hold(path string) {
	_, err := Open(path, Options{})
	die(err)
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin)
	die(err)
	os.Exit(0)
}

func child(t *testing.T, path string, env string) *osexec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := osexec.Command(self, path)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestKilledAtEachPoint kills a process before and after each durable step and opens what it leaves.
func TestKilledAtEachPoint(t *testing.T) {
	states := run(t, newJournal(t), script(crashPaths))
	steps := script(crashPaths)
	for _, point := range Points() {
		path := filepath.Join(t.TempDir(), "journal.db")
		err := child(t, path, envCrashPoint+"="+point).Run()
		var exit *osexec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("%s: the child ended with %v, want it killed", point, err)
			continue
		}
		name, when, _ := strings.Cut(point, ":")
		if name == stepCreate {
			_, err := os.Stat(path)
			if absent := errors.Is(err, iofs.ErrNotExist); absent != (when == "before") {
				t.Errorf("%s: Stat = %v", point, err)
			}
			j := openAt(t, path, Options{})
			if got := dump(t, j); got != states[0] {
				t.Errorf("%s: left %s, want an empty journal", point, got)
			}
			checkNothingBeside(t, point, path)
			continue
		}
		// states[i+1] is what the step at i leaves.
		at := slices.IndexFunc(steps, func(s step) bool { return s.name == name })
		if when == "after" {
			at++
		}
		j := openAt(t, path, Options{})
		if got := dump(t, j); got != states[at] {
			t.Errorf("%s: left\n%s\nwant\n%s", point, got, states[at])
		}
		checkNothingBeside(t, point, path)
	}
}

func checkNothingBeside(t *testing.T, point, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%s: files left beside the journal: %v", point, entries)
	}
}

// TestFailedAtEachPoint has each point return an error: the journal goes on.
func TestFailedAtEachPoint(t *testing.T) {
	boom := errors.New("boom")
	want := run(t, newJournal(t), script(crashPaths))
	for _, point := range Points() {
		failed := false
		o := Options{Fail: func(at string) error {
			if at == point && !failed {
				failed = true
				return boom
			}
			return nil
		}}
		path := filepath.Join(t.TempDir(), "journal.db")
		if strings.HasPrefix(point, stepCreate) {
			if _, err := Open(path, o); !errors.Is(err, boom) {
				t.Errorf("%s: Open = %v, want the failpoint's error", point, err)
			}
		}
		j := openAt(t, path, o)
		name, when, _ := strings.Cut(point, ":")
		for _, s := range script(crashPaths) {
			err := s.do(j)
			if s.name == name {
				if !errors.Is(err, boom) {
					t.Errorf("%s: %s = %v, want the failpoint's error", point, s.name, err)
				}
				if when == "before" {
					err = s.do(j) // nothing happened, so again
				} else {
					err = nil
				}
			}
			if err != nil {
				t.Errorf("%s: %s = %v", point, s.name, err)
			}
		}
		if got := dump(t, j); got != want[len(want)-1] {
			t.Errorf("%s: the journal differs from one where nothing failed", point)
		}
		checkNothingBeside(t, point, path)
	}
}

// TestKilledAnywhere kills a writer at random moments: what it reported as written is there, and
// every Apply is there as a whole.
func TestKilledAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	rnd := rand.New(rand.NewPCG(4, 4))
	var reported uint64
	for round := range 15 {
		cmd := child(t, path, envCrashLoop+"=1")
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := rnd.IntN(12); n >= 0 && lines.Scan(); n-- {
			reported, err = strconv.ParseUint(lines.Text(), 10, 64)
			must(t, err)
		}
		kill := time.AfterFunc(time.Duration(rnd.IntN(4000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			reported, err = strconv.ParseUint(lines.Text(), 10, 64)
			must(t, err)
		}
		_ = cmd.Wait() // killed
		kill.Stop()

		j, err := Open(path, Options{})
		must(t, err)
		gens := map[uint64]int{}
		must(t, j.Bases(func(_ string, b Base) error { gens[b.Generation]++; return nil }))
		for g, n := range gens {
			if len(gens) != 1 || n != crashPaths || g < reported || g > reported+1 {
				t.Errorf("round %d: generations %v, reported %d", round, gens, reported)
			}
		}
		if found := problems(t, j); len(found) > 0 {
			t.Errorf("round %d: %s", round, found)
		}
		must(t, j.Close())
	}
	if reported == 0 {
		t.Error("nothing was ever written")
	}
	checkNothingBeside(t, "end", path)
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	cmd := child(t, path, envHold+"=1")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	start := time.Now()
	for _, readOnly := range []bool{false, true} {
		_, err := Open(path, Options{ReadOnly: readOnly, Timeout: 100 * time.Millisecond})
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open = %v, want ErrLocked naming the file", err)
		}
	}
	if waited := time.Since(start); waited < 200*time.Millisecond {
		t.Errorf("gave up after %v, want the timeout waited for", waited)
	}
	// The lock goes with the process, however that ends.
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_ = in.Close()
	openAt(t, path, Options{Timeout: 5 * time.Second})
}

// writeUntilFull has writes fail as on a full disk, then makes room.
func writeUntilFull(path string) {
	j, err := Open(path, Options{})
	die(err)
	die(j.Apply(Update{Put: map[string]Base{"a": {Kind: Dir}}}))
	info, err := os.Stat(path)
	die(err)
	signal.Ignore(syscall.SIGXFSZ)
	var room syscall.Rlimit
	die(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &room))
	full := room
	full.Cur = uint64(info.Size())
	die(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full))
	bases := sampleBases(20_000)
	for range 2 {
		err = j.Apply(Update{Put: bases})
		if !errors.Is(err, syscall.EFBIG) && (err == nil || errors.Is(err, ErrCorrupt)) {
			die(fmt.Errorf("Apply on a full disk = %w", err))
		}
	}
	if n, err := j.CountBases(); err != nil || n != 1 {
		die(fmt.Errorf("CountBases() = %d, %w after a failed Apply", n, err))
	}
	die(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &room))
	die(j.Apply(Update{Put: bases}))
	die(j.Close())
	os.Exit(0)
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	must(t, child(t, path, envFull+"=1").Run())
	j := openAt(t, path, Options{})
	if n, err := j.CountBases(); err != nil || n != 20_001 {
		t.Errorf("CountBases() = %d, %v, want 20001", n, err)
	}
}
