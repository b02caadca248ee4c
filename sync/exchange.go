package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// A file that a process of the host has open for writing is looked at again every openPoll, at
// most openLooks times in one commit (2 s), then it is left for the next one.
const (
	openPoll  = 20 * time.Millisecond
	openLooks = 100
)

var (
	errOpen     = errors.New("a process of the host has it open for writing; it stays for the next commit")
	errNotEmpty = errors.New("the home's directory has something in it that the mount does not know")
	errHostRace = errors.New("the home's version changed during the commit; it stays for the next one")
)

// exchange gives every staged file its name, and looks at what comes out: that is the preimage,
// and if it is not what the plan saw, a conflict.
func (c *committing) exchange(ctx context.Context) error {
	phase := phasePut
	for i, j := range c.jobs {
		if j.phase() == phaseMkdir || j.step.Result == "problem" {
			continue
		}
		if j.phase() != phase || len(c.open) >= batchSize {
			phase = j.phase()
			if err := c.flush(); err != nil {
				return err
			}
		}
		c.e.progress(Progress{Phase: "commit", Path: j.Path, Done: i, Total: len(c.jobs)})
		if err := c.applyOne(j); err != nil {
			if fatal(err) {
				return err
			}
			c.failed(j, err)
		}
		if err := c.e.fail("commit-applied"); err != nil {
			return err
		}
	}
	for _, j := range c.late {
		dir, name, err := c.h.at(j.Path)
		if err == nil {
			err = chmodAt(dir, name, j.Want.Mode)
		}
		if err != nil {
			c.failed(j, err)
		}
	}
	return c.flush()
}

func (c *committing) applyOne(j *job) error {
	dir, name, err := c.h.at(j.Path)
	if err != nil {
		return err
	}
	if j.Clash == EditDelete {
		c.kept(j)
	}
	switch j.step.Op {
	case "delete":
		return c.remove(j, dir, name)
	case "rmdir":
		return c.removeDir(j)
	case "chmod":
		return c.chmod(j, dir, name)
	}
	if err := c.waitClosed(dir, name); err != nil {
		return errors.Join(err, unlinkAt(dir, j.temp, 0))
	}
	return c.swapIn(j, dir, name)
}

// swapIn gives the staged file, symlink or directory its name.
func (c *committing) swapIn(j *job, dir int, name string) error {
	there := j.host.Kind != Absent
	for range 10 {
		var err error
		if there {
			err = c.h.swap(dir, j.temp, name)
		} else {
			err = renameAt(dir, j.temp, name, unix.RENAME_NOREPLACE)
		}
		switch {
		case errors.Is(err, unix.ENOENT) && there, errors.Is(err, unix.EEXIST) && !there:
			there = !there // a process of the host made or removed it meanwhile
			continue
		case err != nil:
			return errors.Join(err, c.discardTemp(j, dir))
		case !there:
			c.applied(j, [32]byte{})
			if j.host.Kind != Absent {
				c.kept(j)
			}
			return nil
		}
		if err := c.e.fail("commit-swapped"); err != nil {
			return err
		}
		return c.cameOut(j, dir, name)
	}
	return errors.Join(errHostRace, c.discardTemp(j, dir))
}

