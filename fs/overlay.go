package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// ErrBusy is answered by Unmount while a process uses the mount.
var ErrBusy = errors.New("mount is in use")

// Timeouts of what the kernel may keep. Upper changes only through the mount or through a method
// that tells the kernel, and of a lower directory that is watched the kernel is told too.
const (
	toldTimeout      = time.Hour
	unwatchedTimeout = time.Second
)

// Options of a mount.
type Options struct {
	Stack      *layer.Stack // stays the caller's; it must outlive the mount
	Name       string       // shown in the mount table
	AllowOther bool         // other users may use the mount, as its modes say
	Log        *slog.Logger // nil discards
	// Changed is called after something in the mount was changed through it. It must return at
	// once and may be called concurrently.
	Changed func()
	// Keeper holds the mount, so that it survives a kill of this process; nil: it does not. It
	// stays the caller's and must outlive the mount.
	Keeper *Keeper
}

// An Overlay is a mounted view. Its methods may be called concurrently.
type Overlay struct {
	fuse.RawFileSystem // ENOSYS for what is not implemented

	stack   *layer.Stack
	log     *slog.Logger
	changed func()
	device  *device
	mount   string
	uid     uint32 // of this process
	gid     uint32
	notify  *notifier
	watch   *watcher
	stop    context.CancelFunc // ends the background work
	work    sync.WaitGroup     // of follow
	once    sync.Once          // of the end

	mu      sync.RWMutex // see doc.go
	retired []int        // descriptors to close when nobody reads the tree; guarded by tableMu

	tableMu sync.Mutex // guards what follows, and the fields of node that say so
	nodes   map[uint64]*node
	altIno  uint64
	dirs    map[uint64]*dirStream
	nextDir uint64
	root    *node
	table   *nodeTable // nil keeps nothing

	fileMu sync.Mutex // guards the open files of nodes and their list
	files  fileList
}

// Mount mounts the view at mountpoint and returns when it answers. The caller unmounts it.
func Mount(mountpoint string, o Options) (*Overlay, error) {
	ov, err := newOverlay(mountpoint, o)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	if ov.device.fd, err = mountDevice(mountpoint, o.Name, o.AllowOther); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", mountpoint, err), ov.watch.file.Close())
	}
	ov.notify = newNotifier(ov.device, ov.log)
	if err := ov.device.start(func(first []byte) error { return ov.keep(o.Keeper, first) }); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", mountpoint, err), ov.unmount(unix.MNT_DETACH), ov.watch.file.Close())
	}
	ov.pollOnce()
	ov.background()
	return ov, nil
}

// newOverlay makes an overlay that serves nothing yet.
func newOverlay(mountpoint string, o Options) (*Overlay, error) {
	// The kernel has applied the caller's umask, or we do.
	unix.Umask(0)
	ov := &Overlay{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		stack:         o.Stack, log: o.Log, changed: o.Changed, mount: mountpoint,
		uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		nodes: map[uint64]*node{}, dirs: map[uint64]*dirStream{},
	}
	if ov.log == nil {
		ov.log = slog.New(slog.DiscardHandler)
	}
	if ov.changed == nil {
		ov.changed = func() {}
	}
	if err := ov.makeRoot(); err != nil {
		return nil, err
	}
	var err error
	if ov.watch, err = newWatcher(ov.log); err != nil {
		return nil, err
	}
	ov.root.watched.Store(ov.watch.watch(".", ov.root.pair.Lower))
	ov.device = &device{log: ov.log, protocol: fuse.NewProtocolServer(ov, &fuse.MountOptions{
		MaxWrite: maxTransfer, MaxBackground: 64, EnableAcl: true,
		// HANDLE_KILLPRIV_V2 spares a GETXATTR before every write.
		ExtraCapabilities: 1<<28 | fuse.CAP_DONT_MASK,
		Logger:            slog.NewLogLogger(ov.log.Handler(), slog.LevelWarn),
		PanicHandler:      ov.panicked,
	})}
	return ov, nil
}

// background follows lower until the mount is gone.
func (o *Overlay) background() {
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = cancel
	o.work.Go(func() { o.follow(ctx) })
}

// pollOnce has the kernel send one POLL, which is answered ENOSYS, so that it sends no more. Go's
// scheduler polls with all its threads taken when this very process opens files of the mount, as
// the tests do, and then nobody would be left to answer. go-fuse serves the name.
func (o *Overlay) pollOnce() {
	fd, err := unix.Open(o.mount+"/.go-fuse-epoll-hack", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		o.log.Warn("poll", "error", err)
		return
	}
	defer unix.Close(fd)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}

// String names the file system in go-fuse's messages.
func (o *Overlay) String() string { return "hermesfs" }

// Wait returns when the mount is gone, whoever unmounted it.
func (o *Overlay) Wait() {
	o.device.group.Wait()
	o.once.Do(func() {
		o.stop()
		_ = o.watch.file.Close()
		o.work.Wait()
		o.notify.close()
		_ = o.device.close()
		o.closeAll()
	})
}

// Unmount unmounts the view; ErrBusy while a process uses it.
func (o *Overlay) Unmount() error {
	if err := o.unmount(0); err != nil {
		return err
	}
	o.Wait()
	return nil
}

// Detach takes the mount out of the tree although it is in use: who has a file of it open goes on
// until it is closed, but what is written from now on is not synced back.
func (o *Overlay) Detach() error { return o.unmount(unix.MNT_DETACH) }

func (o *Overlay) unmount(flags int) error {
	if o.uid == 0 {
		err := unix.Unmount(o.mount, flags)
		switch {
		case errors.Is(err, unix.EBUSY):
			return ErrBusy
		case err == nil || errors.Is(err, unix.EINVAL): // EINVAL: it is no mount any more
			return nil
		}
		return fmt.Errorf("unmount %s: %w", o.mount, err)
	}
	args := []string{"-u", "--", o.mount}
	if flags != 0 {
		args = []string{"-u", "-z", "--", o.mount}
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	switch text := strings.TrimSpace(string(out)); {
	case err == nil, strings.Contains(text, "not found in"), strings.Contains(text, "not mounted"):
		return nil
	case strings.Contains(text, "busy"):
		return ErrBusy
	default:
		return fmt.Errorf("unmount %s: %w: %s", o.mount, err, text)
	}
}

// panicked keeps a bug in one operation from taking the mount down.
func (o *Overlay) panicked(v any) fuse.Status {
	o.log.Error("operation panicked", "panic", fmt.Sprint(v), "stack", stack())
	return fuse.EIO
}
