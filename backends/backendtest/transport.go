package backendtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"hermesfs/backends"
)

func testStreams(t *testing.T, s *subject) {
	big := make([]byte, 5<<20+7)
	_, _ = rand.Read(big) // never fails
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, tc := range []struct{ name, in string }{
		{"empty", ""},
		{"every byte", string(every)},
		{"line ends", "\n\r\n\x04\x1a~.\n\n"},
		{"big", string(big)},
	} {
		if got := s.must("cat", tc.in); got != tc.in {
			t.Errorf("%s: cat gave %d bytes, want the same %d", tc.name, len(got), len(tc.in))
		}
	}
	var out bytes.Buffer
	if err := s.Run(t.Context(), "cat; echo over", nil, &out); err != nil || !strings.HasSuffix(out.String(), "over\n") {
		t.Errorf("without stdin: %q, %v, want over", out.String(), err)
	}
	if err := s.Run(t.Context(), "cat", bytes.NewReader(big), nil); err != nil {
		t.Errorf("without stdout: %v", err)
	}
}

func testScriptText(t *testing.T, s *subject) {
	// What a login shell, a client or an exec call might take apart.
	for _, text := range []string{
		"a'b\"c`d$e\\f\\\\g!h#i~j&k|l;m<n>o(p)q[r]s{t}u*v?w%x@y^z",
		"\n\n two\tlines \\n \\\n",
		" lead and trail ",
		"$HOME $(id) `id` ${HOME} %s %% !! -n --",
		"é \xff\xfe\x80\x01\x1b\x7f",
		strings.Repeat("long ", 6000),
	} {
		if got := s.must("printf %s "+quote(text), ""); got != text {
			t.Errorf("printf of %.80q gave %.80q", text, got)
		}
	}
	if got := s.must(`echo "$#"; f() { echo f; }; f
case x in
x) echo x ;;
esac`, ""); got != "0\nf\nx\n" {
		t.Errorf("script of several lines gave %q", got)
	}
}

func testExitCodes(t *testing.T, s *subject) {
	for _, code := range []int{0, 1, 2, 3, 64, 77, 100, 126, 127, 137, 254} {
		_, err := s.sh(fmt.Sprintf("echo out; exit %d", code), "")
		var script *backends.ScriptError
		switch {
		case code == 0 && err != nil:
			t.Errorf("exit 0 = %v", err)
		case code != 0 && (!errors.As(err, &script) || script.Code != code):
			t.Errorf("exit %d = %v, want a ScriptError with the code", code, err)
		case code != 0 && backends.IsTransient(err):
			t.Errorf("exit %d is transient", code)
		}
	}
	if _, err := s.sh("if then", ""); err == nil {
		t.Error("a script that does not parse succeeds")
	}
	if _, err := s.sh("kill -KILL $$", ""); err == nil {
		t.Error("a script that is killed succeeds")
	}
}

func testStderr(t *testing.T, s *subject) {
	_, err := s.sh(`head -c 50000 /dev/zero | tr '\0' x >&2; printf 'the reason \033[1m' >&2; exit 9`, "")
	var script *backends.ScriptError
	if !errors.As(err, &script) || !strings.HasSuffix(script.Stderr, "xxthe reason \x1b[1m") || len(script.Stderr) > backends.MaxStderr {
		t.Fatalf("exit 9 = %.300v, want a ScriptError with the end of stderr", err)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("the message %.100q is not quoted", err)
	}
	if out := s.must("echo out; echo err >&2", ""); out != "out\n" {
		t.Errorf("stdout = %q, want it without stderr", out)
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// failing is a stream that breaks.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func testUnreadStdin(t *testing.T, s *subject) {
	if err := s.Run(t.Context(), "exit 0", zeros{}, nil); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	r, w := io.Pipe() // nothing ever comes
	defer w.Close()
	if err := s.Run(t.Context(), "exit 0", r, nil); err != nil {
		t.Errorf("silent stdin: Run = %v, want nil", err)
	}
	var script *backends.ScriptError
	if err := s.Run(t.Context(), "head -c 3; exit 4", zeros{}, nil); !errors.As(err, &script) || script.Code != 4 {
		t.Errorf("Run = %v, want exit status 4", err)
	}
}

// slow takes its time once, as a reader behind a full disk does.
type slow struct {
	buf   bytes.Buffer
	after int // so many bytes
	pause time.Duration
}

func (s *slow) Write(p []byte) (int, error) {
	if s.buf.Len() >= s.after {
		time.Sleep(s.pause)
		s.pause = 0
	}
	return s.buf.Write(p)
}

// testSlowStdout has the script end long before its last bytes are taken.
func testSlowStdout(t *testing.T, s *subject) {
	const n = 1 << 20
	for _, after := range []int{0, n - 100_000} {
		w := &slow{after: after, pause: 1500 * time.Millisecond}
		if err := s.Run(t.Context(), fmt.Sprintf("head -c %d /dev/zero; echo over", n), nil, w); err != nil {
			t.Fatal(err)
		}
		if got := w.buf.String(); len(got) < n+5 || !strings.HasSuffix(got, "\x00over\n") {
			t.Errorf("got %d bytes, want %d", len(got), n+5)
		}
	}
}

func testBrokenStreams(t *testing.T, s *subject) {
	broken := errors.New("the disk died")
	half := io.MultiReader(strings.NewReader("half"), failing{broken})
	start := time.Now()
	if err := s.Run(t.Context(), "cat", half, nil); !errors.Is(err, broken) {
		t.Errorf("broken stdin: %v, want its error", err)
	}
	if err := s.Run(t.Context(), "exec cat /dev/zero", nil, failing{broken}); !errors.Is(err, broken) {
		t.Errorf("broken stdout: %v, want its error", err)
	}
	if d := time.Since(start); d > waitLimit {
		t.Errorf("broken streams took %v", d)
	}
	if got := s.must("echo works", ""); got != "works\n" {
		t.Errorf("afterwards: %q", got)
	}
}

func testConcurrent(t *testing.T, s *subject) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			in := bytes.Repeat([]byte{byte(i), 0, byte(i + 1)}, 100_000)
			out, err := s.sh("cat", string(in))
			if err != nil || !bytes.Equal(out, in) {
				t.Errorf("run %d: %d bytes, %v, want its own %d", i, len(out), err, len(in))
			}
		})
	}
	wg.Wait()
}

func testClose(t *testing.T, s *subject) {
	s.must("true", "")
	for i := range 2 {
		if err := s.Close(t.Context(), backends.Keep); err != nil {
			t.Errorf("Close %d = %v", i+1, err)
		}
	}
	if s.URL() == "" || !strings.Contains(s.URL(), ":") {
		t.Errorf("URL = %q", s.URL())
	}
	if h := s.Home(); h != "" && h[0] != '/' && !strings.HasPrefix(h, "~/") {
		t.Errorf("Home = %q, want none, an absolute path, or one below ~/", h)
	}
}