// discardTemp removes what was staged and is not wanted any more.
func (c *committing) discardTemp(j *job, dir int) error {
	flags := 0
	if j.Want.Kind == Dir {
		flags = unix.AT_REMOVEDIR
	}
	if err := unlinkAt(dir, j.temp, flags); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// cameOut looks at what stood at a path, which the temporary name has now.
func (c *committing) cameOut(j *job, dir int, name string) error {
	// Whoever opened it before the exchange may still write: then it is not finished.
	busy := c.waitClosed(dir, j.temp)
	came, err := hostFileAt(dir, j.temp)
	if err != nil {
		return err
	}
	if busy != nil || came.Kind == otherKind {
		if err := c.swapBack(j, dir, name); err != nil {
			return err
		}
		return errOpen
	}
	if came.Kind == Dir {
		return c.dirCameOut(j, dir, name)
	}
	if came.sameFile(j.host) {
		return c.keepCame(j, dir, came)
	}
	return c.hostSaved(j, dir, name, came)
}

// dirCameOut removes a directory that was replaced, if it is empty.
func (c *committing) dirCameOut(j *job, dir int, name string) error {
	c.h.forgetAt(j.Path)
	err := unlinkAt(dir, j.temp, unix.AT_REMOVEDIR)
	if err == nil {
		c.applied(j, [32]byte{})
		return nil
	}
	if err := c.swapBack(j, dir, name); err != nil {
		return err
	}
	if errors.Is(err, unix.ENOTEMPTY) {
		return errNotEmpty
	}
	return err
}

// swapBack gives the home its version back. Should a process of the host have saved onto ours in
// between, then that is what comes out, and it goes back in turn: it is the newer one.
func (c *committing) swapBack(j *job, dir int, name string) error {
	for range 10 {
		if err := c.h.swap(dir, j.temp, name); err != nil {
			return err
		}
		out, err := hostFileAt(dir, j.temp)
		if err != nil {
			return err
		}
		if c.isStaged(j, dir, out) {
			return c.discardTemp(j, dir)
		}
	}
	return errHostRace
}

// isStaged says whether what stands at the temporary name is what was staged.
func (c *committing) isStaged(j *job, dir int, f hostFile) bool {
	switch {
	case f.Kind != j.Want.Kind:
		return false
	case f.Kind == Symlink:
		return f.Target == j.Want.Target
	case f.Kind == Dir:
		return true
	}
	return f.ID.Mtime == j.step.Mtime && c.sha256At(dir, j.temp) == j.step.SHA256
}

func (c *committing) sha256At(dir int, name string) (sum [32]byte) {
	f, err := openFileAt(dir, name)
	if err != nil {
		return sum
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum
	}
	return [32]byte(h.Sum(nil))
}

// keepCame makes what came out the preimage of a step that is done.
func (c *committing) keepCame(j *job, dir int, came hostFile) error {
	object, err := c.shelve(dir, j.temp, came)
	if err != nil {
		return err
	}
	j.step.Before = beforeOf(came)
	if j.wasOpen {
		j.step.Conflict = string(j.Clash)
	}
	c.applied(j, object)
	if j.wasOpen && (j.Path == j.Root || came.Kind == File) {
		c.conflict(j, Conflict{
			Path: j.Path, Kind: string(j.Clash), Where: "home", Winner: string(Theirs), Preimage: ObjectName(object),
		})
	}
	return nil
}

// shelve prepares what stands at a temporary name for the objects: a file by its hash, a symlink,
// which the journal has, by removing it.
func (c *committing) shelve(dir int, temp string, came hostFile) (sum [32]byte, err error) {
	if came.Kind != File {
		return sum, unlinkAt(dir, temp, 0)
	}
	f, err := openFileAt(dir, temp)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := blake3.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("read preimage: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}

// hostSaved decides a path that a process of the host saved after the plan was made. Both
// versions are in hand.
func (c *committing) hostSaved(j *job, dir int, name string, came hostFile) error {
	if came.Kind == j.host.Kind && sameBytes(came.ID, j.host.ID) { // only the mode
		if came.Kind == File && j.Want.Mode == j.host.Mode&permBits {
			if err := chmodAt(dir, name, came.Mode&permBits); err != nil {
				return err
			}
		}
		return c.keepCame(j, dir, came)
	}
	if came.Kind == File && j.Want.Kind == File && c.sha256At(dir, j.temp) == j.step.SHA256 {
		return c.keepCame(j, dir, came) // the same edit
	}
	conflict := Conflict{Path: j.Path, Kind: string(ContentClash), Where: "home"}
	switch j.policy {
	case Ours, Both:
		return c.hostWins(j, dir, name, conflict)
	}
	object, err := c.shelve(dir, j.temp, came)
	if err != nil {
		return err
	}
	j.step.Before, j.step.Conflict = beforeOf(came), conflict.Kind
	c.applied(j, object)
	conflict.Winner, conflict.Preimage = string(Theirs), ObjectName(object)
	c.conflict(j, conflict)
	return nil
}

// hostWins puts the version that a process of the host saved back, and keeps ours.
func (c *committing) hostWins(j *job, dir int, name string, conflict Conflict) error {
	conflict.Winner = string(Ours)
	if j.Want.Kind == File {
		f, _, err := c.e.o.Tree.OpenFile(j.src)
		if err != nil {
			return err
		}
		defer f.Close()
		sum, _, err := c.e.objects.Put(f)
		if err != nil {
			return err
		}
		conflict.Preimage = ObjectName(sum)
	}
	if err := c.swapBack(j, dir, name); err != nil {
		return err
	}
	j.step.Conflict = conflict.Kind
	c.record(j, "skipped", "a process of the host saved it during the commit")
	c.conflict(j, conflict)
	return nil
}

// remove takes a file or symlink out of the home.
func (c *committing) remove(j *job, dir int, name string) error {
	if err := c.waitClosed(dir, name); err != nil {
		return err
	}
	err := renameAt(dir, name, j.temp, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOENT) {
		c.applied(j, [32]byte{})
		return nil
	}
	if err != nil {
		return err
	}
	came, err := hostFileAt(dir, j.temp)
	if err != nil {
		return err
	}
	if came.sameFile(j.host) && c.waitClosed(dir, j.temp) == nil {
		return c.keepCame(j, dir, came)
	}
	// A process of the host changed it: the edit beats the deletion.
	err = renameAt(dir, j.temp, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return c.keepCame(j, dir, came) // and saved it once more: this one is a preimage
	}
	if err != nil {
		return err
	}
	c.record(j, "skipped", "a process of the host changed it during the commit")
	c.kept(j)
	return nil
}

func (c *committing) removeDir(j *job) error {
	c.h.forgetAt(j.Path)
	dir, name, err := c.h.at(j.Path)
	if err != nil {
		return err
	}
	err = unlinkAt(dir, name, unix.AT_REMOVEDIR)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		c.applied(j, [32]byte{})
		return nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		c.record(j, "skipped", errNotEmpty.Error())
		c.kept(j)
		return nil
	}
	return err
}

// chmod changes the mode alone.
func (c *committing) chmod(j *job, dir int, name string) error {
	now, err := hostFileAt(dir, name)
	if err != nil {
		return err
	}
	if now.Kind != j.host.Kind || now.Kind == File && !now.sameFile(j.host) {
		return errHostRace
	}
	mode := j.Want.Mode
	if now.Kind == Dir {
		mode |= now.Mode &^ permBits // setgid and sticky are the home's own
	}
	if err := chmodAt(dir, name, mode); err != nil {
		return err
	}
	if j.wasOpen && (j.policy == Ours || j.policy == Both) {
		// The home's content, and the mode that the other side gave it.
		if err := c.oursWon(j); err != nil {
			return err
		}
		c.applied(j, [32]byte{})
		return nil
	}
	if j.wasOpen {
		j.step.Conflict = string(j.Clash)
	}
	c.applied(j, [32]byte{})
	if j.wasOpen {
		c.conflict(j, Conflict{Path: j.Path, Kind: string(j.Clash), Where: "home", Winner: string(Theirs)})
	}
	return nil
}

// waitClosed waits while a process has a file open for writing, and gives up in the end: errOpen.
func (c *committing) waitClosed(dir int, name string) error {
	for {
		if !openForWriting(dir, name) {
			return nil
		}
		if c.patience <= 0 {
			return errOpen
		}
		c.patience--
		_ = systemClock{}.Sleep(context.Background(), openPoll) // real time: another process is waited for
	}
}
