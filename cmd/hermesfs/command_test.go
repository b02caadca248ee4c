package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A cliRun is one command line run in this process, with a state directory of its own.
type cliRun struct {
	t     *testing.T
	vars  map[string]string
	state string
}

func newCLI(t *testing.T) *cliRun {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	return &cliRun{t: t, state: dir, vars: map[string]string{"HERMESFS_STATE_DIR": dir}}
}

func (c *cliRun) run(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	e := &env{
		in: strings.NewReader(""), out: &out, err: &errs, exe: "/nonexistent",
		getenv: func(k string) string { return c.vars[k] }, sigs: &signals{},
	}
	code = run(e, append([]string{"hermesfs"}, args...))
	return code, out.String(), errs.String()
}

// fails runs a command that must end with code and say want, in one line on stderr.
func (c *cliRun) fails(code int, want string, args ...string) {
	c.t.Helper()
	got, stdout, stderr := c.run(args...)
	if got != code || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || stdout != "" {
		c.t.Errorf("hermesfs %s = exit %d, stdout %q, stderr %q; want exit %d and one line with %q",
			strings.Join(args, " "), got, stdout, stderr, code, want)
	}
}

func TestUsage(t *testing.T) {
	c := newCLI(t)
	for _, tc := range []struct {
		name, want string
		args       []string
	}{
		{"unknown command", "no command bogus", []string{"bogus"}},
		{"nearly a command", "did you mean status?", []string{"stauts"}},
		{"unknown flag", "-bogus", []string{"list", "--bogus"}},
		{"mount without arguments", "HOME and MOUNTPOINT", []string{"mount"}},
		{"too many arguments", "unexpected argument c", []string{"mount", "a", "b", "c"}},
		{"list takes none", "unexpected argument x", []string{"list", "x"}},
		{"discard without path", "at least one PATH", []string{"discard", "one"}},
		{"journal alone", "list, show, log, verify or export", []string{"journal"}},
		{"journal bogus", "no command bogus", []string{"journal", "bogus"}},
		{"run without dashes", "then --", []string{"run", "home", "true"}},
		{"run without command", "then --", []string{"run", "home", "--"}},
		{"run without home", "one HOME", []string{"run", "--", "true"}},
		{"bad name", "cannot be the name", []string{"mount", "--name", "a/b", "h", "m"}},
		{"unknown scheme", "unknown scheme s3: want one of none, dir:", []string{"mount", "--backend", "s3://b", "h", "m"}},
		{"bad rule", "want none, read, review or write", []string{"mount", "h", "m", "--rule", "a=b"}},
		{"rule without level", "GLOB=LEVEL", []string{"mount", "h", "m", "--rule", "a"}},
		{"bad preset", "--preset", []string{"mount", "h", "m", "--preset", "bogus"}},
		{"bad policy", "want theirs, ours, both or merge", []string{"mount", "h", "m", "--conflict", "mine"}},
		{"bad disposition", "want keep, stop or terminate", []string{"mount", "h", "m", "--on-unmount", "burn"}},
		{"bad checkpoint", "--checkpoint", []string{"mount", "h", "m", "--checkpoint", "1ms"}},
		{"daemon by hand", "started by", []string{"daemon", "one"}},
		{"bad shell", "bash, zsh and fish", []string{"completion", "csh"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &cliRun{t: t, vars: c.vars}
			c.fails(exitUsage, tc.want, tc.args...)
		})
	}
}

func TestErrorsAsJSON(t *testing.T) {
	c := newCLI(t)
	code, stdout, stderr := c.run("status", "nope", "--json")
	var got struct {
		Error string `json:"error"`
		Exit  int    `json:"exit"`
	}
	if err := json.Unmarshal([]byte(stderr), &got); err != nil || code != 1 || got.Exit != 1 || stdout != "" ||
		!strings.Contains(got.Error, "no mount nope") {
		t.Errorf("status nope --json = exit %d, %q, %q, want one error object", code, stdout, stderr)
	}
	if _, _, stderr := c.run("run", "nowhere", "--", "nosuchcommand", "--json"); strings.HasPrefix(stderr, "{") {
		t.Errorf("--json of the command was taken for ours: %s", stderr)
	}
}

