package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"hermesfs/fs/access"
	"hermesfs/integration/fixture"
)

// A rig is one home, one sandbox and the program, as a user has them.
type rig struct {
	t       *testing.T
	bin     string
	home    string
	sandbox string // the sandbox's home, as this machine sees it
	mnt     string
	state   string
	url     string
	env     []string
	calls   string // of ssh, one a line; "" for no ssh
	policy  *access.Policy
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if err := missing("fuse"); err != nil {
		if os.Getenv("HERMESFS_TEST_REQUIRE") != "" {
			t.Fatalf("FUSE is required here: %v", err)
		}
		t.Skipf("no FUSE: %v", err)
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &rig{
		t: t, bin: bin, home: filepath.Join(dir, "user/.hermes"), sandbox: filepath.Join(dir, "box/.hermes"),
		mnt: filepath.Join(dir, "one"), state: filepath.Join(dir, "state"),
	}
	r.url = "dir:" + filepath.Dir(r.sandbox)
	r.env = append(os.Environ(), "HERMESFS_STATE_DIR="+r.state)
	for _, d := range []string{filepath.Dir(r.home), filepath.Dir(r.sandbox), r.mnt} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if mounted(r.mnt) {
			r.try("unmount", "--force", "one")
			_ = unix.Unmount(r.mnt, unix.MNT_DETACH)
			t.Errorf("left mounted")
		}
	})
	return r
}

func mounted(dir string) bool {
	data, err := os.ReadFile("/proc/self/mounts")
	return err != nil || strings.Contains(string(data), " "+dir+" ")
}

