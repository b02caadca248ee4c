package backendtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A stock is what this process holds that a Transport must give back.
type stock struct {
	files      []string
	goroutines int
	children   map[int]bool
}

func takeStock() stock {
	s := stock{goroutines: runtime.NumGoroutine(), children: map[int]bool{}}
	entries, _ := filepath.Glob("/proc/self/fd/*")
	for _, e := range entries {
		if to, err := os.Readlink(e); err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
			s.files = append(s.files, to)
		}
	}
	for _, p := range processes() {
		if p.ppid == os.Getpid() {
			s.children[p.pid] = true
		}
	}
	return s
}

// compare fails the test when more is held than before, also after a while.
func (s stock) compare(t *testing.T) {
	t.Helper()
	var left string
	ok := func() bool {
		now := takeStock()
		var more []string
		if n := len(now.files) - len(s.files); n > 0 {
			more = append(more, fmt.Sprintf("%d descriptors more: %q, before %q", n, now.files, s.files))
		}
		for pid := range now.children {
			if !s.children[pid] {
				more = append(more, fmt.Sprintf("process %d: %s", pid, commandLine(pid)))
			}
		}
		if n := now.goroutines - s.goroutines; n > 0 {
			more = append(more, fmt.Sprintf("%d goroutines more", n))
		}
		left = strings.Join(more, "; ")
		return left == ""
	}
	deadline := time.Now().Add(3 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			buf := make([]byte, 64<<10)
			t.Errorf("left over after Close: %s\n%s", left, buf[:runtime.Stack(buf, true)])
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fmt.Sprintf("%q", bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
}
