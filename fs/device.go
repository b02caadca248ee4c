package fs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// maxTransfer is the most that one READ or WRITE carries.
const maxTransfer = 1 << 20

// readers is how many requests are served at once. A request may wait for the disk, or for a
// copy-up, while others are served.
const readers = 8

// A device is the kernel's end of a mount. Requests are read, served and answered by a fixed set
// of goroutines, which costs fewer hand-offs than go-fuse's own server, and lets the descriptor
// come from elsewhere.
type device struct {
	fd       int
	file     *os.File // of fd, if it has one
	keeper   *Keeper  // sends the notifications; nil: this process does
	protocol *fuse.ProtocolServer
	log      *slog.Logger
	group    sync.WaitGroup
}

// mountDevice mounts a new device. Root mounts by itself, others through fusermount3.
func mountDevice(mountpoint, name string, allowOther bool) (fd int, err error) {
	options := []string{"default_permissions", fmt.Sprintf("max_read=%d", maxTransfer)}
	if allowOther {
		options = append(options, "allow_other")
	}
	source := "hermesfs:" + name
	if os.Geteuid() != 0 {
		return fusermount(mountpoint, append(options, "fsname="+source, "subtype=hermesfs"))
	}
	var st unix.Stat_t
	if err := unix.Stat(mountpoint, &st); err != nil {
		return -1, err
	}
	if fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w", err)
	}
	options = append(options, fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0", fd, st.Mode&unix.S_IFMT))
	if err := unix.Mount(source, mountpoint, "fuse.hermesfs", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(options, ",")); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// fusermount has the setuid helper mount and send the descriptor back.
func fusermount(mountpoint string, options []string) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "fusermount")
	ours := os.NewFile(uintptr(pair[0]), "fusermount")
	defer ours.Close()
	cmd := exec.Command("fusermount3", "-o", strings.Join(options, ","), "--", mountpoint)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return -1, fmt.Errorf("fusermount3: %w: %s", err, strings.TrimSpace(string(out)))
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 8), oob)
	if err != nil {
		return -1, fmt.Errorf("fusermount3: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("fusermount3 sent no descriptor: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("fusermount3 sent no descriptor: %v", err)
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}

// start answers the kernel's first request, once seen has seen it, and serves the rest in the
// background.
func (d *device) start(seen func(first []byte) error) error {
	in, out := d.buffers()
	n, err := d.read(in)
	if err != nil {
		return fmt.Errorf("read the first request: %w", err)
	}
	if err := seen(bytes.Clone(in[:n])); err != nil {
		return err
	}
	if err := d.answer(in[:n], out); err != nil {
		return fmt.Errorf("answer the first request: %w", err)
	}
	d.serveAll()
	return nil
}

// resume serves in place of a process that died: the first request was answered long ago, those
// that it took and did not answer are sent again.
func (d *device) resume(first []byte) error {
	_, out := d.buffers()
	if _, status := d.protocol.HandleRequest([][]byte{first}, [][]byte{out}); !status.Ok() {
		return fmt.Errorf("the first request again: %v", status)
	}
	d.serveAll()
	if err := d.notify(notifyResend, make([]byte, 16)); err != nil {
		d.log.Warn("requests that were under way are lost: the kernel does not send them again", "error", err)
	}
	return nil
}

func (d *device) serveAll() {
	for range readers {
		d.group.Go(func() { d.serve(d.buffers()) })
	}
}

func (d *device) buffers() (in, out []byte) {
	in, out = make([]byte, maxTransfer+4096), make([]byte, maxTransfer+4096)
	// The kernel ends a request with EIO when it cannot copy it out, and it does not fault pages
	// in for a process that is being killed. What most requests fill is there from the start.
	for i := 0; i < 32<<10; i += 4096 {
		in[i] = 1
	}
	return in, out
}

func (d *device) serve(in, out []byte) {
	for {
		n, err := d.read(in)
		if err != nil {
			if !errors.Is(err, unix.ENODEV) { // unmounted
				d.log.Error("no more requests", "error", err)
			}
			return
		}
		if err := d.answer(in[:n], out); err != nil && !errors.Is(err, unix.ENOENT) { // interrupted
			d.log.Warn("an answer was not taken", "error", err)
		}
	}
}

func (d *device) read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(d.fd, buf)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT): // taken back
		default:
			return 0, err
		}
	}
}

func (d *device) answer(in, out []byte) error {
	n, status := d.protocol.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		n = refusal(in, out, status)
	}
	if n == 0 {
		return nil
	}
	_, err := unix.Write(d.fd, out[:n])
	return err
}

// refusal answers a request that could not be parsed.
func refusal(in, out []byte, status fuse.Status) int {
	binary.NativeEndian.PutUint32(out, 16)
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(status)))
	copy(out[8:16], in[8:16])
	return 16
}

// Notifications of the FUSE protocol (linux/fuse.h).
const (
	notifyInvalInode = 2
	notifyInvalEntry = 3
	notifyResend     = 7
)

// forgetNode has the kernel drop the attributes of a node, and its content.
func (d *device) forgetNode(id uint64, data bool) error {
	off := int64(-1) // attributes alone
	if data {
		off = 0
	}
	b := make([]byte, 16, 40)
	b = binary.NativeEndian.AppendUint64(b, id)
	b = binary.NativeEndian.AppendUint64(b, uint64(off))
	b = binary.NativeEndian.AppendUint64(b, 0)
	return d.notify(notifyInvalInode, b)
}

// forgetName has the kernel drop what it knows of a name.
func (d *device) forgetName(parent uint64, name string) error {
	b := make([]byte, 16, 33+len(name))
	b = binary.NativeEndian.AppendUint64(b, parent)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(append(b, name...), 0)
	return d.notify(notifyInvalEntry, b)
}

func (d *device) notify(code uint32, b []byte) error {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint32(b[4:], code)
	binary.NativeEndian.PutUint64(b[8:], 0)
	if d.keeper != nil && code != notifyResend {
		if sent, err := d.keeper.tell(b); sent {
			return err
		}
		// The keeper is gone: this process can no longer be replaced, but it goes on.
	}
	_, err := unix.Write(d.fd, b)
	return err
}

// close gives the descriptor back when every goroutine has ended.
func (d *device) close() error {
	d.group.Wait()
	if d.file != nil {
		return d.file.Close()
	}
	return unix.Close(d.fd)
}
