package journal

import (
	"errors"
	"time"
)

// Before is what stood in the home at a path before a commit's step; Kind 0 means nothing did.
type Before struct {
	Kind   Kind
	Mode   uint32
	Mtime  int64
	Object [32]byte // BLAKE3 of the content
	Size   int64
	Target string
}

// Step is one path of a commit.
type Step struct {
	Path, Op                  string // Op: put, delete, mkdir, rmdir, symlink, chmod
	Kind                      Kind
	Mode                      uint32
	Mtime                     int64
	SHA256                    [32]byte
	Object                    [32]byte
	Target                    string
	Before                    Before
	Result, Conflict, Message string // Result: "" (planned), staged, applied, skipped, problem
}

// Commit is one commit into the home.
type Commit struct {
	Seq                uint64
	Mount, Home        string
	StartedAt, EndedAt time.Time
	Open               bool
	Kind               string // commit or restore
	Steps              int
}

// BeginCommit writes the commit and its plan, durably, and returns its number.
func (j *Journal) BeginCommit(c Commit, steps []Step) (seq uint64, err error) {
	return 0, errors.ErrUnsupported
}

// SetSteps replaces the named steps of a commit.
func (j *Journal) SetSteps(seq uint64, steps map[int]Step) error { return errors.ErrUnsupported }

// EndCommit marks the commit as done.
func (j *Journal) EndCommit(seq uint64, end time.Time) error { return errors.ErrUnsupported }

// Commits calls fn for each commit, oldest first.
func (j *Journal) Commits(fn func(Commit) error) error { return errors.ErrUnsupported }

// Steps calls fn for each step of a commit, in order.
func (j *Journal) Steps(seq uint64, fn func(i int, s Step) error) error { return errors.ErrUnsupported }

// ForgetCommits drops ended commits and their steps; an open one is refused.
func (j *Journal) ForgetCommits(seqs ...uint64) error { return errors.ErrUnsupported }
