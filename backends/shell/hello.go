package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"hermesfs/backends"
)

// tools are those that the sandbox has, in the words of scripts/hello.sh.
type tools struct {
	tar  string // gnu, busybox or bsd
	sum  string // the command that prints SHA-256 sums
	stat string // find (find -printf), c (stat -c) or f (stat -f)
}

const probeFormat = "1"

func (t tools) probe() string { return strings.Join([]string{probeFormat, t.tar, t.sum, t.stat}, ";") }

func (t tools) known() bool { return t != tools{} }

// parseProbe accepts only what Hello can find: the words are put into scripts.
func parseProbe(probe string) (tools, error) {
	f := strings.Split(probe, ";")
	if len(f) != 4 || f[0] != probeFormat {
		return tools{}, fmt.Errorf("unknown probe %.40q", probe)
	}
	return newTools(f[1], f[2], f[3])
}

func newTools(tar, sum, stat string) (tools, error) {
	switch tar {
	case "gnu", "busybox", "bsd":
	default:
		return tools{}, fmt.Errorf("unknown tar %.40q", tar)
	}
	switch sum {
	case "sha256sum", "shasum -a 256", "openssl dgst -sha256 -r":
	default:
		return tools{}, fmt.Errorf("unknown sum %.40q", sum)
	}
	switch stat {
	case "find", "c", "f":
	default:
		return tools{}, fmt.Errorf("unknown stat %.40q", stat)
	}
	return tools{tar: tar, sum: sum, stat: stat}, nil
}

func (s *Sandbox) needTools(ctx context.Context) (tools, error) {
	s.mu.Lock()
	t := s.tools
	s.mu.Unlock()
	if t.known() {
		return t, nil
	}
	if _, err := s.Hello(ctx); err != nil {
		return tools{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tools, nil
}

// Hello asks the sandbox for its home and marker and finds its tools, where Options.Probe does
// not have them or the sandbox is one that nobody has claimed.
func (s *Sandbox) Hello(ctx context.Context) (backends.Hello, error) {
	s.mu.Lock()
	known := s.tools
	s.mu.Unlock()
	var h backends.Hello
	var found tools
	have := ""
	if known.known() {
		have = "1"
	}
	err := s.callWith(ctx, &verb{name: "hello", vars: map[string]string{"have": have}, body: func(r *bufio.Reader) error {
		var f [6]string
		for i := range f {
			var err error
			if f[i], err = readField(r, 16<<10); err != nil {
				return err
			}
		}
		h = backends.Hello{Home: f[0], Exists: f[1] == "1", Marker: strings.TrimSuffix(f[2], "\n")}
		if !strings.HasPrefix(h.Home, "/") {
			return &backends.FormatError{What: "greeting", Err: fmt.Errorf("its home is %.80q", h.Home)}
		}
		var err error
		if found, err = newTools(f[3], f[4], f[5]); err != nil {
			return &backends.FormatError{What: "greeting", Err: err}
		}
		return nil
	}}, known)
	if err != nil {
		return backends.Hello{}, err
	}
	h.Probe = found.probe()
	s.mu.Lock()
	s.tools = found
	s.mu.Unlock()
	s.log.Debug("sandbox tools found", "probe", h.Probe, "home", h.Home)
	return h, nil
}

// Claim creates the home, 0700, where it is missing, leaves id as its marker, and removes what a
// killed script of the same mount left in the sandbox.
func (s *Sandbox) Claim(ctx context.Context, id string) error {
	if id == "" || len(id) > 255 || strings.ContainsAny(id, "\x00\n") {
		return fmt.Errorf("claim: %q is no marker", id)
	}
	return s.call(ctx, &verb{name: "claim", list: id, body: empty})
}

func empty(*bufio.Reader) error { return nil }

// readField reads up to a NUL, at most limit bytes.
func readField(r *bufio.Reader, limit int) (string, error) {
	var long []byte
	for {
		b, err := r.ReadSlice(0)
		if err == nil && long == nil && len(b)-1 <= limit {
			return string(b[:len(b)-1]), nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", errCut
		}
		long = append(long, b...)
		if len(long) > limit+1 {
			return "", &backends.FormatError{What: "answer", Err: fmt.Errorf("a field of more than %d bytes", limit)}
		}
		if err == nil {
			return string(long[:len(long)-1]), nil
		}
	}
}
