package ssh

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"hermesfs/backends"
)

// newMark is a word that no rc file prints. The process id follows it.
func newMark() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "hermesfs-" + hex.EncodeToString(b) + ":"
}

// A markedStderr tells what came before the script started from what the script wrote.
type markedStderr struct {
	mark    []byte
	onStart func() // called once, when the mark has come
	came    chan struct{}

	mu     sync.Mutex // guards what follows
	before []byte     // up to the mark; capped at its beginning
	after  backends.StderrTail
	pid    int // of the far sh, 0 until it has started
}

func newMarkedStderr(mark string) *markedStderr {
	return &markedStderr{mark: []byte(mark), came: make(chan struct{})}
}

// Write never fails.
func (m *markedStderr) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pid != 0 {
		return m.after.Write(p)
	}
	m.before = append(m.before, p...)
	if before, rest, ok := bytes.Cut(m.before, m.mark); ok {
		line, rest, whole := bytes.Cut(rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		m.pid, _ = strconv.Atoi(string(line))
		m.pid = max(m.pid, 1) // 1 is never ours: no process to kill, but it has started
		_, _ = m.after.Write(rest)
		m.before = before
		close(m.came)
		if m.onStart != nil {
			m.onStart()
		}
	} else if n := len(m.before) - 2*backends.MaxStderr; n > 0 {
		m.before = append(m.before[:0], m.before[n:]...)
	}
	return len(p), nil
}

// started returns the process id of the far sh, which is 1 when unknown, or 0.
func (m *markedStderr) started() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pid
}

// waitStarted is started, after a while when it has not.
func (m *markedStderr) waitStarted(limit time.Duration) int {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-m.came:
	case <-timer.C:
	}
	return m.started()
}

// script is what the script wrote.
func (m *markedStderr) script() string { return m.after.String() }

// all has what ssh and rc files wrote too, without what any server may print at every login.
func (m *markedStderr) all() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := string(m.before[max(0, len(m.before)-backends.MaxStderr):])
	return strings.TrimSpace(s + m.after.String())
}
