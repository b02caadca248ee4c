package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const socketName = "control.sock"

// shortSocket is a path of a mount's socket that fits in sun_path (108 bytes) however deep the
// state directory lies: it goes through a descriptor of the directory, see proc(5).
func (m mountDir) shortSocket() (path string, release func(), err error) {
	fd, err := unix.Open(m.path(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: m.path(), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, socketName), func() { unix.Close(fd) }, nil
}

// listen makes the control socket. The caller holds the mount's lock, so a socket that is
// there already is a dead daemon's.
func (m mountDir) listen() (net.Listener, error) {
	real := filepath.Join(m.path(), socketName)
	if err := os.Remove(real); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	path, release, err := m.shortSocket()
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // its path is gone with the descriptor
	if err := os.Chmod(real, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &peerListener{UnixListener: l, path: real}, nil
}

// dial connects to the daemon of a mount.
func (m mountDir) dial(ctx context.Context) (net.Conn, error) {
	path, release, err := m.shortSocket()
	if err != nil {
		return nil, err
	}
	defer release()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// A peerListener accepts connections of this user and of root only.
type peerListener struct {
	*net.UnixListener
	path string
}

// Accept drops what others open.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		cred, err := peerOf(c)
		if err == nil && (cred.Uid == uint32(os.Geteuid()) || cred.Uid == 0) {
			return c, nil
		}
		c.Close()
	}
}

// Close also removes the socket.
func (l *peerListener) Close() error {
	err := l.UnixListener.Close()
	os.Remove(l.path)
	return err
}

// peerOf asks the kernel who is at the other end.
func peerOf(c syscall.Conn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var (
		cred    *unix.Ucred
		credErr error
	)
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, credErr)
}
