package ssh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hermesfs/backends"
)

// ssh binds a name with a dot and 16 letters after it, then renames; macOS allows 104 bytes with
// the NUL.
const maxSocket = 104 - 1 - 17

// makeSocketLocked sees to it that there is a directory for the socket: a cleaner of old temporary
// files may have taken it. The socket is another one for each Transport, so that closing one does
// not end the scripts of another; the directory is shared, so that a killed process leaves none.
func (t *Transport) makeSocketLocked() error {
	if t.socket != "" && usable(filepath.Dir(t.socket)) {
		return nil
	}
	sum := sha256.Sum256([]byte(t.URL() + "\x00" + newMark()))
	name := hex.EncodeToString(sum[:8])
	if dir := t.o.ControlDir; dir != "" && fits(filepath.Join(dir, name)) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("ssh control directory: %w", err)
		}
		if !usable(dir) {
			return fmt.Errorf("ssh control directory %q: must be ours alone (mode 0700)", dir)
		}
		t.socket = filepath.Join(dir, name)
		return nil
	}
	shared := fmt.Sprintf("hermesfs-ssh-%d", os.Geteuid())
	tmp := os.TempDir()
	if !fits(filepath.Join(tmp, shared+"-0123456789", name)) {
		tmp = "/tmp"
	}
	dir := filepath.Join(tmp, shared)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
		return fmt.Errorf("ssh control directory: %w", err)
	}
	if !usable(dir) { // someone else's
		var err error
		if dir, err = os.MkdirTemp(tmp, shared+"-"); err != nil {
			return fmt.Errorf("ssh control directory: %w", err)
		}
		t.ownDir = dir
	}
	t.socket = filepath.Join(dir, name)
	return nil
}

// fits also refuses what ssh would expand or take apart.
func fits(path string) bool {
	return len(path) <= maxSocket && filepath.IsAbs(path) && !strings.ContainsAny(path, "%$~\"\\ \t\n")
}

// usable says whether a directory is there and ours alone.
func usable(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return info.IsDir() && info.Mode().Perm()&0o077 == 0 && ok && int(st.Uid) == os.Geteuid()
}

// command tells the master something; its answer is returned.
func (t *Transport) command(ctx context.Context, word string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	args := append(t.baseArgs(), "-S", t.socket, "-O", word, "--", t.o.Host)
	cmd := osexec.CommandContext(ctx, t.o.Program, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// dropMaster ends a master that is of no use.
func (t *Transport) dropMaster(ctx context.Context) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	return t.exitLocked(ctx)
}

// endMaster ends the master and removes what was made for it.
func (t *Transport) endMaster(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		t.errands.Wait()
		close(done)
	}()
	timer := time.NewTimer(commandLimit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	t.endErrands()
	<-done
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	if t.socket == "" {
		return nil
	}
	err := t.exitLocked(ctx)
	if t.ownDir != "" {
		err = errors.Join(err, os.RemoveAll(t.ownDir))
	}
	return err
}

// exitLocked tells the master to exit and waits until it is gone.
func (t *Transport) exitLocked(ctx context.Context) error {
	if !answers(t.socket) {
		_ = os.Remove(t.socket)
		return nil
	}
	answer, _ := t.command(ctx, "check")
	pid := masterPID(answer)
	if out, err := t.command(ctx, "exit"); err != nil {
		t.log.Warn("ssh master does not exit", "host", t.o.Host, "error", err, "said", lastLine(out))
	}
	deadline := time.Now().Add(commandLimit)
	for pid > 1 && runs(pid) && time.Now().Before(deadline) && ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
	_ = os.Remove(t.socket)
	return nil
}

// masterPID reads "Master running (pid=123)".
func masterPID(answer string) int {
	_, rest, _ := strings.Cut(answer, "pid=")
	digits, _, _ := strings.Cut(rest, ")")
	pid, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return pid
}

// runs says whether a process that is not our child has not yet ended. Where its new parent is slow
// to reap, it is a zombie for a while.
func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

// kill ends a script on the far side, while the master works: the end of its channel alone leaves
// alive what neither reads nor writes. It waits no longer than killWait; Close waits for the rest.
func (t *Transport) kill(args []string, pid int, mark string) {
	if pid <= 1 || !answers(t.socket) {
		return
	}
	// The command line holds the mark, as long as the process id is still the script's.
	script := fmt.Sprintf(`p=%d
if [ -r /proc/$p/cmdline ]; then l=$(tr '\0' ' ' </proc/$p/cmdline); else l=$(ps -o args= -p $p); fi
case $l in *%s*) kill -TERM -$p || kill -TERM $p ;; esac 2>/dev/null
exit 0`, pid, mark)
	command, err := remoteCommand(script, newMark())
	if err != nil {
		return
	}
	done := make(chan struct{})
	t.errands.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(t.errandCtx, killLimit)
		defer cancel()
		c := &client{cmd: osexec.Command(t.o.Program, append(slices.Clone(args), command)...), stderr: &backends.StderrTail{}}
		if o, err := c.run(ctx); err != nil || o.code != 0 {
			t.log.Debug("cannot end the script on the far side", "host", t.o.Host, "error", err, "status", o.code)
		}
	})
	timer := time.NewTimer(killWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
