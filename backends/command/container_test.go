package command

import (
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// require skips the test where something is missing, or fails it when HERMESFS_TEST_REQUIRE, a
// list with commas, names it or is "all".
func require(t testing.TB, name, missing string) {
	t.Helper()
	wanted := strings.Split(os.Getenv("HERMESFS_TEST_REQUIRE"), ",")
	if slices.Contains(wanted, name) || slices.Contains(wanted, "all") {
		t.Fatalf("%s is required: %s", name, missing)
	}
	t.Skipf("%s (HERMESFS_TEST_REQUIRE=%s makes this a failure)", missing, name)
}

// startContainer starts namespaces with processes, a /root and a /tmp of their own, and returns the
// prefix that runs a command in them.
func startContainer(t testing.TB) []string {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter", "mount"} {
		if _, err := osexec.LookPath(tool); err != nil {
			require(t, "namespaces", "there is no "+tool)
		}
	}
	if os.Geteuid() != 0 {
		require(t, "namespaces", "only root makes these namespaces")
	}
	root, tmp := t.TempDir(), t.TempDir()
	script := `mount --bind "$1" /root && mount --bind "$2" /tmp && mount -t proc proc /proc && echo ready && exec cat`
	cmd := osexec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", root, tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // its end ends the container, also when this process is killed
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	line := make([]byte, 16)
	if n, _ := out.Read(line); string(line[:n]) != "ready\n" {
		_ = cmd.Wait()
		require(t, "namespaces", "no namespaces: "+strings.TrimSpace(said.String()))
	}
	pid := ""
	for deadline := time.Now().Add(5 * time.Second); pid == ""; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile("/proc/" + itoa(cmd.Process.Pid) + "/task/" + itoa(cmd.Process.Pid) + "/children")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no first process: %v", err)
		}
		pid = strings.TrimSpace(string(b))
	}
	return []string{"nsenter", "--target", pid, "--mount", "--pid", "--wd=/root", "env", "HOME=/root", "TMPDIR=/tmp"}
}
