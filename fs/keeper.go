package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Kept is what another process needs to go on serving a mount when this one dies.
type Kept struct {
	Device *os.File // the kernel's end of the mount
	Table  *os.File // the nodes that the kernel was told of, see table.go
	First  []byte   // the kernel's first request, which is sent only once
}

// Close closes the files.
func (k *Kept) Close() error { return errors.Join(k.Device.Close(), k.Table.Close()) }

// A Keeper is a daemon's end of the socket to who holds its mount. While that one has the device
// open, accesses to the mount wait for the next daemon instead of failing.
//
// It also tells the kernel, in the daemon's place, what not to believe any more: such a
// notification waits for requests under way, in a sleep that not even SIGKILL ends, so a daemon
// that sent it itself could not die and be replaced before the requests were answered.
type Keeper struct {
	conn *net.UnixConn
	mu   sync.Mutex // one notification at a time
}

// NewKeeper takes a socket of type SOCK_SEQPACKET over, whose other end a Holder serves.
func NewKeeper(socket *os.File) (*Keeper, error) {
	conn, err := fileConn(socket)
	return &Keeper{conn: conn}, err
}

// fileConn makes a connection of a socket and closes the file.
func fileConn(socket *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(socket)
	if err = errors.Join(err, socket.Close()); err != nil {
		return nil, fmt.Errorf("socket to the keeper: %w", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("socket to the keeper: not a unix socket"), c.Close())
	}
	return conn, nil
}

// Close ends the connection: the holder lets the mount go when the daemon has ended in order.
func (k *Keeper) Close() error { return k.conn.Close() }

// keep hands the mount over to be held.
func (k *Keeper) keep(kept Kept) error { return sendKept(k.conn, kept) }

// take receives the mount that a daemon left behind.
func (k *Keeper) take() (Kept, error) {
	kept, _, err := receive(k.conn, make([]byte, maxMessage))
	if err == nil && kept.Device == nil {
		err = errors.New("no mount was held")
	}
	return kept, err
}

// tell has the holder send a notification, and returns when the kernel has taken it. sent is false
// when the holder is gone.
func (k *Keeper) tell(message []byte) (sent bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.conn.Write(message); err != nil {
		return false, err
	}
	var answer [4]byte
	if _, err := io.ReadFull(k.conn, answer[:]); err != nil {
		return false, err
	}
	if errno := unix.Errno(binary.NativeEndian.Uint32(answer[:])); errno != 0 {
		return true, errno
	}
	return true, nil
}

// maxMessage is more than any notification or first request has.
const maxMessage = 8192

func sendKept(conn *net.UnixConn, k Kept) error {
	rights := unix.UnixRights(int(k.Device.Fd()), int(k.Table.Fd()))
	if _, _, err := conn.WriteMsgUnix(k.First, rights, nil); err != nil {
		return fmt.Errorf("hand the mount over: %w", err)
	}
	return nil
}

// receive reads one message: a mount, or a notification. io.EOF when the other end is gone.
func receive(conn *net.UnixConn, buf []byte) (Kept, []byte, error) {
	oob := make([]byte, unix.CmsgSpace(2*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return Kept{}, nil, err
	}
	if n == 0 {
		return Kept{}, nil, io.EOF
	}
	if oobn == 0 {
		return Kept{}, buf[:n], nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return Kept{}, nil, fmt.Errorf("take the mount over: no descriptors: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	if err != nil || len(fds) != 2 {
		return Kept{}, nil, fmt.Errorf("take the mount over: %d descriptors: %v", len(fds), err)
	}
	return Kept{
		Device: os.NewFile(uintptr(fds[0]), "fuse"), Table: os.NewFile(uintptr(fds[1]), "nodes"),
		First: append([]byte{}, buf[:n]...),
	}, nil, nil
}

// A Holder holds the mount of a daemon, so that the next one can go on with it. It never reads the
// device. Its methods may be called concurrently.
type Holder struct {
	mu   sync.Mutex // guards kept
	kept *Kept
}

// Serve serves the socket of one daemon until the daemon is gone, and closes it. With resume the
// daemon is given the mount that is held.
func (h *Holder) Serve(socket *os.File, resume bool) error {
	conn, err := fileConn(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if resume {
		h.mu.Lock()
		if h.kept != nil {
			err = sendKept(conn, *h.kept)
		} else {
			err = errors.New("no mount is held")
		}
		h.mu.Unlock()
		if err != nil {
			return err
		}
	}
	buf := make([]byte, maxMessage)
	for {
		kept, message, err := receive(conn, buf)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return err
		case kept.Device != nil:
			h.mu.Lock()
			old := h.kept
			h.kept = &kept
			h.mu.Unlock()
			if old != nil {
				_ = old.Close()
			}
		default:
			if err := h.pass(conn, message); err != nil {
				return nil // the daemon is gone
			}
		}
	}
}

// pass sends a notification to the kernel and answers with its errno.
func (h *Holder) pass(conn *net.UnixConn, message []byte) error {
	h.mu.Lock()
	kept := h.kept
	h.mu.Unlock()
	errno := unix.ENOTCONN
	if kept != nil {
		errno = 0
		if _, err := kept.Device.Write(message); err != nil && !errors.As(err, &errno) {
			errno = unix.EIO
		}
	}
	_, err := conn.Write(binary.NativeEndian.AppendUint32(nil, uint32(errno)))
	return err
}

// Held says whether there is a mount that a daemon could go on with.
func (h *Holder) Held() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept != nil
}

// Close lets the mount go. Without a daemon that still serves it, it is dead from then on.
func (h *Holder) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept == nil {
		return nil
	}
	err := h.kept.Close()
	h.kept = nil
	return err
}
