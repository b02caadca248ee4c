package modal

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hermesfs/backends"
)

// ErrGone is a sandbox that has ended, or that was never there. Trying again does not help.
var ErrGone = errors.New("the sandbox is gone")

var (
	errClosed = errors.New("the connection is closed")
	errCut    = errors.New("the script's end is not known")
)

// pollLimit bounds the question whether a sandbox lives.
const pollLimit = 10 * time.Second

// ended asks whether the sandbox has ended, and says how; "" is no, or not known with an error.
func ended(ctx context.Context, sb *sdk.Sandbox) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	code, err := sb.Poll(ctx, nil)
	switch {
	case status.Code(err) == codes.NotFound:
		return "Modal knows no such sandbox", nil
	case err != nil:
		return "", err
	case code == nil:
		return "", nil
	case *code == 124:
		return "its time was up", nil
	case *code == 137:
		return "it was terminated", nil
	}
	return fmt.Sprintf("its main command ended with status %d", *code), nil
}

// gone is the error of a sandbox that has ended.
func (t *Transport) gone(sb *sdk.Sandbox, how string) error {
	hint := "mount another, which then gets everything anew"
	if t.o.Image != "" {
		hint = "unmount and mount again, which makes another that gets everything anew"
	}
	return fmt.Errorf("modal sandbox %s: %w: %s: what was not pulled from it is lost: %s", sb.SandboxID, ErrGone, how, hint)
}

// diagnose makes an error of what the SDK gives after its own attempts. It asks about the sandbox
// where a call failed that needs it; sb may be nil.
func (t *Transport) diagnose(ctx context.Context, sb *sdk.Sandbox, err error, stderr string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	class := classify(err)
	if class == classGone || class == classTransient && sb != nil {
		if sb == nil {
			return fmt.Errorf("%s: %w: %w", t.op(), ErrGone, err)
		}
		how, askErr := ended(ctx, sb)
		switch {
		case how != "":
			return t.gone(sb, how)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case classify(askErr) == classAuth:
			class, err = classAuth, askErr
		}
	}
	transport := &backends.TransportError{Op: t.op(), Err: err, Stderr: stderr}
	switch class {
	case classAuth:
		transport.Err = fmt.Errorf("%w: Modal refuses the token: %w: see `modal token info`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
			backends.ErrAuth, err)
	case classPermanent:
		return fmt.Errorf("%s: %w", t.op(), err)
	}
	return transport
}

type class int

const (
	classTransient class = iota // another attempt may succeed
	classAuth
	classGone      // of a sandbox or what is in it: ask
	classPermanent // our mistake, or the user's
)

// classify sorts errors as the SDK leaves them: types of its own, statuses of gRPC that may be
// wrapped, and plain ones.
func classify(err error) class {
	var (
		notFound  sdk.NotFoundError
		conflict  sdk.ConflictError
		exhausted sdk.ResourceExhaustedError
		internal  sdk.InternalFailure
		slow      sdk.TimeoutError
		execSlow  sdk.ExecTimeoutError
		closed    sdk.ClientClosedError
	)
	switch {
	case err == nil:
		return classTransient
	case errors.As(err, &notFound), errors.As(err, &conflict):
		return classGone
	case errors.As(err, &exhausted), errors.As(err, &internal), errors.As(err, &slow), errors.As(err, &execSlow),
		errors.As(err, &closed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, errCut):
		return classTransient
	}
	s, ok := status.FromError(err)
	if !ok {
		return classPermanent
	}
	switch s.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		return classAuth
	case codes.NotFound, codes.FailedPrecondition:
		return classGone
	case codes.InvalidArgument, codes.AlreadyExists, codes.OutOfRange, codes.Unimplemented:
		return classPermanent
	}
	return classTransient
}

// closedStdin says whether a script took no more of its input, as it may.
func closedStdin(err error) bool {
	code := status.Code(err)
	return code == codes.FailedPrecondition
}