func TestMountRefuses(t *testing.T) {
	requireFUSE(t)
	c := newCLI(t)
	dir := t.TempDir()
	path := func(p ...string) string { return filepath.Join(append([]string{dir}, p...)...) }
	for _, d := range []string{"home/sub", "empty", "full/x", "outer/home"} {
		if err := os.MkdirAll(path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path("file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path("home", "sub"), path("alias")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, want, home, point string }{
		{"no home", "does not exist: create it with 'mkdir -p " + path("gone"), path("gone"), path("empty")},
		{"home is a file", "is not a directory", path("file"), path("empty")},
		{"no mountpoint", "create it with 'mkdir -p " + path("new"), path("home"), path("new")},
		{"mountpoint is a file", "is not a directory", path("home"), path("file")},
		{"mountpoint not empty", "is not empty (it has x)", path("home"), path("full")},
		{"mountpoint in home", "inside its own home", path("home"), path("home", "sub")},
		{"mountpoint in home by a symlink", "inside its own home", path("home"), path("alias")},
		{"mountpoint is home", "is the home itself", path("home"), path("home")},
		{"home in mountpoint", "is inside the mountpoint", path("outer", "home"), path("outer")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &cliRun{t: t, vars: c.vars}
			c.fails(exitFailed, tc.want, "mount", tc.home, tc.point)
		})
	}
	t.Run("state in home", func(t *testing.T) {
		c := &cliRun{t: t, vars: map[string]string{"HERMESFS_STATE_DIR": path("home", "state")}}
		c.fails(exitFailed, "is inside the home", "mount", path("home"), path("empty"))
	})
	t.Run("state not writable", func(t *testing.T) {
		c := &cliRun{t: t, vars: map[string]string{"HERMESFS_STATE_DIR": path("file", "state")}}
		c.fails(exitFailed, "set HERMESFS_STATE_DIR to another", "mount", path("home"), path("empty"))
	})
	if left, _ := os.ReadDir(filepath.Join(c.state, "mounts")); len(left) > 0 {
		t.Errorf("refused mounts left state: %v", left)
	}
}

func TestNameBelongsToAnotherHome(t *testing.T) {
	requireFUSE(t)
	c := newCLI(t)
	dir := t.TempDir()
	for _, d := range []string{"a", "b", "one"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := stateDir(c.state).mount("one")
	cfg := mountConfig{Home: filepath.Join(dir, "a"), Mountpoint: "/old", Backend: noBackend, Preset: "hermes"}
	if err := m.setConfig(cfg); err != nil {
		t.Fatal(err)
	}
	c.fails(exitFailed, "hermesfs forget one", "mount", filepath.Join(dir, "b"), filepath.Join(dir, "one"))

	if err := m.setHistory(history{Incomplete: true}); err != nil {
		t.Fatal(err)
	}
	c.fails(exitFailed, "hermesfs sync-back one", "mount", "--backend", "dir:"+dir, cfg.Home, filepath.Join(dir, "one"))

	l, err := m.tryLock()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := m.condition(cfg); got != stateStopped {
		t.Errorf("condition of a locked mount without a mountpoint = %s, want %s", got, stateStopped)
	}
}

func TestListAndFind(t *testing.T) {
	c := newCLI(t)
	if code, out, _ := c.run("list"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("list of nothing = %d, %q, want only the heading", code, out)
	}
	if code, out, _ := c.run("list", "--json"); code != 0 || out != `{"mounts":[]}`+"\n" {
		t.Errorf("list --json of nothing = %d, %q", code, out)
	}
	state := stateDir(c.state)
	for name, cfg := range map[string]mountConfig{
		"two": {Home: "/h2", Mountpoint: "/m/two", Backend: "none"},
		"one": {Home: "/h1", Mountpoint: "/m/o\nne", Backend: "dir:/s"},
	} {
		if err := state.mount(name).setConfig(cfg); err != nil {
			t.Fatal(err)
		}
	}
	_, out, _ := c.run("list")
	want := "NAME  STATE    HOME  MOUNTPOINT  BACKEND\n" +
		"one   stopped  /h1   \"/m/o\\nne\"  dir:/s\n" +
		"two   stopped  /h2   /m/two      none\n"
	if out != want {
		t.Errorf("list =\n%s\nwant\n%s", out, want)
	}
	e := &env{getenv: func(k string) string { return c.vars[k] }}
	for arg, want := range map[string]string{"one": "one", "/m/two": "two", "/m/two/": "two", "/m/o\nne": "one"} {
		if m, _, err := find(e, arg); err != nil || m.name != want {
			t.Errorf("find(%q) = %s, %v, want %s", arg, m.name, err, want)
		}
	}
	if _, _, err := find(e, "three"); err == nil || !strings.Contains(err.Error(), "there is one, two") {
		t.Errorf("find(three) = %v, want the names that there are", err)
	}
	c.fails(exitFailed, "one is not mounted", "unmount", "one")
}

func TestHelpManAndCompletion(t *testing.T) {
	c := newCLI(t)
	app := newApp(newEnv())
	_, help, _ := c.run("--help")
	_, man, _ := c.run("man")
	for _, cmd := range app.Commands {
		if cmd.Hidden {
			continue
		}
		if !strings.Contains(help, "   "+cmd.Name) || !strings.Contains(man, cmd.Name) {
			t.Errorf("%s is missing from the help or the manual page", cmd.Name)
		}
		code, out, stderr := c.run(cmd.Name, "--help")
		if code != 0 || !strings.Contains(out, cmd.Usage) || stderr != "" {
			t.Errorf("%s --help = %d, %q, %q, want its usage", cmd.Name, code, out, stderr)
		}
	}
	if !strings.HasPrefix(man, ".") || strings.Contains(man, "daemon one") {
		t.Errorf("man does not look like troff: %.60q", man)
	}
	for _, sh := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := c.run("completion", sh); code != 0 || !strings.Contains(out, "hermesfs") {
			t.Errorf("completion %s = %d, %.60q", sh, code, out)
		}
	}
	if err := stateDir(c.state).mount("one").setConfig(mountConfig{}); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := c.run("status", completionFlag); !strings.Contains(out, "one\n") {
		t.Errorf("completion of status = %q, want the name of the mount", out)
	}
}

func TestDoctor(t *testing.T) {
	requireFUSE(t)
	c := newCLI(t)
	code, out, stderr := c.run("doctor", "--json")
	var got struct {
		OK       bool      `json:"ok"`
		Findings []finding `json:"findings"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || !got.OK || code != 0 || len(got.Findings) != 6 {
		t.Errorf("doctor --json = %d, %s, %s, want six findings and ok", code, out, stderr)
	}
	c.vars["HERMESFS_STATE_DIR"] = "/dev/null/x"
	code, out, stderr = c.run("doctor")
	if code != 1 || !strings.Contains(out, "bad state directory: ") || !strings.Contains(stderr, "1 of what") {
		t.Errorf("doctor without a state directory = %d, %q, %q, want exit 1 and the line", code, out, stderr)
	}
}

func TestVersion(t *testing.T) {
	c := newCLI(t)
	if code, out, _ := c.run("version"); code != 0 || !strings.HasPrefix(out, "hermesfs ") {
		t.Errorf("version = %d, %q", code, out)
	}
}
