package backendtest

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// waitLimit bounds every wait for something that must come.
const waitLimit = 30 * time.Second

// waitFor polls until ok.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Errorf("waited %v for %s", waitLimit, what)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type process struct {
	pid, ppid int
	name      string
	state     byte
}

// processes reads /proc.
func processes() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []process
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid ...; the name may hold anything
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if open < 0 || end < open {
			continue
		}
		p := process{name: string(b[open+1 : end])}
		rest := strings.Fields(string(b[end+1:]))
		p.pid, _ = strconv.Atoi(strings.TrimSpace(string(b[:open])))
		p.state = rest[0][0]
		p.ppid, _ = strconv.Atoi(rest[1])
		found = append(found, p)
	}
	return found
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	return slices.ContainsFunc(processes(), func(p process) bool { return p.pid == pid && p.state != 'Z' })
}

// require skips the test where something is missing, or fails it when HERMESFS_TEST_REQUIRE, a
// list with commas, names it or is "all".
func require(t testing.TB, name, missing string) {
	t.Helper()
	if missing == "" {
		return
	}
	for want := range strings.SplitSeq(os.Getenv("HERMESFS_TEST_REQUIRE"), ",") {
		if want == name || want == "all" {
			t.Fatalf("%s is required: %s", name, missing)
		}
	}
	t.Skipf("%s (HERMESFS_TEST_REQUIRE=%s makes this a failure)", missing, name)
}

// requireSSHD returns the path of sshd.
func requireSSHD(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"ssh", "ssh-keygen"} {
		if _, err := osexec.LookPath(tool); err != nil {
			require(t, "ssh", "there is no "+tool+": install openssh-client")
		}
	}
	sshd, err := osexec.LookPath("sshd")
	if err != nil { // sbin is in the PATH of few; sshd wants to be called by its whole path
		sshd = "/usr/sbin/sshd"
		if _, err := os.Stat(sshd); err != nil {
			require(t, "ssh", "there is no sshd: install openssh-server")
		}
	}
	return sshd
}
