package syncer

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hermesfs/fs/layer"
)

// A home is the lower directory by its descriptor: every access goes beneath it, through no
// symlink. It is used by one goroutine.
type home struct {
	file *os.File
	path string
	walk bool // openat2 is not there

	noExchange bool // RENAME_EXCHANGE is not there

	// The directory that was asked for last; paths come sorted.
	lastPath string
	last     int
}

// openHome opens the home; that itself may be reached by symlinks.
func openHome(path string) (*home, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoHome, err)
	}
	return &home{file: f, path: path, last: -1}, nil
}

func (h *home) Close() error {
	h.forget()
	return h.file.Close()
}

// forget drops the kept directory.
func (h *home) forget() {
	if h.last >= 0 {
		_ = unix.Close(h.last)
		h.last = -1
	}
}

// forgetAt drops the kept directory if it is path or below it.
func (h *home) forgetAt(path string) {
	if h.lastPath == path || below(h.lastPath, path) {
		h.forget()
	}
}

// dir answers the O_PATH descriptor of the directory rel. It is good until the next call.
func (h *home) dir(rel string) (int, error) {
	if rel == "." {
		return int(h.file.Fd()), nil
	}
	if h.last >= 0 && h.lastPath == rel {
		return h.last, nil
	}
	fd, err := h.openDir(rel)
	if err != nil {
		return -1, err
	}
	h.forget()
	h.last, h.lastPath = fd, rel
	return fd, nil
}

func (h *home) openDir(rel string) (int, error) {
	if !h.walk {
		fd, err := openBeneath(int(h.file.Fd()), rel, unix.O_PATH|unix.O_DIRECTORY)
		if !errors.Is(err, unix.ENOSYS) {
			return fd, err
		}
		h.walk = true
	}
	at := int(h.file.Fd())
	for i, name := range strings.Split(rel, "/") {
		if name == "" || name == "." || name == ".." {
			return -1, unix.EINVAL
		}
		fd, err := openAt(at, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		if i > 0 {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// at answers the directory of path and its name there.
func (h *home) at(path string) (dir int, name string, err error) {
	dir, err = h.dir(parentOf(path))
	if err != nil {
		return -1, "", err
	}
	name = path[strings.LastIndexByte(path, '/')+1:]
	if name == "" || name == "." || name == ".." {
		return -1, "", unix.EINVAL
	}
	return dir, name, nil
}

// A hostFile is what stands at a path of the home; Kind is Absent when nothing does.
type hostFile struct {
	Kind   Kind // otherKind for fifos, sockets and devices
	Mode   uint32
	ID     layer.Identity
	Nlink  uint64
	UID    int
	GID    int
	Target string
}

// otherKind is what a State never has.
const otherKind Kind = 4

// sameFile says whether it is the same version of the same file. Being renamed touches the ctime,
// so that does not count.
func (f hostFile) sameFile(g hostFile) bool {
	f.ID.Ctime, g.ID.Ctime = 0, 0
	return f.Kind == g.Kind && f.ID == g.ID && f.Target == g.Target && f.Mode == g.Mode
}

// lstat looks at a path of the home. Nothing is below a symlink: it is a file like any other.
func (h *home) lstat(path string) (hostFile, error) {
	dir, name, err := h.at(path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return hostFile{}, nil
	}
	if err != nil {
		return hostFile{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	f, err := hostFileAt(dir, name)
	if err != nil {
		return f, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return f, nil
}

func hostFileAt(dir int, name string) (hostFile, error) {
	st, err := statAt(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return hostFile{}, nil
	}
	if err != nil {
		return hostFile{}, err
	}
	f := hostFile{
		Kind: otherKind, Mode: st.Mode & 0o7777, ID: layer.IdentityOf(&st), Nlink: uint64(st.Nlink),
		UID: int(st.Uid), GID: int(st.Gid),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.Kind = File
	case unix.S_IFDIR:
		f.Kind = Dir
	case unix.S_IFLNK:
		f.Kind = Symlink
		f.Target, err = readlinkAt(dir, name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			return hostFile{}, nil
		}
	}
	return f, err
}

// open opens a regular file of the home for reading.
func (h *home) open(path string) (*os.File, error) {
	dir, name, err := h.at(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return openFileAt(dir, name)
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
