package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// batchSize is how many steps are recorded in the journal at once.
const batchSize = 2048

// Commit takes what the upper layer changes to the home, under the home's lock, for which it
// waits. Once the plan is in the journal it goes on to the end, whatever becomes of ctx: cancelling
// stops only what comes before. A path that cannot be committed is a Problem and stays in upper.
// The policy Merge is Theirs as long as no text bases are kept.
func (e *Engine) Commit(ctx context.Context, o CommitOptions) (CommitReport, error) {
	done, err := e.take(ctx)
	if err != nil {
		return CommitReport{}, err
	}
	defer done()
	r, err := e.commit(ctx, o)
	if err != nil {
		return r, fmt.Errorf("commit: %w", err)
	}
	return r, nil
}

func (e *Engine) commit(ctx context.Context, o CommitOptions) (r CommitReport, err error) {
	idle, err := e.nothingToCommit(ctx)
	if err != nil || idle {
		return r, err
	}
	h, err := openHome(e.o.Home)
	if err != nil {
		return r, err
	}
	defer h.Close()
	h.noExchange = e.noExchange
	lock, err := e.lock(ctx, h)
	if err != nil {
		return r, err
	}
	defer lock.Close()
	if r.Recovered, _, err = e.finishOpen(ctx, h); err != nil {
		return r, err
	}
	return r, e.commitLocked(ctx, h, o, &r)
}

// nothingToCommit says whether the home need not even be locked.
func (e *Engine) nothingToCommit(ctx context.Context) (bool, error) {
	open, err := e.openCommits()
	if err != nil || len(open) > 0 {
		return false, err
	}
	errAny := errors.New("something")
	err = e.o.Tree.Changes(ctx, func(layer.Change) error { return errAny })
	if errors.Is(err, errAny) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list changes: %w", err)
	}
	return true, nil
}

// committing is a commit that is being carried out.
type committing struct {
	e    *Engine
	h    *home
	r    *CommitReport
	kind string // of the commit in the journal
	seq  uint64
	jobs []*job // in the order of their steps
	open map[int]journal.Step
	todo []takeable

	events []journal.Event
	late   []*job // directories whose mode comes last

	buf      []byte // for copying
	patience int    // how often a file that is open for writing may still be looked at again
}

// takeable is a preimage that goes to the objects once its step is in the journal.
type takeable struct {
	j   *job
	sum [32]byte
}

func (e *Engine) commitLocked(ctx context.Context, h *home, o CommitOptions, r *CommitReport) error {
	todo, rest, err := e.plan(ctx, h, o, r)
	if err != nil {
		return err
	}
	// From here on there is no way back, only forward.
	ctx = context.WithoutCancel(ctx)
	c := &committing{e: e, h: h, r: r, kind: kindCommit, jobs: todo, open: map[int]journal.Step{}, patience: openLooks}
	if len(todo) > 0 {
		if err := c.run(ctx); err != nil {
			// Give the home back as it was, but for the steps that are done.
			if _, _, rerr := e.recoverLocked(ctx, h, false); rerr != nil {
				e.log.Error("a commit stays open until the next one", "seq", c.seq, "error", rerr.Error())
			}
			return err
		}
	}
	return c.leaveUpper(ctx, append(todo, rest...))
}

// run carries the plan out, see the package comment for the order.
func (c *committing) run(ctx context.Context) error {
	e := c.e
	slices.SortStableFunc(c.jobs, compareJobs)
	steps := make([]journal.Step, len(c.jobs))
	for i, j := range c.jobs {
		j.index, j.step = i, j.plan()
		steps[i] = j.step
	}
	var err error
	c.seq, err = e.o.Journal.BeginCommit(journal.Commit{
		Mount: e.o.Name, Home: e.o.Home, StartedAt: e.clock.Now(), Open: true, Kind: c.kind, Steps: len(steps),
	}, steps)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	c.r.Seq = c.seq
	if err := e.fail("commit-planned"); err != nil {
		return err
	}
	owner, err := e.owner()
	if err != nil {
		return err
	}
	for _, j := range c.jobs {
		j.temp = tempName(owner, c.seq, j.index)
	}
	for _, phase := range []func(context.Context) error{c.makeDirs, c.stage, c.exchange} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(syncFS(int(c.h.file.Fd())), e.objects.sync()); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := e.fail("commit-synced"); err != nil {
		return err
	}
	if err := e.o.Journal.EndCommit(c.seq, e.clock.Now()); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	e.log.Info("committed", "seq", c.seq, "applied", len(c.r.Applied), "conflicts", len(c.r.Conflicts), "problems", len(c.r.Problems))
	return e.fail("commit-ended")
}

