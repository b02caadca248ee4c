package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A mounted is one line of /proc/self/mountinfo.
type mounted struct {
	id    string // as fdinfo's mnt_id has it
	dev   string // major:minor, decimal
	point string
	kind  string // file system type
	name  string // of the mount of ours that it is
}

func (m *mounted) fuse() bool { return m.kind == "fuse" || strings.HasPrefix(m.kind, "fuse.") }

// ours says whether the mount is one of hermesfs's.
func (m *mounted) ours() bool { return m.kind == "fuse.hermesfs" }

// mountAt returns what is mounted on top at a resolved path, nil when it is no mountpoint.
func mountAt(path string) (*mounted, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return findMount(f, path)
}

// findMount reads the format of proc_pid_mountinfo(5). The last line of a path is on top.
func findMount(r io.Reader, path string) (*mounted, error) {
	var found *mounted
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		sep := -1
		for i, s := range f {
			if s == "-" && i >= 6 {
				sep = i
				break
			}
		}
		if sep < 0 || sep+2 >= len(f) {
			continue
		}
		if p := unescapeMount(f[4]); p == path {
			found = &mounted{id: f[0], dev: f[2], point: p, kind: f[sep+1]}
			if found.ours() {
				found.name = strings.TrimPrefix(f[sep+2], "hermesfs:") // the source, as package fs has it
			}
		}
	}
	return found, sc.Err()
}

// unescapeMount undoes the kernel's \040 for space, tab, newline and backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// deadMount says whether a path is a FUSE mount whose daemon is gone. A daemon that hangs is
// not dead: the question is given up after a while.
func deadMount(path string) bool {
	answer := make(chan error, 1)
	go func() {
		// Not from the kernel's cache, which outlives the daemon.
		var st unix.Statx_t
		answer <- ignoringEINTR(func() error {
			return unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_FORCE_SYNC, unix.STATX_MODE, &st)
		})
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
	case <-time.After(2 * time.Second):
		return false
	}
}

// detach takes a mount out of the tree although it is in use.
func detach(path string) error {
	err := ignoringEINTR(func() error { return unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
	if err == nil || !errors.Is(err, unix.EPERM) {
		return err
	}
	helper, err := fusermount()
	if err != nil {
		return err
	}
	out, err := exec.Command(helper, "-u", "-z", "-q", "--", path).CombinedOutput()
	if err != nil && len(out) > 0 {
		return errors.New(strings.TrimSpace(string(out)))
	}
	return err
}

// fusermount finds the helper that lets users mount.
func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", errors.New("fusermount3 not found: install the package fuse3")
}

// A user is a process that keeps a mount busy.
type user struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	How     string `json:"how"` // cwd, root, exe, an open file or a mapping
}

// usersOf finds the processes that use a mount, as far as this user may see them. It reads
// only /proc, never the mount, which a caller may be serving.
func usersOf(m *mounted) []user {
	var out []user
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if how := usedBy(filepath.Join("/proc", e.Name()), m); how != "" {
			comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
			out = append(out, user{PID: pid, Command: strings.TrimSpace(string(comm)), How: how})
		}
	}
	return out
}

// usedBy says how one process uses a mount, "" when it does not.
func usedBy(proc string, m *mounted) string {
	for _, link := range []string{"cwd", "root", "exe"} {
		if p, err := os.Readlink(filepath.Join(proc, link)); err == nil && within(p, m.point) {
			return link + " " + quote(p)
		}
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fdinfo"))
	for _, fd := range fds {
		b, err := os.ReadFile(filepath.Join(proc, "fdinfo", fd.Name()))
		if err == nil && hasLine(string(b), "mnt_id:", m.id) {
			p, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
			return "open file " + quote(p)
		}
	}
	maps, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return ""
	}
	defer maps.Close()
	sc := bufio.NewScanner(maps)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) >= 6 && mapDev(f[3]) == m.dev {
			return "mapping of " + quote(f[5])
		}
	}
	return ""
}

// within says whether a cleaned path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func hasLine(text, key, value string) bool {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, key); ok && strings.TrimSpace(v) == value {
			return true
		}
	}
	return false
}

// mapDev turns the hexadecimal device of maps into mountinfo's decimal.
func mapDev(s string) string {
	major, minor, ok := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(major, 16, 32)
	b, err2 := strconv.ParseUint(minor, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return ""
	}
	return strconv.FormatUint(a, 10) + ":" + strconv.FormatUint(b, 10)
}
