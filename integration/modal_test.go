package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hermesfs/backends/modal/modaltest"
	"hermesfs/integration/fixture"
)

// overModal puts the sandbox into a Modal of the test's own.
func (r *rig) overModal() *modaltest.Server {
	r.t.Helper()
	s := modaltest.Start(r.t)
	for name, value := range s.Env() {
		r.env = append(r.env, name+"="+value)
	}
	return s
}

func TestLoopModal(t *testing.T) {
	r := newRig(t)
	box := r.overModal().Add("app", "", false)
	r.sandbox, r.url = filepath.Join(box.Dir, ".hermes"), "modal://"+box.ID
	m, err := fixture.Generate(r.home, fixture.A, fixture.Options{Live: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r.loop()
	if box.Ended() {
		t.Error("a sandbox that hermesfs did not make has ended")
	}
	if n := box.Running(); n != 0 {
		t.Errorf("%d scripts run on", n)
	}
}

// A sandbox that hermesfs makes is found again by the daemon that follows a killed one, and ends
// with the unmount, after its work came back.
func TestModalMakes(t *testing.T) {
	r := newRig(t)
	s := r.overModal()
	r.url = "modal://?app=app&image=debian:12"
	r.write(filepath.Join(r.home, "skills/one/SKILL.md"), "skill\n", 0o644)
	r.mount()
	boxes := s.Sandboxes()
	if len(boxes) != 1 || !strings.HasPrefix(boxes[0].Name, "hermesfs-one-") {
		t.Fatalf("sandboxes %v, want one for the mount", boxes)
	}
	home := filepath.Join(boxes[0].Dir, ".hermes")
	if b, err := os.ReadFile(filepath.Join(home, "skills/one/SKILL.md")); err != nil || string(b) != "skill\n" {
		t.Fatalf("in the sandbox: %q, %v", b, err)
	}
	r.write(filepath.Join(home, "skills/two/SKILL.md"), "learnt\n", 0o644)
	r.killDaemon()
	r.run("recover", "one")
	if n := len(s.Sandboxes()); n != 1 || boxes[0].Ended() {
		t.Fatalf("after a crash: %d sandboxes, ended %v, want the one", n, boxes[0].Ended())
	}
	r.run("unmount", "one")
	if b, err := os.ReadFile(filepath.Join(r.home, "skills/two/SKILL.md")); err != nil || string(b) != "learnt\n" {
		t.Errorf("what the sandbox learnt: %q, %v", b, err)
	}
	if n := len(s.Sandboxes()); n != 1 || !boxes[0].Ended() {
		t.Errorf("after the unmount: %d sandboxes, ended %v, want one that has", n, boxes[0].Ended())
	}
}

// killDaemon ends the daemon and its supervisor as a crash of the machine does.
func (r *rig) killDaemon() {
	r.t.Helper()
	var status struct{ PID, Supervisor int }
	if err := json.Unmarshal([]byte(r.run("status", "--json", "one")), &status); err != nil || status.PID < 2 {
		r.t.Fatalf("no daemon: %+v, %v", status, err)
	}
	for _, pid := range []int{status.Supervisor, status.PID} { // or it would be replaced
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			r.t.Fatal(err)
		}
	}
	var out, errs string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("list: %s%s", out, errs)
		}
	}()
	eventually(r.t, "the daemon is dead", func() bool {
		out, errs, _ = r.try("list")
		return strings.Contains(out, "dead")
	})
}

func TestModalWithoutCredentials(t *testing.T) {
	r := newRig(t)
	r.write(filepath.Join(r.home, "config.yaml"), "", 0o644)
	r.env = append(r.env, "MODAL_TOKEN_ID=", "MODAL_TOKEN_SECRET=", "MODAL_CONFIG_PATH=/nowhere/modal.toml")
	_, errs, code := r.try("mount", "--backend", "modal://sb-1", r.home, r.mnt)
	if code == 0 || !strings.Contains(errs, "MODAL_TOKEN_ID") || !strings.Contains(errs, "/nowhere/modal.toml") || strings.Contains(errs, "ssh") {
		t.Errorf("mount = %d, %s, want a message that says where it looked", code, errs)
	}
}