// try runs the program and returns its output and exit code.
func (r *rig) try(args ...string) (stdout, stderr string, code int) {
	cmd := exec.Command(r.bin, args...)
	cmd.Env = r.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// run runs the program, which must end with 0.
func (r *rig) run(args ...string) string {
	r.t.Helper()
	out, errs, code := r.try(args...)
	if code != 0 {
		log, _ := os.ReadFile(filepath.Join(r.state, "mounts/one/daemon.log"))
		r.t.Fatalf("hermesfs %s = %d\n%s%s\ndaemon.log:\n%s", strings.Join(args, " "), code, out, errs, log)
	}
	return out + errs
}

func (r *rig) mount(flags ...string) string {
	r.t.Helper()
	return r.run(append(append([]string{"mount", "--backend", r.url}, flags...), r.home, r.mnt)...)
}

func (r *rig) write(file, data string, mode os.FileMode) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(data), mode); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		r.t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); !ok(); <-tick {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// visible is the regular files of a tree that access shows, by content hash and mode.
func visible(t *testing.T, root string, policy *access.Policy) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(file string, d iofs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(root, file)
		if err != nil || relErr != nil || rel == "." {
			return err
		}
		level := policy.Level(rel)
		if d.IsDir() {
			if level == access.None && !policy.Enter(rel) || policy.Hidden(rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if level == access.None || !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		out[rel] = fmt.Sprintf("%o %s", info.Mode().Perm(), hex.EncodeToString(sum[:]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// stats is what would show that a file of a home that access shows was written: inode, size and
// times.
func stats(t *testing.T, root string, policy *access.Policy) map[string]string {
	t.Helper()
	out := map[string]string{}
	for rel := range visible(t, root, policy) {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, rel), &st); err != nil {
			t.Fatal(err)
		}
		out[rel] = fmt.Sprintf("ino %d size %d mode %o mtime %d", st.Ino, st.Size, st.Mode, st.Mtim.Nano())
	}
	return out
}

// TestLoop is the whole loop, the same for every backend and size of home.
func TestLoop(t *testing.T) {
	for _, backend := range []string{"dir", "ssh"} {
		for _, tier := range []fixture.Tier{fixture.A, fixture.B, fixture.C} {
			t.Run(backend+"/"+string(tier), func(t *testing.T) {
				r := newRig(t)
				if backend == "ssh" {
					r.overSSH()
				}
				m, err := fixture.Generate(r.home, tier, fixture.Options{Live: true})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				r.loop()
			})
		}
	}
}

func (r *rig) loop() {
	t := r.t
	config, err := os.ReadFile(filepath.Join(r.home, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := access.CredentialFiles(config)
	if err != nil {
		t.Fatal(err)
	}
	if r.policy, err = access.New(access.Options{CredentialFiles: credentials}); err != nil {
		t.Fatal(err)
	}
	host := visible(t, r.home, r.policy)
	files := slices.Sorted(func(yield func(string) bool) {
		for f := range host {
			if strings.HasPrefix(f, "skills/") && strings.HasSuffix(f, ".md") && path.Dir(path.Dir(f)) != "skills" && !yield(f) {
				return
			}
		}
	})
	tr := trace(t, r.home, r.policy)

	r.mount()
	if diff := cmp.Diff(host, visible(t, r.mnt, r.policy)); diff != "" {
		t.Errorf("mount (-home +mount):\n%s", diff)
	}
	if diff := cmp.Diff(host, visible(t, r.sandbox, r.policy)); diff != "" {
		t.Errorf("sandbox after the first push (-home +sandbox):\n%s", diff)
	}
	for _, secret := range []string{".env", "auth.json", "config.yaml", "state.db", "hermes-agent", "gateway.sock", "memories"} {
		for _, root := range []string{r.mnt, r.sandbox} {
			if _, err := os.Lstat(filepath.Join(root, secret)); err == nil {
				t.Errorf("%s is in %s", secret, root)
			}
		}
	}
	r.checkJournal(host)

	// Work on all sides.
	want := make(map[string]string, len(host))
	edited, deleted, modeOnly, both, local, gone := files[3], files[10], files[20], files[30], files[40], files[50]
	box := func(p string) string { return filepath.Join(r.sandbox, p) }
	r.write(box(edited), "edited in the sandbox", 0o755)
	r.write(box("skills/brand-new/skill/SKILL.md"), "new in the sandbox", 0o600)
	r.write(box("cache/documents/out.txt"), "made in the sandbox", 0o644)
	for _, err := range []error{
		os.Remove(box(deleted)), os.Chmod(box(modeOnly), 0o711),
		os.Symlink("/etc/passwd", box("skills/leak")), unix.Mkfifo(box("skills/pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.write(box("config.yaml"), "poison", 0o644)
	r.write(box("plugins/evil.py"), "poison", 0o644)
	for _, c := range credentials {
		r.write(box(c), "poison", 0o600)
	}
	r.write(filepath.Join(r.mnt, local), "edited in the mount", 0o644)
	if err := os.Remove(filepath.Join(r.mnt, gone)); err != nil {
		t.Fatal(err)
	}
	r.run("push", "one")
	if got, err := os.ReadFile(box(local)); err != nil || string(got) != "edited in the mount" {
		t.Errorf("after push the sandbox has %q, %v", got, err)
	}
	if _, err := os.Lstat(box(gone)); err == nil {
		t.Errorf("%s is still in the sandbox", gone)
	}
	r.write(box(both), "the sandbox's", 0o644)
	r.write(filepath.Join(r.home, both), "the host's", 0o644)

	before := stats(t, r.home, r.policy)
	said := r.run("unmount", "one")
	if mounted(r.mnt) {
		t.Fatal("still mounted")
	}
	if r.calls != "" {
		r.checkTeardown()
	}
	for rel, v := range host {
		want[rel] = v
	}
	hash := func(data string, mode os.FileMode) string {
		sum := sha256.Sum256([]byte(data))
		return fmt.Sprintf("%o %s", mode, hex.EncodeToString(sum[:]))
	}
	want[edited] = hash("edited in the sandbox", 0o755)
	want["skills/brand-new/skill/SKILL.md"] = hash("new in the sandbox", 0o600)
	want["cache/documents/out.txt"] = hash("made in the sandbox", 0o644)
	want[both] = hash("the sandbox's", 0o644)
	want[local] = hash("edited in the mount", 0o644)
	delete(want, deleted)
	delete(want, gone)
	_, sum, _ := strings.Cut(host[modeOnly], " ")
	want[modeOnly] = "711 " + sum
	if diff := cmp.Diff(want, visible(t, r.home, r.policy)); diff != "" {
		t.Errorf("home after unmount (-want +got):\n%s\nunmount said:\n%s", diff, said)
	}
	// What nobody changed was not written.
	after := stats(t, r.home, r.policy)
	for rel, was := range before {
		if want[rel] == host[rel] && after[rel] != was {
			t.Errorf("%s was written: %s, want %s", rel, after[rel], was)
		}
	}
	if _, err := os.Lstat(filepath.Join(r.home, "skills/leak")); err == nil {
		t.Error("a link out of the home came home")
	}
	for _, word := range []string{"conflict", both, "skills/leak", "skills/pipe"} {
		if !strings.Contains(said, word) {
			t.Errorf("unmount does not speak of %q:\n%s", word, said)
		}
	}
	if !r.kept("the host's") {
		t.Error("the host's version of the conflict was not kept")
	}
	r.checkJournal(want)

	// Again, with nothing to do: nothing is pushed, nothing is written.
	before = stats(t, r.home, r.policy)
	var m struct {
		Push struct {
			Pushed  []string `json:"pushed"`
			Deleted []string `json:"deleted"`
		} `json:"push"`
	}
	if err := json.Unmarshal([]byte(r.mount("--json")), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Push.Pushed)+len(m.Push.Deleted) > 0 {
		t.Errorf("second mount pushed %q, deleted %q", m.Push.Pushed, m.Push.Deleted)
	}
	r.run("unmount", "one")
	if diff := cmp.Diff(before, stats(t, r.home, r.policy)); diff != "" {
		t.Errorf("home after doing nothing (-before +after):\n%s", diff)
	}
	// The configuration is read by name; nothing else that is hidden was touched by the program.
	if opened := slices.DeleteFunc(tr.stop(t, r.home), func(p string) bool {
		return p == "config.yaml" || p == ".sync.lock"
	}); len(opened) > 0 {
		t.Errorf("opened though hidden: %q", opened)
	}
}

// checkJournal holds the journal against what both sides must have agreed on.
func (r *rig) checkJournal(want map[string]string) {
	r.t.Helper()
	var list struct {
		Entries []struct {
			Path, SHA256, Mode, Mtime string
			PushedAt                  string `json:"pushed_at"`
			Size                      int64
		} `json:"entries"`
	}
	if err := json.Unmarshal([]byte(r.run("journal", "list", "one", "--json")), &list); err != nil {
		r.t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range list.Entries {
		if e.SHA256 == "" {
			continue // a directory
		}
		got[e.Path] = strings.TrimLeft(e.Mode, "0") + " " + e.SHA256
		if _, err := time.Parse(time.RFC3339Nano, e.PushedAt); err != nil {
			r.t.Errorf("%s: pushed_at: %v", e.Path, err)
		}
	}
	// A credential that the sandbox changed has another base; it never comes home.
	drop := func(m map[string]string) map[string]string {
		out := map[string]string{}
		for p, v := range m {
			if r.policy.Level(p) > access.Read {
				out[p] = v
			}
		}
		return out
	}
	if diff := cmp.Diff(drop(want), drop(got)); diff != "" {
		r.t.Errorf("journal (-want +got):\n%s", diff)
	}
}

// kept says whether an object has this content.
func (r *rig) kept(content string) bool {
	found := false
	_ = filepath.WalkDir(filepath.Join(r.state, "objects"), func(file string, d iofs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			data, err := os.ReadFile(file)
			found = found || err == nil && string(data) == content
		}
		return nil
	})
	return found
}
