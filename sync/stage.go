package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"hermesfs/journal"
)

// makeDirs makes the new directories, parents first: what goes into them is staged there.
func (c *committing) makeDirs(context.Context) error {
	for _, j := range c.jobs {
		if j.phase() != phaseMkdir {
			break
		}
		if err := c.makeDir(j); err != nil {
			c.failed(j, err)
			continue
		}
		if j.host.Kind == Absent {
			c.applied(j, [32]byte{})
		}
		if err := c.e.fail("commit-applied"); err != nil {
			return err
		}
	}
	return c.flush()
}

func (c *committing) makeDir(j *job) error {
	dir, name, err := c.h.at(j.Path)
	if err != nil {
		return err
	}
	// Until what goes into it is there, the owner can write.
	mode := j.Want.Mode | 0o700
	if mode != j.Want.Mode {
		c.late = append(c.late, j)
	}
	if j.host.Kind == Absent {
		err := retry(func() error { return unix.Mkdirat(dir, name, mode) })
		if errors.Is(err, unix.EEXIST) {
			if now, err := hostFileAt(dir, name); err == nil && now.Kind == Dir {
				return nil // a process of the host made it meanwhile
			}
		}
		if err != nil {
			return err
		}
		return c.dirAttributes(dir, name, mode)
	}
	// A file or a symlink becomes a directory.
	if err := retry(func() error { return unix.Mkdirat(dir, j.temp, mode) }); err != nil {
		return err
	}
	if err := c.dirAttributes(dir, j.temp, mode); err != nil {
		return err
	}
	return c.swapIn(j, dir, name)
}

// dirAttributes gives a new directory its mode, whatever the umask, and the owner of its parent.
func (c *committing) dirAttributes(dir int, name string, mode uint32) error {
	if err := chmodAt(dir, name, mode); err != nil {
		return err
	}
	return chownLike(dir, name, nil)
}

// chownLike gives a new file the owner of what it replaces or else of its directory, where we may.
func chownLike(dir int, name string, host *hostFile) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var uid, gid int
	if host != nil && host.Kind != Absent {
		uid, gid = host.UID, host.GID
	} else {
		var st unix.Stat_t
		if err := retry(func() error { return unix.Fstatat(dir, "", &st, unix.AT_EMPTY_PATH) }); err != nil {
			return err
		}
		uid, gid = int(st.Uid), int(st.Gid)
	}
	return retry(func() error { return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) })
}

// stage puts the content of every file beside its target, and makes all of it durable.
func (c *committing) stage(ctx context.Context) error {
	n := 0
	c.buf = make([]byte, 256<<10)
	for i, j := range c.jobs {
		if op := j.op(); op != "put" && op != "symlink" {
			continue
		}
		c.e.progress(Progress{Phase: "stage", Path: j.Path, Done: i, Total: len(c.jobs)})
		if err := c.stageOne(ctx, j); err != nil {
			if fatal(err) {
				return err
			}
			c.failed(j, err)
			continue
		}
		c.record(j, "staged", "")
		n++
	}
	if err := c.e.fail("commit-written"); err != nil {
		return err
	}
	if n > 0 {
		if err := syncFS(int(c.h.file.Fd())); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.e.fail("commit-staged")
}

func (c *committing) stageOne(ctx context.Context, j *job) error {
	dir, _, err := c.h.at(j.Path)
	if err != nil {
		return err
	}
	if j.Want.Kind == Symlink {
		if err := retry(func() error { return unix.Symlinkat(j.Want.Target, dir, j.temp) }); err != nil {
			return err
		}
		return chownLike(dir, j.temp, &j.host)
	}
	for range 3 {
		stable, err := c.stageFile(ctx, j, dir)
		if err != nil {
			_ = unlinkAt(dir, j.temp, 0)
			return err
		}
		if stable {
			return nil
		}
		if err := unlinkAt(dir, j.temp, 0); err != nil {
			return err
		}
	}
	return errUnstable
}

// stageFile copies one file of the merged view, or an object, beside its target. What it says of the file is of
// exactly the bytes that were copied.
func (c *committing) stageFile(ctx context.Context, j *job, dir int) (stable bool, err error) {
	src, id, still, err := c.source(j)
	if err != nil {
		return false, err
	}
	defer src.Close()
	fd, err := openAt(dir, j.temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	dst := os.NewFile(uintptr(fd), j.temp)
	defer func() { err = errors.Join(err, dst.Close()) }()
	sum := sha256.New()
	holes := &holeWriter{f: dst}
	if _, err := io.CopyBuffer(io.MultiWriter(holes, sum), onlyReader{src}, c.buf); err != nil {
		return false, err
	}
	if err := holes.finish(); err != nil {
		return false, err
	}
	if err := chownLike(dir, j.temp, &j.host); err != nil {
		return false, err
	}
	if j.host.Kind == File {
		copyXattrs(dir, j.Path, fd)
	}
	if err := retry(func() error { return unix.Fchmod(fd, j.Want.Mode) }); err != nil {
		return false, err
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(id.Mtime)}
	if err := retry(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd), ts, 0) }); err != nil {
		return false, err
	}
	j.step.SHA256, j.step.Mtime = [32]byte(sum.Sum(nil)), id.Mtime
	if j.src == j.Path {
		j.change.Identity = id
	}
	return still(id), nil
}

// onlyReader hides everything but Read.
type onlyReader struct{ io.Reader }

// holeWriter leaves blocks of zeros out.
type holeWriter struct {
	f    *os.File
	size int64
	hole bool // the last block was left out
}

const holeBlock = 64 << 10

var zeros [holeBlock]byte

func (w *holeWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		b := p[n:min(n+holeBlock, len(p))]
		w.hole = len(b) == holeBlock && string(b) == string(zeros[:])
		if !w.hole {
			if _, err := w.f.WriteAt(b, w.size); err != nil {
				return n, err
			}
		}
		n += len(b)
		w.size += int64(len(b))
	}
	return len(p), nil
}

func (w *holeWriter) finish() error {
	if w.hole {
		return w.f.Truncate(w.size)
	}
	return nil
}

// applied reports a step that is done. The preimage, if it has one, goes to the objects after it
// is recorded.
func (c *committing) applied(j *job, preimage [32]byte) {
	j.step.Before.Object = preimage
	c.record(j, "applied", "")
	what := "committed"
	if c.kind == kindRestore {
		what = "restored"
	}
	c.log(j.Path, what, j.step.Op)
	c.r.Applied = append(c.r.Applied, Applied{Path: j.Path, Op: j.step.Op, Preimage: ObjectName(preimage)})
	if preimage != [32]byte{} {
		c.todo = append(c.todo, takeable{j, preimage})
	}
}

// beforeOf is what a hostFile is in the journal.
func beforeOf(f hostFile) journal.Before {
	b := journal.Before{Kind: journal.Kind(f.Kind), Mode: f.Mode, Mtime: f.ID.Mtime, Target: f.Target}
	if f.Kind == File {
		b.Size = f.ID.Size
	}
	return b
}
