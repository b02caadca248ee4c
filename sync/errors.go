package syncer

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers branch on with errors.Is.
var (
	// ErrIncomplete: not everything of the sandbox came home. Whatever did is kept, another Pull
	// or SyncBack goes on from there.
	ErrIncomplete = errors.New("sync back is incomplete")
	// ErrRootEmptied: the other side's whole tree is gone, which is a fault more often than a wish.
	ErrRootEmptied = errors.New("the whole tree is gone")
	// ErrMassDelete: more would be deleted at once than looks wanted.
	ErrMassDelete = errors.New("too many deletions at once")
	// ErrNoChange: the upper layer has nothing at a path that was named.
	ErrNoChange = errors.New("nothing to discard")
	// ErrNoHome: the home is not there, or is no directory.
	ErrNoHome = errors.New("home is not there")
)

// A StopError stopped an operation before it changed anything, to ask.
type StopError struct {
	Op      string // pull or push
	Flag    string // what says yes
	Deletes int    // files that would be deleted
	Of      int    // files in base
	Err     error  // ErrRootEmptied or ErrMassDelete
}

// Error says what would happen and which flag says yes to it.
func (e *StopError) Error() string {
	return fmt.Sprintf("%s stopped: %v: it would delete %d of %d files; %s says yes", e.Op, e.Err, e.Deletes, e.Of, e.Flag)
}

// Unwrap returns the reason.
func (e *StopError) Unwrap() error { return e.Err }

// An IncompleteError is a pull that did not come through. It is ErrIncomplete.
type IncompleteError struct {
	Attempts int
	Err      error // of the last attempt
}

// Error names the attempts and the last cause.
func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%v after %s: %v", ErrIncomplete, plural(e.Attempts, "attempt"), e.Err)
}

// Unwrap returns ErrIncomplete and the cause.
func (e *IncompleteError) Unwrap() []error { return []error{ErrIncomplete, e.Err} }

// A NoChangeError names paths at which the upper layer has nothing. It is ErrNoChange.
type NoChangeError struct{ Paths []string }

// Error quotes the paths.
func (e *NoChangeError) Error() string {
	quoted := make([]string, len(e.Paths))
	for i, p := range e.Paths {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("%v at %s", ErrNoChange, strings.Join(quoted, ", "))
}

// Unwrap returns ErrNoChange.
func (e *NoChangeError) Unwrap() error { return ErrNoChange }

// A NotInCommitError names paths that a commit did not change.
type NotInCommitError struct {
	Seq   uint64
	Paths []string
}

// Error quotes the paths.
func (e *NotInCommitError) Error() string {
	quoted := make([]string, len(e.Paths))
	for i, p := range e.Paths {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("commit %d changed nothing at %s", e.Seq, strings.Join(quoted, ", "))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
