// Package integration runs hermesfs as its users do: the real program on real FUSE mounts, a real
// sshd, and processes that are killed.
package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// waitLimit bounds every wait of a script.
const waitLimit = 30 * time.Second

// buildDir is where binary builds; TestMain makes and removes it.
var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "hermesfs-script-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // other users run it too
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		buildDir = dir
		return m.Run()
	}())
}

// binary builds hermesfs once; HERMESFS_TEST_BINARY names one that is built already.
var binary = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("HERMESFS_TEST_BINARY"); b != "" {
		return filepath.Abs(b)
	}
	bin := filepath.Join(buildDir, "hermesfs")
	cmd := exec.Command("go", "build", "-o", bin, "hermesfs/cmd/hermesfs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hermesfs: %w: %s", err, out)
	}
	return bin, nil
})

// TestScripts runs what a user can type, testdata/script/*.txtar, on the real program. Beside
// testscript's own commands the scripts have
//
//	require fuse|root|ssh…       skip where it is missing, loudly
//	exits CODE PROGRAM ARG…      run a program that must end with this code
//	eventually PROGRAM ARG…      run a program again and again until it ends with 0
//	signal NAME PID-FILE         send a signal to the processes whose ids are in a file, in order
//	mounted                      something is mounted by FUSE below the script's directory
//	sshd                         start an sshd of the script's own: $SSH_URL reaches it, sshd.pid is its process
//
// $STATE is the state directory. What a script leaves mounted is taken away.
func TestScripts(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			state := filepath.Join(e.WorkDir, ".state")
			e.Values[scriptT{}] = e.T()
			e.Setenv("STATE", state)
			e.Setenv("HERMESFS_STATE_DIR", state)
			e.Setenv("HOME", filepath.Join(e.WorkDir, ".user"))
			e.Setenv("PATH", filepath.Dir(bin)+":"+e.Getenv("PATH"))
			e.Setenv("HERMESFS", bin)
			for _, name := range []string{"GORACE", "GOCOVERDIR"} { // for a binary built with -race or -cover
				if v := os.Getenv(name); v != "" {
					e.Setenv(name, v)
				}
			}
			if err := os.Mkdir(filepath.Join(e.WorkDir, ".user"), 0o755); err != nil {
				return err
			}
			// Other users that a script turns into get in.
			return errors.Join(os.Chmod(filepath.Dir(e.WorkDir), 0o711), os.Chmod(e.WorkDir, 0o755))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"require": scriptRequire, "exits": scriptExits, "eventually": scriptEventually,
			"signal": scriptSignal, "sshd": scriptSSHD, "mounted": scriptMounted,
		},
	})
}

// scriptT is the key of a script's testscript.T.
type scriptT struct{}

// missing says why this machine does not have a thing that scripts may require, nil when it has.
func missing(what string) error {
	switch what {
	case "fuse":
		f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		if err == nil {
			return f.Close()
		}
		if os.Geteuid() == 0 {
			return err
		}
		_, err = exec.LookPath("fusermount3")
		return err
	case "root":
		if os.Geteuid() != 0 {
			return errors.New("not root")
		}
		return nil
	case "ssh":
		if _, err := exec.LookPath("ssh"); err != nil {
			return err
		}
		_, err := exec.LookPath("/usr/sbin/sshd")
		return err
	}
	_, err := exec.LookPath(what)
	return err
}

func scriptRequire(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: require THING…")
	}
	wanted := strings.Split(os.Getenv("HERMESFS_TEST_REQUIRE"), ",")
	for _, what := range args {
		err := missing(what)
		switch {
		case err == nil:
		case slices.Contains(wanted, what) || slices.Contains(wanted, "all"):
			ts.Fatalf("%s is required: %v", what, err)
		default:
			ts.Value(scriptT{}).(testscript.T).Skip(fmt.Sprintf("no %s: %v", what, err))
		}
	}
	if slices.Contains(args, "fuse") {
		ts.Defer(func() { sweep(ts) })
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var ended *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &ended):
		if got = ended.ExitCode(); ended.Sys().(syscall.WaitStatus).Signaled() {
			got = 128 + int(ended.Sys().(syscall.WaitStatus).Signal())
		}
	case err != nil:
		ts.Fatalf("%s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func scriptEventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: eventually PROGRAM ARG…")
	}
	deadline := time.Now().Add(waitLimit)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: still %v after %v", strings.Join(args, " "), err, waitLimit)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME PID-FILE")
	}
	sigs := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}
	sig, ok := sigs[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	for field := range strings.FieldsSeq(ts.ReadFile(args[1])) {
		pid, err := strconv.Atoi(field)
		ts.Check(err)
		ts.Check(syscall.Kill(pid, sig))
	}
}

// scriptMounted looks for FUSE mounts below the script's directory.
func scriptMounted(ts *testscript.TestScript, neg bool, args []string) {
	if found := mountsBelow(ts.Getenv("WORK")); (len(found) > 0) == neg {
		ts.Fatalf("mounted below the script's directory: %v", found)
	}
}

// mountsBelow lists the FUSE mounts below a directory, the innermost first.
func mountsBelow(dir string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") && strings.Contains(line, " - fuse") {
			out = append(out, f[4])
		}
	}
	slices.Reverse(out)
	return out
}

// sweep takes away what a script left mounted and waits for its daemons, so that nothing
// outlives the test.
func sweep(ts *testscript.TestScript) {
	for _, m := range mountsBelow(ts.Getenv("WORK")) {
		ts.Logf("left mounted: %s", m)
		syscall.Unmount(m, syscall.MNT_DETACH) //nolint:errcheck // the daemons are awaited below
	}
	deadline := time.Now().Add(waitLimit)
	for len(daemonsOf(ts.Getenv("STATE"))) > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	for _, pid := range daemonsOf(ts.Getenv("STATE")) {
		ts.Logf("daemon %d did not end", pid)
		syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it ended
	}
}

// daemonsOf lists the processes that serve the mounts of a state directory.
func daemonsOf(state string) []int {
	var out []int
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		cmdline, err := os.ReadFile(p)
		if err != nil || !strings.HasPrefix(string(cmdline), "hermesfs\x00daemon\x00") {
			continue
		}
		vars, err := os.ReadFile(filepath.Join(filepath.Dir(p), "environ"))
		if err == nil && slices.Contains(strings.Split(string(vars), "\x00"), "HERMESFS_STATE_DIR="+state) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			out = append(out, pid)
		}
	}
	return out
}
