package integration

import (
	"bytes"
	byteorder "encoding/binary"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
)

// A tracer notes what is opened or read of what access hides in a home.
type tracer struct {
	file *os.File
	done sync.WaitGroup

	mu     sync.Mutex // guards what follows
	dirs   map[int32]string
	opened []string
}

// trace watches every directory of a home that is hidden, and those that are shown only because of
// what is below them.
func trace(t *testing.T, home string, policy *access.Policy) *tracer {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracer{file: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]string{}}
	err = filepath.WalkDir(home, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(home, path)
		if err != nil {
			return err
		}
		if policy.Level(rel) > access.None {
			return nil
		}
		id, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS|unix.IN_ONLYDIR)
		if err != nil {
			return err
		}
		tr.dirs[int32(id)] = rel
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The walk itself was seen.
	buf := make([]byte, 64<<10)
	for {
		if _, err := unix.Read(fd, buf); err != nil {
			break
		}
	}
	tr.done.Go(func() { tr.follow(policy) })
	t.Cleanup(func() { tr.file.Close() })
	return tr
}

func (tr *tracer) follow(policy *access.Policy) {
	buf := make([]byte, 256<<10)
	for {
		n, err := tr.file.Read(buf)
		if err != nil {
			return
		}
		tr.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			id, size := int32(byteorder.NativeEndian.Uint32(b)), byteorder.NativeEndian.Uint32(b[12:])
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], "\x00"))
			isDir := byteorder.NativeEndian.Uint32(b[4:])&unix.IN_ISDIR != 0
			overflow := byteorder.NativeEndian.Uint32(b[4:])&unix.IN_Q_OVERFLOW != 0
			b = b[unix.SizeofInotifyEvent+size:]
			if overflow {
				tr.opened = append(tr.opened, "(events were lost)")
			}
			path := filepath.Join(tr.dirs[id], name)
			if path == "." || policy.Hidden(path) || policy.Level(path) > access.None || isDir && policy.Enter(path) {
				continue
			}
			if !slices.Contains(tr.opened, path) {
				tr.opened = append(tr.opened, path)
			}
		}
		tr.mu.Unlock()
	}
}

// stop ends the trace and returns the hidden paths that were opened, in order. It opens one itself:
// when the tracer has seen that, it has seen all that came before, and it does see.
func (tr *tracer) stop(t *testing.T, home string) []string {
	t.Helper()
	const mine = "trace-end"
	if err := os.WriteFile(filepath.Join(home, mine), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(filepath.Join(home, mine))
	var opened []string
	eventually(t, "the tracer sees an open", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		opened = slices.Clone(tr.opened)
		return slices.Contains(opened, mine)
	})
	tr.file.Close()
	tr.done.Wait()
	return slices.DeleteFunc(opened, func(p string) bool { return p == mine })
}
