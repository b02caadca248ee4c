package modaltest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// router is the command router of a worker.
type router struct {
	pb.UnimplementedTaskCommandRouterServer
	s *Server
}

// authorize checks the token of a call.
func (s *Server) authorize(ctx context.Context) error {
	if code := s.now().Router; code != codes.OK {
		return status.Error(code, "the router is broken")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	var claims struct {
		Generation int `json:"generation"`
	}
	claims.Generation = -1
	if v := md.Get("authorization"); len(v) == 1 {
		if parts := strings.Split(v[0], "."); len(parts) == 3 {
			payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(payload, &claims) // stays -1
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if claims.Generation != s.tokens {
		return status.Error(codes.Unauthenticated, "the token has expired")
	}
	return nil
}

func (s *Server) authorizeUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) authorizeStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.authorize(stream.Context()); err != nil {
		return err
	}
	return next(srv, stream)
}

func (r *router) sandbox(task string) (*Sandbox, error) {
	b := r.s.find(func(b *Sandbox) bool { return b.task == task })
	if b == nil || b.Ended() && r.s.now().Forgetful {
		return nil, status.Error(codes.NotFound, "no such task")
	}
	return b, nil
}

func (r *router) process(task, id string) (*process, error) {
	b, err := r.sandbox(task)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.processes[id]
	if p == nil {
		return nil, status.Error(codes.NotFound, "no such exec")
	}
	return p, nil
}

func (r *router) TaskExecStart(_ context.Context, req *pb.TaskExecStartRequest) (*pb.TaskExecStartResponse, error) {
	b, err := r.sandbox(req.GetTaskId())
	if err != nil {
		return nil, err
	}
	if b.Ended() {
		return nil, status.Error(codes.NotFound, "the task has ended")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.processes[req.GetExecId()] != nil { // once more
		return &pb.TaskExecStartResponse{}, nil
	}
	p, err := start(b, req)
	if err != nil {
		return nil, err
	}
	b.processes[req.GetExecId()] = p
	return &pb.TaskExecStartResponse{}, nil
}

func (r *router) TaskExecStdinWrite(ctx context.Context, req *pb.TaskExecStdinWriteRequest) (*pb.TaskExecStdinWriteResponse, error) {
	p, err := r.process(req.GetTaskId(), req.GetExecId())
	if err != nil {
		return nil, err
	}
	if err := p.write(ctx, req.GetOffset(), req.GetData(), req.GetEof()); err != nil {
		return nil, err
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.replies++; r.s.faults.LoseReplies > 0 && r.s.replies%r.s.faults.LoseReplies == 0 {
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return &pb.TaskExecStdinWriteResponse{}, nil
}

func (r *router) TaskExecStdioRead(req *pb.TaskExecStdioReadRequest, stream grpc.ServerStreamingServer[pb.TaskExecStdioReadResponse]) error {
	p, err := r.process(req.GetTaskId(), req.GetExecId())
	if err != nil {
		return err
	}
	out := &p.out[0]
	if req.GetFileDescriptor() == pb.TaskExecStdioFileDescriptor_TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR {
		out = &p.out[1]
	}
	offset := int(req.GetOffset())
	if offset > 0 {
		r.s.mu.Lock()
		r.s.restarts++
		r.s.mu.Unlock()
	}
	for left := r.s.now().BreakStdio; ; {
		chunk, err := p.next(stream.Context(), out, offset)
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.s.authorize(stream.Context()); err != nil { // it may have expired meanwhile
			return err
		}
		if left > 0 {
			chunk = chunk[:min(len(chunk), int(left))]
		}
		if err := stream.Send(pb.TaskExecStdioReadResponse_builder{Data: chunk}.Build()); err != nil {
			return err
		}
		offset += len(chunk)
		if left > 0 {
			if left -= int64(len(chunk)); left == 0 {
				return status.Error(codes.Unavailable, "the stream broke")
			}
		}
	}
}

func (r *router) TaskExecWait(ctx context.Context, req *pb.TaskExecWaitRequest) (*pb.TaskExecWaitResponse, error) {
	p, err := r.process(req.GetTaskId(), req.GetExecId())
	if err != nil {
		return nil, err
	}
	code, signal, err := p.wait(ctx)
	switch {
	case err != nil:
		return nil, err
	case signal != 0:
		return pb.TaskExecWaitResponse_builder{Signal: &signal}.Build(), nil
	}
	return pb.TaskExecWaitResponse_builder{Code: &code}.Build(), nil
}

func (r *router) TaskSnapshotFilesystem(_ context.Context, req *pb.TaskSnapshotFilesystemRequest) (*pb.TaskSnapshotFilesystemResponse, error) {
	b, err := r.sandbox(req.GetTaskId())
	if err != nil {
		return nil, err
	}
	if r.s.now().SnapshotBad {
		return nil, status.Error(codes.ResourceExhausted, "no room for a snapshot")
	}
	id, err := r.s.snapshot(b)
	if err != nil {
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	return pb.TaskSnapshotFilesystemResponse_builder{ImageId: id}.Build(), nil
}
