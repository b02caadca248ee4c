package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"hermesfs/journal"
)

// Recover finishes commits that a killed process left open. It is safe at any time: what is
// staged and what was replaced are told apart by content, every preimage becomes an object, and
// what was not done yet is planned anew from the upper layer, which still has it.
func (e *Engine) Recover(ctx context.Context) (RecoverReport, error) {
	done, err := e.take(ctx)
	if err != nil {
		return RecoverReport{}, err
	}
	defer done()
	r, err := e.recoverAll(ctx)
	if err != nil {
		return r, fmt.Errorf("recover: %w", err)
	}
	return r, nil
}

func (e *Engine) recoverAll(ctx context.Context) (r RecoverReport, err error) {
	open, err := e.openCommits()
	if err != nil || len(open) == 0 {
		return r, err
	}
	var named []string
	for _, c := range open {
		if c.Kind == kindRestore {
			continue // its plan has what upper has of others
		}
		err := e.o.Journal.Steps(c.Seq, func(_ int, s journal.Step) error {
			named = append(named, s.Path)
			return nil
		})
		if err != nil {
			return r, fmt.Errorf("read journal: %w", err)
		}
	}
	h, err := openHome(e.o.Home)
	if err != nil {
		return r, err
	}
	defer h.Close()
	lock, err := e.lock(ctx, h)
	if err != nil {
		return r, err
	}
	defer lock.Close()
	if r.Commits, r.Restores, err = e.finishOpen(ctx, h); err != nil {
		return r, err
	}
	if len(named) == 0 {
		return r, nil
	}
	return r, e.commitLocked(ctx, h, CommitOptions{Paths: named, exact: true}, &r.Commit)
}

