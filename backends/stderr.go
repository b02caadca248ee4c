package backends

import "sync"

// MaxStderr is how much of a script's standard error is kept for messages.
const MaxStderr = 4 << 10

// A StderrTail is a Writer that keeps the last MaxStderr bytes. It may be used concurrently.
type StderrTail struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (t *StderrTail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if len(p) > MaxStderr {
		p = p[len(p)-MaxStderr:]
	}
	t.buf = append(t.buf, p...)
	if len(t.buf) > MaxStderr {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-MaxStderr:]...)
	}
	return n, nil
}

// String is what was kept.
func (t *StderrTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
