package modaltest

import (
	"context"
	"errors"
	"os"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// control is the control plane.
type control struct {
	pb.UnimplementedModalClientServer
	s *Server
}

const authTokenGet = "/modal.client.ModalClient/AuthTokenGet"

func (s *Server) authenticate(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if code := s.now().Control; code != codes.OK {
		return nil, status.Error(code, "the control plane is broken")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	one := func(key string) string {
		if v := md.Get(key); len(v) > 0 { // the SDK sends some twice
			return v[0]
		}
		return ""
	}
	if one("x-modal-token-id") != TokenID || one("x-modal-token-secret") != TokenSecret {
		return nil, status.Error(codes.Unauthenticated, "Token validation failed")
	}
	if info.FullMethod != authTokenGet && one("x-modal-auth-token") == "" {
		return nil, status.Error(codes.Unauthenticated, "no auth token")
	}
	return next(ctx, req)
}

func (c *control) AuthTokenGet(context.Context, *pb.AuthTokenGetRequest) (*pb.AuthTokenGetResponse, error) {
	return pb.AuthTokenGetResponse_builder{Token: jwt(`{"exp":32503680000}`)}.Build(), nil
}

func (c *control) AppGetOrCreate(_ context.Context, r *pb.AppGetOrCreateRequest) (*pb.AppGetOrCreateResponse, error) {
	return pb.AppGetOrCreateResponse_builder{AppId: "ap-" + r.GetAppName()}.Build(), nil
}

func (c *control) EnvironmentGetOrCreate(context.Context, *pb.EnvironmentGetOrCreateRequest) (*pb.EnvironmentGetOrCreateResponse, error) {
	settings := pb.EnvironmentSettings_builder{ImageBuilderVersion: "2025.06"}.Build()
	return pb.EnvironmentGetOrCreateResponse_builder{
		EnvironmentId: "en-1", Metadata: pb.EnvironmentMetadata_builder{Name: "main", Settings: settings}.Build(),
	}.Build(), nil
}

func (c *control) ImageGetOrCreate(_ context.Context, r *pb.ImageGetOrCreateRequest) (*pb.ImageGetOrCreateResponse, error) {
	commands := r.GetImage().GetDockerfileCommands()
	if len(commands) != 1 {
		return nil, status.Error(codes.InvalidArgument, "one command is expected")
	}
	built := pb.GenericResult_builder{Status: pb.GenericResult_GENERIC_STATUS_SUCCESS}.Build()
	return pb.ImageGetOrCreateResponse_builder{ImageId: commands[0], Result: built}.Build(), nil
}

func (c *control) ImageFromId(_ context.Context, r *pb.ImageFromIdRequest) (*pb.ImageFromIdResponse, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if _, ok := c.s.images[r.GetImageId()]; !ok {
		return nil, status.Error(codes.NotFound, "no such image")
	}
	return pb.ImageFromIdResponse_builder{ImageId: r.GetImageId()}.Build(), nil
}

func (c *control) SandboxCreateV2(_ context.Context, r *pb.SandboxCreateV2Request) (*pb.SandboxCreateV2Response, error) {
	d := r.GetDefinition()
	b, err := c.s.add(r.GetAppId()[len("ap-"):], d.GetName(), d.GetImageId(), false)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil, status.Error(codes.AlreadyExists, "the name is in use")
	case err != nil:
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b.Command, b.TimeoutSecs, b.Tags = d.GetEntrypointArgs(), d.GetTimeoutSecs(), map[string]string{}
	for _, tag := range r.GetTags() {
		b.Tags[tag.GetTagName()] = tag.GetTagValue()
	}
	return pb.SandboxCreateV2Response_builder{SandboxId: b.ID, TaskId: b.task}.Build(), nil
}

// byID finds a sandbox by the call that belongs to its kind.
func (c *control) byID(id string, old bool) (*Sandbox, error) {
	b := c.s.find(func(b *Sandbox) bool { return b.ID == id && isOld(id) == old })
	if b == nil {
		return nil, status.Errorf(codes.NotFound, "no sandbox %s", id)
	}
	return b, nil
}

func (c *control) taskID(id string, old bool) (*pb.SandboxGetTaskIdResponse, error) {
	b, err := c.byID(id, old)
	if err != nil {
		return nil, err
	}
	if end := b.end(); end != nil {
		return pb.SandboxGetTaskIdResponse_builder{TaskResult: end}.Build(), nil
	}
	return pb.SandboxGetTaskIdResponse_builder{TaskId: &b.task}.Build(), nil
}

func (c *control) SandboxGetTaskId(_ context.Context, r *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	return c.taskID(r.GetSandboxId(), true)
}

func (c *control) SandboxGetTaskIdV2(_ context.Context, r *pb.SandboxGetTaskIdRequest) (*pb.SandboxGetTaskIdResponse, error) {
	return c.taskID(r.GetSandboxId(), false)
}

func (c *control) fromName(r *pb.SandboxGetFromNameRequest, old bool) (*pb.SandboxGetFromNameResponse, error) {
	b := c.s.find(func(b *Sandbox) bool {
		return b.App == r.GetAppName() && b.Name == r.GetSandboxName() && isOld(b.ID) == old && !b.Ended()
	})
	if b == nil {
		return nil, status.Error(codes.NotFound, "no sandbox by that name")
	}
	return pb.SandboxGetFromNameResponse_builder{SandboxId: b.ID}.Build(), nil
}

func (c *control) SandboxGetFromName(_ context.Context, r *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	return c.fromName(r, true)
}

func (c *control) SandboxGetFromNameV2(_ context.Context, r *pb.SandboxGetFromNameRequest) (*pb.SandboxGetFromNameResponse, error) {
	return c.fromName(r, false)
}

func (c *control) SandboxTagsGetV2(_ context.Context, r *pb.SandboxTagsGetRequest) (*pb.SandboxTagsGetResponse, error) {
	b, err := c.byID(r.GetSandboxId(), false)
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var tags []*pb.SandboxTag
	for name, value := range b.Tags {
		tags = append(tags, pb.SandboxTag_builder{TagName: name, TagValue: value}.Build())
	}
	return pb.SandboxTagsGetResponse_builder{Tags: tags}.Build(), nil
}

func (c *control) wait(ctx context.Context, r *pb.SandboxWaitRequest, old bool) (*pb.SandboxWaitResponse, error) {
	b, err := c.byID(r.GetSandboxId(), old)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Duration(r.GetTimeout() * float32(time.Second)))
	for b.end() == nil && time.Now().Before(deadline) && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	return pb.SandboxWaitResponse_builder{Result: b.end()}.Build(), nil
}

func (c *control) SandboxWait(ctx context.Context, r *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return c.wait(ctx, r, true)
}

func (c *control) SandboxWaitV2(ctx context.Context, r *pb.SandboxWaitRequest) (*pb.SandboxWaitResponse, error) {
	return c.wait(ctx, r, false)
}

func (c *control) terminate(r *pb.SandboxTerminateRequest, old bool) (*pb.SandboxTerminateResponse, error) {
	b, err := c.byID(r.GetSandboxId(), old)
	if err != nil {
		return nil, err
	}
	before := b.end()
	b.Terminate()
	return pb.SandboxTerminateResponse_builder{ExistingResult: before}.Build(), nil
}

func (c *control) SandboxTerminate(_ context.Context, r *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	return c.terminate(r, true)
}

func (c *control) SandboxTerminateV2(_ context.Context, r *pb.SandboxTerminateRequest) (*pb.SandboxTerminateResponse, error) {
	return c.terminate(r, false)
}

func (c *control) TaskGetCommandRouterAccess(_ context.Context, r *pb.TaskGetCommandRouterAccessRequest) (*pb.TaskGetCommandRouterAccessResponse, error) {
	if c.s.find(func(b *Sandbox) bool { return b.task == r.GetTaskId() && isOld(b.ID) && !b.Ended() }) == nil {
		return nil, status.Error(codes.NotFound, "no such task")
	}
	return pb.TaskGetCommandRouterAccessResponse_builder{Url: c.s.router, Jwt: c.s.token()}.Build(), nil
}

func (c *control) SandboxGetCommandRouterAccess(_ context.Context, r *pb.SandboxGetCommandRouterAccessRequest) (*pb.SandboxGetCommandRouterAccessResponse, error) {
	b, err := c.byID(r.GetSandboxId(), false)
	if err != nil {
		return nil, err
	}
	if b.Ended() {
		return nil, status.Error(codes.FailedPrecondition, "the sandbox has ended")
	}
	return pb.SandboxGetCommandRouterAccessResponse_builder{Url: c.s.router, Jwt: c.s.token()}.Build(), nil
}