// tempName is the name of a staged file, and then of what it replaced, until that is an object. A
// killed commit is cleaned up by it.
func tempName(owner string, seq uint64, index int) string {
	return fmt.Sprintf(".hermesfs-%s-%d-%d", owner, seq, index)
}

// owner tells the temporary names of this mount from those of others.
func (e *Engine) owner() (string, error) {
	meta, err := e.o.Journal.Meta()
	if err != nil {
		return "", fmt.Errorf("read journal: %w", err)
	}
	id := meta.MountID
	if id == "" {
		id = e.o.Name
	}
	return strings.ReplaceAll(id[:min(len(id), 16)], "/", "_"), nil
}

// compareJobs puts steps in the order in which they are applied: new directories, then files,
// what was deleted, what replaces a directory, and modes at the end.
func compareJobs(a, b *job) int {
	if d := a.phase() - b.phase(); d != 0 {
		return d
	}
	if a.Want.Kind == Absent {
		return comparePaths(b.Path, a.Path)
	}
	return comparePaths(a.Path, b.Path)
}

const (
	phaseMkdir = iota
	phasePut
	phaseDelete
	phaseRmdir // once what was in it is in the objects
	phaseReplaceDir
	phaseChmod
)

func (j *job) phase() int {
	switch op := j.op(); {
	case op == "mkdir":
		return phaseMkdir
	case op == "delete":
		return phaseDelete
	case op == "rmdir":
		return phaseRmdir
	case op == "chmod":
		return phaseChmod
	case j.host.Kind == Dir:
		return phaseReplaceDir
	}
	return phasePut
}

// op is what a step does.
func (j *job) op() string {
	switch {
	case j.Want.Kind == Absent && j.host.Kind == Dir:
		return "rmdir"
	case j.Want.Kind == Absent:
		return "delete"
	case j.Want.Kind == j.host.Kind && j.Want.Kind != Symlink && j.Want.sameContent(j.Ours):
		return "chmod"
	case j.Want.Kind == Dir:
		return "mkdir"
	case j.Want.Kind == Symlink:
		return "symlink"
	}
	return "put"
}

// plan is the step as the journal gets it before anything happens.
func (j *job) plan() journal.Step {
	s := journal.Step{
		Path: j.Path, Op: j.op(), Kind: journal.Kind(j.Want.Kind), Mode: j.Want.Mode, Target: j.Want.Target, Object: j.object,
		Before: journal.Before{Kind: journal.Kind(j.host.Kind), Mode: j.host.Mode, Mtime: j.host.ID.Mtime, Target: j.host.Target},
	}
	if j.host.Kind == File {
		s.Before.Size = j.host.ID.Size
	}
	if j.Want.Kind == File {
		s.Mtime = j.change.Mtime
	}
	return s
}

// record notes how far a step is; it is in the journal with the next flush.
func (c *committing) record(j *job, result, message string) {
	j.step.Result, j.step.Message = result, message
	c.open[j.index] = j.step
}

// flush writes what was recorded, then lets the preimages go to the objects.
func (c *committing) flush() error {
	if len(c.open) > 0 {
		if err := c.e.o.Journal.SetSteps(c.seq, c.open); err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
		clear(c.open)
	}
	if err := c.e.fail("commit-recorded"); err != nil {
		return err
	}
	for _, t := range c.todo {
		dir, _, err := c.h.at(t.j.Path)
		if err == nil {
			err = c.e.objects.take(dir, t.j.temp, t.sum)
		}
		if err != nil {
			// It stays where it is under its temporary name, and the commit stays open.
			return err
		}
		if err := c.e.fail("commit-taken"); err != nil {
			return err
		}
	}
	c.todo = c.todo[:0]
	return nil
}

// failed makes a path a problem: it stays in upper.
func (c *committing) failed(j *job, err error) {
	c.r.Problems = append(c.r.Problems, Problem{j.Path, err.Error()})
	c.record(j, "problem", err.Error())
}
