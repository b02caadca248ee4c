package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const someMounts = `21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 21 0:30 / /mnt/with\040space rw,nosuid,nodev - fuse.hermesfs hermesfs:a rw,user_id=0
36 21 0:31 / /mnt/x rw - tmpfs tmpfs rw
37 36 0:32 / /mnt/x rw shared:7 master:2 - fuse.sshfs u@h: rw
broken line
`

func TestFindMount(t *testing.T) {
	for _, tc := range []struct{ path, kind, id, dev, name string }{
		{"/", "ext4", "21", "8:1", ""},
		{"/mnt/with space", "fuse.hermesfs", "35", "0:30", "a"},
		{"/mnt/x", "fuse.sshfs", "37", "0:32", ""}, // the one on top
	} {
		m, err := findMount(strings.NewReader(someMounts), tc.path)
		if err != nil || m == nil || m.kind != tc.kind || m.id != tc.id || m.dev != tc.dev || m.name != tc.name {
			t.Errorf("findMount(%s) = %+v, %v, want %+v", tc.path, m, err, tc)
		}
	}
	if m, err := findMount(strings.NewReader(someMounts), "/mnt"); m != nil || err != nil {
		t.Errorf("findMount(/mnt) = %+v, %v, want nothing", m, err)
	}
}

// TestUsersOf takes the file system of a directory for a mount: this process uses it.
func TestUsersOf(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "open file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	var id string
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			id = strings.TrimSpace(v)
		}
	}
	proc := "/proc/" + strconv.Itoa(os.Getpid())
	if got := usedBy(proc, &mounted{id: id, point: "/nowhere"}); !strings.HasPrefix(got, "open file") {
		t.Errorf("usedBy by mount id = %q, want an open file", got)
	}
	if got := usedBy(proc, &mounted{id: "-", point: "/nowhere"}); got != "" {
		t.Errorf("usedBy of another mount = %q, want nothing", got)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	users := usersOf(&mounted{id: "-", point: filepath.Dir(wd)})
	found := false
	for _, u := range users {
		found = found || u.PID == os.Getpid() && strings.HasPrefix(u.How, "cwd")
	}
	if !found {
		t.Errorf("usersOf the working directory = %v, want this process by its cwd", users)
	}
	// A mapping counts although its descriptor is closed.
	if _, err := f.WriteString("mapped"); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b) //nolint:errcheck // the test ends
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	dev := strconv.Itoa(int(unix.Major(st.Dev))) + ":" + strconv.Itoa(int(unix.Minor(st.Dev)))
	if got := usedBy(proc, &mounted{id: "-", point: "/nowhere", dev: dev}); !strings.HasPrefix(got, "mapping") {
		t.Errorf("usedBy by device %s = %q, want a mapping", dev, got)
	}
}

func TestContains(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a")
	if err := os.MkdirAll(filepath.Join(a, "b", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(a, "b"), link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		dir, path string
		want      bool
	}{
		{a, a, true},
		{a, filepath.Join(a, "b", "c"), true},
		{a, filepath.Join(a, "b", "not", "there"), true},
		{a, dir, false},
		{a, filepath.Join(dir, "ab"), false},
		{a, filepath.Join(link, "c"), true}, // through a symlink
		{link, filepath.Join(a, "b"), true}, // the symlink's target
		{filepath.Join(dir, "gone"), a, false},
	} {
		if got := contains(tc.dir, tc.path); got != tc.want {
			t.Errorf("contains(%s, %s) = %v, want %v", tc.dir, tc.path, got, tc.want)
		}
	}
}
