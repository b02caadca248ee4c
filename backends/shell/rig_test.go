package shell

import (
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/dir"
)

// require fails where HERMESFS_TEST_REQUIRE names what is missing, and skips otherwise.
func require(t *testing.T, what string, ok bool, missing string) {
	t.Helper()
	if ok {
		return
	}
	for name := range strings.SplitSeq(os.Getenv("HERMESFS_TEST_REQUIRE"), ",") {
		if name == what || name == "all" {
			t.Fatalf("%s is required: %s", what, missing)
		}
	}
	t.Skipf("%s is missing: %s (HERMESFS_TEST_REQUIRE=%s makes this a failure)", what, missing, what)
}

func lookPath(t *testing.T, what, name string) string {
	t.Helper()
	path, err := osexec.LookPath(name)
	require(t, what, err == nil, name+" is not in PATH")
	return path
}

// A rig is a sandbox in a directory with one set of tools.
type rig struct {
	name  string
	env   []string
	sh    string
	probe string // forced, "" for what Hello finds
	want  string // the probe that Hello must find
}

// flavours are the userlands that every test of a verb runs with.
var flavours = []struct {
	name, probe, want string
	tools             func(t *testing.T, bin string) (env []string, sh string)
}{
	{name: "gnu-dash", want: "1;gnu;sha256sum;find", tools: func(t *testing.T, bin string) ([]string, string) {
		return shellFirst(t, bin, lookPath(t, "dash", "dash"))
	}},
	{name: "gnu-bash", want: "1;gnu;sha256sum;find", tools: func(t *testing.T, bin string) ([]string, string) {
		return shellFirst(t, bin, lookPath(t, "bash", "bash"))
	}},
	{name: "busybox", want: "1;busybox;sha256sum;c", tools: func(t *testing.T, bin string) ([]string, string) {
		busybox := lookPath(t, "busybox", "busybox")
		list, err := osexec.Command(busybox, "--list").Output()
		if err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(string(list)) {
			link(t, busybox, filepath.Join(bin, name))
		}
		return []string{"PATH=" + bin}, filepath.Join(bin, "sh")
	}},
	{name: "bsdtar", want: "1;bsd;sha256sum;find", tools: func(t *testing.T, bin string) ([]string, string) {
		link(t, lookPath(t, "bsdtar", "bsdtar"), filepath.Join(bin, "tar"))
		return shellFirst(t, bin, lookPath(t, "dash", "dash"))
	}},
	// GNU tools used as if they could less: what a leaner or an older system has.
	{name: "gnu-lean", probe: "1;gnu;openssl dgst -sha256 -r;c", tools: func(t *testing.T, bin string) ([]string, string) {
		lookPath(t, "openssl", "openssl")
		return shellFirst(t, bin, lookPath(t, "dash", "dash"))
	}},
}

func shellFirst(t *testing.T, bin, shell string) ([]string, string) {
	t.Helper()
	sh := filepath.Join(bin, "sh")
	link(t, shell, sh)
	return []string{"PATH=" + bin + ":/usr/bin:/bin"}, sh
}

func link(t *testing.T, to, from string) {
	t.Helper()
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
}

// eachFlavour runs fn with every userland, in a claimed sandbox.
func eachFlavour(t *testing.T, fn func(t *testing.T, b *box)) {
	t.Helper()
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			env, sh := f.tools(t, t.TempDir())
			b := newBox(t, rig{name: f.name, env: env, sh: sh, probe: f.probe, want: f.want})
			b.claim()
			fn(t, b)
		})
	}
}

// A box is a sandbox whose home the test sees as a directory.
type box struct {
	*Sandbox
	t    *testing.T
	rig  rig
	home string
	tr   *dir.Transport
}

func newBox(t *testing.T, r rig) *box {
	t.Helper()
	return boxAt(t, t.TempDir(), r)
}

func boxAt(t *testing.T, root string, r rig) *box {
	t.Helper()
	tr, err := dir.New(dir.Options{Path: root, Sh: r.sh, Env: r.env})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, rig: r, home: filepath.Join(root, ".hermes"), tr: tr}
	b.Sandbox = b.over(tr)
	t.Cleanup(func() { b.noTemps() })
	return b
}

// over is another Sandbox of the same directory over another transport.
func (b *box) over(tr backends.Transport) *Sandbox {
	return New(tr, Options{Mount: "test mount", Probe: b.rig.probe})
}

func gnuBox(t *testing.T) *box {
	t.Helper()
	b := newBox(t, rig{name: "gnu", sh: "sh"})
	b.claim()
	return b
}

func (b *box) claim() {
	b.t.Helper()
	if _, err := b.Hello(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if err := b.Claim(b.t.Context(), "id-1"); err != nil {
		b.t.Fatal(err)
	}
}

// noTemps fails when anything is left in the temporary directory of the sandbox.
func (b *box) noTemps() {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.home, ".hermesfs/tmp"))
	if err != nil && !os.IsNotExist(err) && !errors.Is(err, syscall.ENOTDIR) {
		b.t.Error(err)
	}
	for _, e := range entries {
		b.t.Errorf("left in the sandbox: %s", e.Name())
	}
}

func (b *box) path(rel string) string { return filepath.Join(b.home, rel) }

func (b *box) write(rel, content string) {
	b.t.Helper()
	b.mkdir(filepath.Dir(rel))
	if err := os.WriteFile(b.path(rel), []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) mkdir(rel string) {
	b.t.Helper()
	if err := os.MkdirAll(b.path(rel), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) symlink(target, rel string) {
	b.t.Helper()
	b.mkdir(filepath.Dir(rel))
	if err := os.Symlink(target, b.path(rel)); err != nil {
		b.t.Fatal(err)
	}
}

// awkwardNames are names that shells and tools get wrong, with every byte but NUL and the slash.
func awkwardNames() []string {
	names := []string{
		"-rf", "--", "-", " ", "a b", " lead", "trail ", "tab\there", "new\nline", "\n", "end\n", "\nstart", "cr\r", "back\\slash", "\\n", "\\",
		`quote"`, "quote'", "`id`", "$(id)", "$HOME", "*", "?", "[a]", "{a,b}", "~", "#", ";", "&", "|", "!", "=x", "%s%n", "a:b", "...", ".hidden",
		"\xff\xfe", "\x80\x81\x82\x88", "bad\xc3", "ünïcödé", "日本語", "\u202egnp", "\x1b[31m", "\x01\x7f", "tar: x: Cannot open",
		strings.Repeat("n", 255), strings.Repeat("é", 127), strings.Repeat("\xff", 255),
	}
	var all []byte
	for c := 1; c < 256; c++ {
		if c != '/' {
			all = append(all, byte(c))
		}
	}
	for chunk := range slices.Chunk(all, 16) {
		names = append(names, "b"+string(chunk), string(chunk)+"e")
	}
	return names
}
