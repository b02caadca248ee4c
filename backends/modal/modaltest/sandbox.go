package modaltest

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

// A Sandbox is one of a Server.
type Sandbox struct {
	ID, App, Name string
	Dir           string // its HOME
	Tags          map[string]string
	Image         string
	Command       []string
	TimeoutSecs   uint32

	s    *Server
	task string

	mu        sync.Mutex // guards what follows
	result    *pb.GenericResult
	processes map[string]*process
}

// Add makes a sandbox that runs. Old makes one of Modal's first kind, for which there are other
// calls.
func (s *Server) Add(app, name string, old bool) *Sandbox {
	s.t.Helper()
	b, err := s.add(app, name, "", old)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *Server) add(app, name, image string, old bool) (*Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.boxes {
		if name != "" && b.App == app && b.Name == name && b.end() == nil {
			return nil, os.ErrExist
		}
	}
	n := len(s.boxes)
	b := &Sandbox{
		ID: fmt.Sprintf("sb-%026d", n), App: app, Name: name, Image: image, s: s,
		task: fmt.Sprintf("ta-%026d", n), processes: map[string]*process{},
	}
	if old {
		b.ID = fmt.Sprintf("sb-%022d", n)
	}
	b.Dir = filepath.Join(s.dir, b.ID)
	if from, ok := s.images[image]; ok {
		if err := copyTree(from, b.Dir); err != nil {
			return nil, err
		}
	} else if err := os.Mkdir(b.Dir, 0o755); err != nil {
		return nil, err
	}
	s.boxes = append(s.boxes, b)
	return b, nil
}

// snapshot makes an image of a sandbox's files.
func (s *Server) snapshot(b *Sandbox) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprintf("im-%022d", len(s.images))
	dir := filepath.Join(s.dir, id)
	if err := copyTree(b.Dir, dir); err != nil {
		return "", err
	}
	s.images[id] = dir
	return id, nil
}

func copyTree(from, to string) error {
	if out, err := osexec.Command("cp", "-a", "--", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

// Sandboxes are all that there ever were.
func (s *Server) Sandboxes() []*Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.boxes)
}

func (s *Server) find(ok func(*Sandbox) bool) *Sandbox {
	boxes := s.Sandboxes()
	slices.Reverse(boxes)
	if i := slices.IndexFunc(boxes, ok); i >= 0 {
		return boxes[i]
	}
	return nil
}

// Terminate ends the sandbox as its owner does.
func (b *Sandbox) Terminate() { b.finish(pb.GenericResult_GENERIC_STATUS_TERMINATED) }

// TimeOut ends the sandbox as when its life is over.
func (b *Sandbox) TimeOut() { b.finish(pb.GenericResult_GENERIC_STATUS_TIMEOUT) }

func (b *Sandbox) finish(status pb.GenericResult_GenericStatus) {
	b.mu.Lock()
	if b.result == nil {
		b.result = pb.GenericResult_builder{Status: status}.Build()
	}
	var all []*process
	for _, p := range b.processes {
		all = append(all, p)
	}
	b.mu.Unlock()
	for _, p := range all {
		p.kill()
	}
}

func (b *Sandbox) end() *pb.GenericResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.result
}

// Ended says whether the sandbox has ended.
func (b *Sandbox) Ended() bool { return b.end() != nil }

// Running is how many processes that were started in the sandbox have not ended.
func (b *Sandbox) Running() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.processes {
		if !p.exited() {
			n++
		}
	}
	return n
}

// environment of an exec.
func (b *Sandbox) environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "SANDBOX=" + b.ID}
	if !b.s.now().NoHome {
		env = append(env, "HOME="+b.Dir)
	}
	return env
}

func isOld(id string) bool { return len(strings.TrimPrefix(id, "sb-")) == 22 }
