package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/fs/layer"
)

// What is watched of a lower directory: its names, and the content and attributes of its files.
const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// A watcher tells of changes that other processes make to lower. A directory is watched before it
// is looked at, so what the kernel keeps of it can be kept until an event says otherwise.
type watcher struct {
	fd   int
	file *os.File // of fd; read through it, so that closing it wakes the reader
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	byID   map[int32]string
	byPath map[string]int32
	full   bool // the kernel gives no more watches: what is not watched is looked at each second
}

// An event is one change of a watched directory; name is "" for the directory itself.
type event struct {
	dir, name string
	mask      uint32
}

func (e event) path() string { return layer.Join(e.dir, e.name) }

func newWatcher(log *slog.Logger) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch the home: %w", err)
	}
	return &watcher{fd: fd, file: os.NewFile(uintptr(fd), "inotify"), log: log, byID: map[int32]string{}, byPath: map[string]int32{}}, nil
}

// watch watches a lower directory by its descriptor, and says whether it could.
func (w *watcher) watch(path string, fd int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full {
		return false
	}
	id, err := unix.InotifyAddWatch(w.fd, strings.TrimSuffix(layer.Path(fd, ""), "/"), watchMask)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			w.full = true
			w.log.Warn("no more inotify watches: changes of the home show after a second; raise fs.inotify.max_user_watches", "watched", len(w.byID))
		}
		return false
	}
	if old, ok := w.byID[int32(id)]; ok && old != path {
		delete(w.byPath, old)
	}
	w.byID[int32(id)], w.byPath[path] = path, int32(id)
	return true
}

// unwatch forgets a directory that was moved away, with all below it.
func (w *watcher) unwatch(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, id := range w.byPath {
		if p == path || strings.HasPrefix(p, path+"/") {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(id))
			delete(w.byPath, p)
			delete(w.byID, id)
		}
	}
}

// read waits for events. overflow says that some were lost.
func (w *watcher) read(buf []byte) (events []event, overflow bool, err error) {
	n, err := w.file.Read(buf)
	if err != nil {
		return nil, false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		id, mask, size := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
		name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
		b = b[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			overflow = true
			continue
		}
		dir, ok := w.byID[id]
		if !ok {
			continue
		}
		if mask&unix.IN_IGNORED != 0 {
			delete(w.byID, id)
			delete(w.byPath, dir)
			continue
		}
		events = append(events, event{dir: dir, name: name, mask: mask})
	}
	return events, overflow, nil
}

// follow serves the events of lower until the watcher is closed.
func (o *Overlay) follow(ctx context.Context) {
	o.watchBelow(ctx, ".")
	buf := make([]byte, 64<<10)
	for {
		events, overflow, err := o.watch.read(buf)
		if err != nil {
			return
		}
		if overflow {
			o.log.Warn("events of the home were lost: looking at everything again")
			o.forgetLower()
			o.changed()
		}
		var told []notification
		for _, e := range events {
			told = append(told, o.lowerChanged(ctx, e)...)
		}
		o.notify.send(told...)
	}
}

// watchBelow watches a directory of lower and those below it that access shows.
func (o *Overlay) watchBelow(ctx context.Context, path string) {
	err := o.stack.LowerDirs(ctx, path, func(path string, fd int) error {
		o.watch.watch(path, fd)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		o.log.Warn("not all of the home is watched", "path", path, "error", err)
	}
}

// lowerChanged says what the kernel must be told after a change of lower.
func (o *Overlay) lowerChanged(ctx context.Context, e event) []notification {
	path := e.path()
	policy := o.stack.Policy()
	if e.name == "" || policy.Hidden(path) || policy.Level(path) == access.None && !policy.Enter(path) {
		return nil
	}
	if e.mask&unix.IN_ISDIR != 0 {
		if e.mask&unix.IN_MOVED_FROM != 0 {
			o.watch.unwatch(path)
		}
		if e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
			o.watchBelow(ctx, path)
		}
	}
	o.changed()
	o.mu.Lock()
	defer o.mu.Unlock()
	dir := o.knownPathLocked(e.dir)
	if dir == nil {
		return nil
	}
	o.tableMu.Lock()
	child := dir.children[e.name]
	o.tableMu.Unlock()
	if e.mask&(unix.IN_MODIFY|unix.IN_ATTRIB) != 0 {
		if child == nil || child.upper && !child.isDir() {
			return nil
		}
		return []notification{{node: child.id, data: true}}
	}
	if child != nil && child.isDir() {
		o.forgetPairsLocked(child)
	}
	return []notification{{node: dir.id, data: true}, {parent: dir.id, name: e.name}}
}

// forgetPairsLocked has a directory and those below it opened anew. The caller holds mu for
// writing.
func (o *Overlay) forgetPairsLocked(n *node) {
	n.forgetPair()
	o.tableMu.Lock()
	var dirs []*node
	for _, child := range n.children {
		if child.isDir() {
			dirs = append(dirs, child)
		}
	}
	o.tableMu.Unlock()
	for _, child := range dirs {
		o.forgetPairsLocked(child)
	}
}

// forgetLower tells the kernel to ask again for everything that lower may have changed.
func (o *Overlay) forgetLower() {
	o.mu.Lock()
	o.forgetPairsLocked(o.root)
	o.tableMu.Lock()
	var told []notification
	for _, n := range o.nodes {
		if n.isDir() || !n.upper {
			told = append(told, notification{node: n.id, data: true})
		}
		for _, at := range n.names {
			if !n.upper || n.isDir() {
				told = append(told, notification{parent: at.parent.id, name: at.name})
			}
		}
	}
	o.tableMu.Unlock()
	o.mu.Unlock()
	o.notify.send(told...)
}

// Live says whether every change of the home shows at once; if not, some show after a second.
func (o *Overlay) Live() bool {
	o.watch.mu.Lock()
	defer o.watch.mu.Unlock()
	return !o.watch.full
}
