// Package modaltest stands in for Modal: a control plane and a worker's command router on loopback,
// built on the server stubs that the SDK publishes, so that the real SDK talks to them. A sandbox is
// a directory; each exec is a process of this machine with HOME set to it.
//
// What it cannot tell is how the real service differs: its limits, its speed, its messages.
package modaltest

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
)

// The only credentials that are accepted.
const (
	TokenID     = "ak-test"
	TokenSecret = "as-test"
)

// Faults are what goes wrong. The zero value is nothing.
type Faults struct {
	BreakStdio  int64      // each stream of output breaks after so many bytes
	LoseReplies int        // the answer to every so many-th write of stdin is lost, after it was done
	Router      codes.Code // what the router answers to everything; those that the SDK repeats take it 10 s
	Control     codes.Code // what the control plane answers to everything
	SnapshotBad bool       // snapshots fail
	NoHome      bool       // an exec has no HOME in its environment
	Forgetful   bool       // the router knows nothing of a sandbox that has ended
}

// A Server is a Modal of its own.
type Server struct {
	URL string // of the control plane, for MODAL_SERVER_URL

	t      testing.TB
	router string
	dir    string

	mu       sync.Mutex // guards what follows
	faults   Faults
	boxes    []*Sandbox
	images   map[string]string // id, directory
	tokens   int               // generation of the tokens for the router that are good
	handed   int               // tokens handed out
	restarts int               // streams of output that began behind the beginning
	replies  int               // writes of stdin
}

// Start starts a Server, which ends with the test, and sets the environment for it.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), images: map[string]string{}}
	control := s.listen(t, func(g *grpc.Server) { pb.RegisterModalClientServer(g, &control{s: s}) }, grpc.UnaryInterceptor(s.authenticate))
	s.URL = "http://" + control
	// The SDK wants https, and speaks plainly when the control plane is on this machine.
	s.router = "https://" + s.listen(t, func(g *grpc.Server) { pb.RegisterTaskCommandRouterServer(g, &router{s: s}) },
		grpc.UnaryInterceptor(s.authorizeUnary), grpc.StreamInterceptor(s.authorizeStream))
	for name, value := range s.Env() {
		t.Setenv(name, value)
	}
	t.Cleanup(func() {
		for _, b := range s.Sandboxes() {
			b.Terminate()
		}
	})
	return s
}

// Env is the environment for programs that shall use s.
func (s *Server) Env() map[string]string {
	return map[string]string{
		"MODAL_SERVER_URL": s.URL, "MODAL_TOKEN_ID": TokenID, "MODAL_TOKEN_SECRET": TokenSecret,
		"MODAL_CONFIG_PATH": os.DevNull, "MODAL_PROFILE": "", "MODAL_ENVIRONMENT": "", "MODAL_SANDBOX_V2": "1",
	}
}

func (s *Server) listen(t testing.TB, register func(*grpc.Server), options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// grpc's own limit of 4 MB is not Modal's.
	options = append(options, grpc.MaxRecvMsgSize(100<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	g := grpc.NewServer(options...)
	register(g)
	done := make(chan struct{})
	go func() {
		_ = g.Serve(l) // until Stop
		close(done)
	}()
	t.Cleanup(func() {
		g.Stop()
		<-done
	})
	return l.Addr().String()
}

// Set sets the faults.
func (s *Server) Set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

func (s *Server) now() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// ExpireTokens makes the router refuse the tokens that were handed out, also in streams under way.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens++
}

// Tokens is how many tokens for the router were handed out.
func (s *Server) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handed
}

// Resumed is how many streams of output began behind the beginning.
func (s *Server) Resumed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// token makes a token for the router. By its own word it has expired, so that the SDK asks for
// another when it is refused.
func (s *Server) token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handed++
	return jwt(fmt.Sprintf(`{"exp":%d,"generation":%d}`, time.Now().Add(-time.Minute).Unix(), s.tokens))
}

func jwt(payload string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(payload)) + ".signature"
}