func (e *Engine) openCommits() ([]journal.Commit, error) {
	var open []journal.Commit
	err := e.o.Journal.Commits(func(c journal.Commit) error {
		if c.Open {
			open = append(open, c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return open, nil
}

// finishOpen cleans up after open commits and ends them, restores when they are done to the end.
// The caller holds the home's lock.
func (e *Engine) finishOpen(ctx context.Context, h *home) (seqs []uint64, restores []RestoreReport, err error) {
	seqs, unfinished, err := e.recoverLocked(ctx, h, true)
	if err != nil {
		return seqs, nil, err
	}
	for _, seq := range unfinished {
		list, err := e.wishesLeft(seq)
		if err != nil {
			return seqs, restores, err
		}
		r := RestoreReport{Of: seq}
		if err := e.restoreLocked(ctx, h, list, &r.CommitReport); err != nil {
			return seqs, restores, err
		}
		for _, p := range r.Problems {
			e.log.Warn("not restored", "seq", seq, "path", p.Path, "problem", p.Message)
		}
		restores = append(restores, r)
		if err := e.o.Journal.EndCommit(seq, e.clock.Now()); err != nil {
			return seqs, restores, fmt.Errorf("write journal: %w", err)
		}
	}
	return seqs, restores, nil
}

// recoverLocked cleans up after open commits and ends them; restores stay open, as unfinished, when
// keep says so. The caller holds the home's lock.
func (e *Engine) recoverLocked(ctx context.Context, h *home, keep bool) (seqs, unfinished []uint64, err error) {
	open, err := e.openCommits()
	if err != nil || len(open) == 0 {
		return nil, nil, err
	}
	owner, err := e.owner()
	if err != nil {
		return nil, nil, err
	}
	for _, c := range open {
		e.log.Warn("finishing a commit that was interrupted", "seq", c.Seq, "steps", c.Steps)
		changed := map[int]journal.Step{}
		err := e.o.Journal.Steps(c.Seq, func(i int, s journal.Step) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			was := s
			if err := e.recoverStep(h, tempName(owner, c.Seq, i), &s); err != nil {
				return fmt.Errorf("step %d, %q: %w", i, s.Path, err)
			}
			if s != was {
				changed[i] = s
			}
			return nil
		})
		if err != nil {
			return seqs, unfinished, err
		}
		if err := errors.Join(syncFS(int(h.file.Fd())), e.objects.sync()); err != nil {
			return seqs, unfinished, fmt.Errorf("sync: %w", err)
		}
		if len(changed) > 0 {
			if err := e.o.Journal.SetSteps(c.Seq, changed); err != nil {
				return seqs, unfinished, fmt.Errorf("write journal: %w", err)
			}
		}
		seqs = append(seqs, c.Seq)
		if keep && c.Kind == kindRestore {
			unfinished = append(unfinished, c.Seq)
			continue
		}
		if err := e.o.Journal.EndCommit(c.Seq, e.clock.Now()); err != nil {
			return seqs, unfinished, fmt.Errorf("write journal: %w", err)
		}
	}
	return seqs, unfinished, nil
}

// messageInterrupted is of a step that was not done when its commit was interrupted.
const messageInterrupted = "interrupted; the next commit did it"

// recoverStep sees to the temporary names of one step. What was staged is still in upper and is
// removed; anything else is a version of the home.
func (e *Engine) recoverStep(h *home, temp string, s *journal.Step) error {
	dir, name, err := h.at(s.Path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, temp := range []string{temp, temp + oldSuffix} {
		f, err := hostFileAt(dir, temp)
		if err != nil {
			return err
		}
		if f.Kind == Absent {
			continue
		}
		if err := e.recoverTemp(h, dir, temp, name, f, s); err != nil {
			return err
		}
	}
	if s.Result != "applied" && s.Result != "skipped" && s.Result != "problem" {
		s.Result, s.Message = "skipped", messageInterrupted
		if standsAt(dir, name, s) {
			s.Result, s.Message = "applied", "found done after an interruption"
		}
	}
	return nil
}

// recoverTemp sees to one temporary name.
func (e *Engine) recoverTemp(h *home, dir int, temp, name string, f hostFile, s *journal.Step) error {
	switch {
	case f.Kind == Dir:
		err := unlinkAt(dir, temp, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) { // the home's directory came out, with something in it
			h.forgetAt(s.Path)
			return h.swap(dir, temp, name)
		}
		return err
	case f.Kind == Symlink:
		if s.Op == "symlink" && f.Target == s.Target {
			return unlinkAt(dir, temp, 0)
		}
		s.Before = beforeOf(f)
		return unlinkAt(dir, temp, 0)
	case f.Kind != File:
		return unlinkAt(dir, temp, 0)
	}
	file, err := openFileAt(dir, temp)
	if err != nil {
		return err
	}
	defer file.Close()
	sha, object, err := bothSums(file)
	if err != nil {
		return err
	}
	staged := s.Op == "put" && (s.Result == "" || s.Result == "staged" && sha == s.SHA256)
	if staged {
		return unlinkAt(dir, temp, 0)
	}
	s.Before = beforeOf(f)
	s.Before.Object = object
	return e.objects.take(dir, temp, object)
}

// standsAt says whether the home has what a step was to bring.
func standsAt(dir int, name string, s *journal.Step) bool {
	f, err := hostFileAt(dir, name)
	if err != nil || journal.Kind(f.Kind) != s.Kind {
		return false
	}
	switch f.Kind {
	case Symlink:
		return f.Target == s.Target
	case File:
		file, err := openFileAt(dir, name)
		if err != nil {
			return false
		}
		defer file.Close()
		sha, _, err := bothSums(file)
		return err == nil && (s.Op == "chmod" || sha == s.SHA256) && f.Mode&permBits == s.Mode&permBits
	}
	return true
}

func bothSums(r io.Reader) (sha, object [32]byte, err error) {
	s, b := sha256.New(), blake3.New()
	if _, err := io.Copy(io.MultiWriter(s, b), r); err != nil {
		return sha, object, err
	}
	return [32]byte(s.Sum(nil)), [32]byte(b.Sum(nil)), nil
}
