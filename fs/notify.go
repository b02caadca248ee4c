package fs

import (
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"
)

// A notification tells the kernel what it must not believe any more.
type notification struct {
	parent uint64 // with name: this entry
	name   string
	node   uint64 // its attributes, and its content if data is set
	data   bool
}

// A notifier tells the kernel from one goroutine, in order. A notification may wait for a request
// that is being served, so it is never sent by a handler or under a lock that a handler needs.
type notifier struct {
	device *device
	log    *slog.Logger
	done   chan struct{}

	mu     sync.Mutex // guards what follows
	cond   *sync.Cond
	queue  []notification
	busy   bool
	closed bool
}

func newNotifier(device *device, log *slog.Logger) *notifier {
	n := &notifier{device: device, log: log, done: make(chan struct{})}
	n.cond = sync.NewCond(&n.mu)
	go n.run()
	return n
}

func (n *notifier) send(what ...notification) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, what...)
	n.cond.Broadcast()
}

// flush returns when the kernel has been told all that was sent.
func (n *notifier) flush() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for (len(n.queue) > 0 || n.busy) && !n.closed {
		n.cond.Wait()
	}
}

func (n *notifier) run() {
	defer close(n.done)
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		for len(n.queue) == 0 && !n.closed {
			n.cond.Wait()
		}
		if n.closed {
			return
		}
		batch := n.queue
		n.queue, n.busy = nil, true
		n.mu.Unlock()
		for _, what := range batch {
			n.tell(what)
		}
		n.mu.Lock()
		n.busy = false
		n.cond.Broadcast()
	}
}

func (n *notifier) tell(what notification) {
	var err error
	if what.parent != 0 {
		err = n.device.forgetName(what.parent, what.name)
	} else {
		err = n.device.forgetNode(what.node, what.data)
	}
	// ENOENT: the kernel does not have it. Anything else ends with the next timeout.
	if err != nil && !errors.Is(err, unix.ENOENT) {
		n.log.Debug("kernel was not notified", "error", err)
	}
}

// close ends the goroutine and waits for it.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.cond.Broadcast()
	n.mu.Unlock()
	<-n.done
}
