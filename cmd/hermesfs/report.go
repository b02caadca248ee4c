package main

import (
	"fmt"
	"strings"

	syncer "hermesfs/sync"
)

// warnProblems writes one line for each path that could not be handled.
func warnProblems(e *env, name string, problems []syncer.Problem) {
	for _, p := range problems {
		e.say("%s: problem: %s: %s", name, quote(p.Path), p.Message)
	}
}

func warnConflicts(e *env, name string, conflicts []syncer.Conflict) {
	for _, c := range conflicts {
		how := "changed on both sides"
		if c.Winner == string(syncer.Restored) {
			how = "changed since"
		}
		text := fmt.Sprintf("%s %s (%s), %s won", quote(c.Path), how, c.Kind, winnerText(c.Winner))
		switch {
		case c.Beside != "":
			text += ", the other is " + quote(c.Beside)
		case c.Preimage != "":
			text += ", the other is kept as object " + c.Preimage
		}
		e.say("%s: conflict: %s", name, text)
	}
}

func winnerText(w string) string {
	switch w {
	case "theirs":
		return "the sandbox's version"
	case string(syncer.Restored):
		return "the restored version"
	case "ours":
		return "the home's version"
	}
	return w
}

func warnPull(e *env, name string, r syncer.PullReport) {
	if r.Replaced {
		e.say("%s: warning: this is not the sandbox that was pushed to; nothing missing there counts as deleted", name)
	}
	for _, p := range r.Kept {
		e.say("%s: kept: %s was deleted on one side and edited on the other", name, quote(p))
	}
	for _, p := range r.ReadOnly {
		e.say("%s: read-only: %s was changed in the sandbox and stays in the mount's upper layer", name, quote(p))
	}
	warnConflicts(e, name, r.Conflicts)
	warnProblems(e, name, r.Problems)
}

func warnCommit(e *env, name string, r syncer.CommitReport) {
	for _, p := range r.Kept {
		e.say("%s: kept: %s was deleted on one side and edited on the other", name, quote(p))
	}
	for _, p := range r.Refused {
		e.say("%s: refused: %s: %s", name, quote(p.Path), p.Reason)
	}
	if n := len(r.Review); n > 0 {
		e.say("%s: %s to review: 'hermesfs diff %s', then 'hermesfs commit %s PATH…' or 'hermesfs discard %s PATH…'",
			name, count(n, "path"), name, name, name)
	}
	warnConflicts(e, name, r.Conflicts)
	warnProblems(e, name, r.Problems)
}

func warnSyncBack(e *env, name string, r syncer.SyncBackReport) {
	warnPull(e, name, r.Pull)
	warnCommit(e, name, r.Commit)
}

func pushText(r syncer.PushReport, backend string) string {
	if backend == noBackend {
		return "no sandbox to push to"
	}
	parts := []string{fmt.Sprintf("pushed %s, %s", count(len(r.Pushed), "path"), bytesText(r.Bytes))}
	if n := len(r.Deleted); n > 0 {
		parts = append(parts, fmt.Sprintf("deleted %d", n))
	}
	if n := len(r.Refused); n > 0 {
		parts = append(parts, fmt.Sprintf("left %d that changed there", n))
	}
	return strings.Join(parts, ", ") + " (" + quote(backend) + ")"
}

func pullText(r syncer.PullReport) string {
	text := fmt.Sprintf("pulled %s, %s", count(len(r.Pulled), "path"), bytesText(r.Bytes))
	if n := len(r.Deleted); n > 0 {
		text += fmt.Sprintf(", deleted %d", n)
	}
	if r.Attempts > 1 {
		text += fmt.Sprintf(" in %d attempts", r.Attempts)
	}
	return text
}

func commitText(r syncer.CommitReport, home string) string {
	if len(r.Applied) == 0 {
		return "nothing to commit to " + quote(home)
	}
	text := fmt.Sprintf("committed %s to %s", count(len(r.Applied), "path"), quote(home))
	if r.Seq != 0 {
		text += fmt.Sprintf(" (commit %d)", r.Seq)
	}
	return text
}

func syncBackText(r syncer.SyncBackReport, home string) string {
	if n := len(r.Pull.Pulled) + len(r.Pull.Deleted); n == 0 && len(r.Commit.Applied) == 0 {
		return "nothing came home to " + quote(home)
	}
	return pullText(r.Pull) + ", " + commitText(r.Commit, home)
}
