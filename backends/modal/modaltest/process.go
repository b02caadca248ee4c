package modaltest

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"sync"
	"syscall"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	maxUnread = 8 << 20 // output that nobody has read yet; the process waits then
	maxInput  = 2 << 20 // input that the process has not read yet; writes wait then
)

// A process is one exec. Its output is kept, to be read from any offset.
type process struct {
	cmd *osexec.Cmd

	mu       sync.Mutex // guards what follows
	changed  sync.Cond
	out      [2]spool // stdout, stderr
	input    []byte
	accepted uint64 // bytes of input
	eof      bool   // of the input
	deaf     bool   // takes no more input
	killed   bool   // with its sandbox
	done     bool
	code     int32
	signal   int32
}

type spool struct {
	data   []byte
	closed bool
	read   int // as far as somebody has read
}

// start starts a process in a session of its own, as a container's exec is.
func start(b *Sandbox, r *pb.TaskExecStartRequest) (*process, error) {
	p := &process{}
	p.changed.L = &p.mu
	args := r.GetCommandArgs()
	p.cmd = osexec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Env = b.Dir, b.environment()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var near, far [3]*os.File
	for i := range near {
		mute := i == 1 && r.GetStdoutConfig() == pb.TaskExecStdoutConfig_TASK_EXEC_STDOUT_CONFIG_DEVNULL ||
			i == 2 && r.GetStderrConfig() == pb.TaskExecStderrConfig_TASK_EXEC_STDERR_CONFIG_DEVNULL
		if mute {
			p.out[i-1].closed = true
			continue
		}
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		near[i], far[i] = read, write
		if i == 0 {
			near[i], far[i] = write, read
		}
	}
	p.cmd.Stdin = far[0]
	if far[1] != nil {
		p.cmd.Stdout = far[1]
	}
	if far[2] != nil {
		p.cmd.Stderr = far[2]
	}
	err := p.cmd.Start()
	for i := range far {
		if far[i] != nil {
			far[i].Close()
		}
		if near[i] != nil && err != nil {
			near[i].Close()
		}
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	go p.feed(near[0])
	for i := range p.out {
		if near[i+1] != nil {
			go p.keep(&p.out[i], near[i+1])
		}
	}
	var timer *time.Timer
	if s := r.GetTimeoutSecs(); s > 0 {
		timer = time.AfterFunc(time.Duration(s)*time.Second, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	}
	go func() {
		_ = p.cmd.Wait() // the state says it
		if timer != nil {
			timer.Stop()
		}
		near[0].Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done, p.deaf = true, true
		if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
			p.signal = int32(ws.Signal())
		} else {
			p.code = int32(ws.ExitStatus())
		}
		p.changed.Broadcast()
	}()
	return p, nil
}

// feed moves input to the process.
func (p *process) feed(w *os.File) {
	defer w.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.deaf {
		if len(p.input) == 0 {
			if p.eof {
				return
			}
			p.changed.Wait()
			continue
		}
		piece := p.input[:min(len(p.input), 64<<10)]
		p.mu.Unlock()
		_, err := w.Write(piece)
		p.mu.Lock()
		p.input = p.input[len(piece):]
		p.deaf = p.deaf || err != nil
		p.changed.Broadcast()
	}
}

// keep keeps what the process writes.
func (p *process) keep(s *spool, r *os.File) {
	defer r.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		p.mu.Lock()
		for len(s.data)-s.read > maxUnread && !p.done && !p.killed {
			p.changed.Wait()
		}
		if !p.killed {
			s.data = append(s.data, buf[:n]...)
		}
		s.closed = s.closed || err != nil
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// kill is the end of the sandbox: what has not been read is lost, and reads end as if it had been.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed, p.deaf = true, true
	for i := range p.out {
		p.out[i].closed = true
		p.out[i].data = p.out[i].data[:min(len(p.out[i].data), p.out[i].read)]
	}
	if !p.done {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	p.changed.Broadcast()
}

func (p *process) exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// waitLocked waits for a change, or the end of ctx.
func (p *process) waitLocked(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer stop()
	if ctx.Err() == nil {
		p.changed.Wait()
	}
	return ctx.Err()
}

var errDeaf = status.Error(codes.FailedPrecondition, "the process has closed its stdin")

// write takes input at an offset; what came before is not taken twice.
func (p *process) write(ctx context.Context, offset uint64, data []byte, eof bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.deaf && len(p.input) > maxInput {
		if err := p.waitLocked(ctx); err != nil {
			return status.FromContextError(err).Err()
		}
	}
	switch {
	case p.deaf:
		return errDeaf
	case offset > p.accepted:
		return status.Error(codes.OutOfRange, "a gap in stdin")
	}
	if again := p.accepted - offset; again < uint64(len(data)) {
		p.input = append(p.input, data[again:]...)
		p.accepted = offset + uint64(len(data))
	}
	p.eof = p.eof || eof
	p.changed.Broadcast()
	return nil
}

var errEnd = errors.New("end of output")

// next returns output from an offset, or errEnd.
func (p *process) next(ctx context.Context, s *spool, offset int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for offset >= len(s.data) && !s.closed {
		if err := p.waitLocked(ctx); err != nil {
			return nil, status.FromContextError(err).Err()
		}
	}
	if offset >= len(s.data) {
		return nil, errEnd
	}
	chunk := s.data[offset:min(len(s.data), offset+64<<10)]
	s.read = max(s.read, offset+len(chunk))
	p.changed.Broadcast()
	return chunk, nil
}

// wait returns the exit status, by code or signal.
func (p *process) wait(ctx context.Context) (code, signal int32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.done {
		if err := p.waitLocked(ctx); err != nil {
			return 0, 0, status.FromContextError(err).Err()
		}
	}
	return p.code, p.signal, nil
}
