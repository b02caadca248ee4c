package syncer

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hermesfs/journal"
)

// A PastCommit is a commit as the journal has it.
type PastCommit struct {
	Seq       uint64     `json:"seq"`
	Kind      string     `json:"kind"` // commit or restore
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"` // null while it is open: it was interrupted, or runs
	Steps     int        `json:"steps"`
	Applied   int        `json:"applied"`
	Conflicts int        `json:"conflicts"`
	Problems  int        `json:"problems"`
}

// History lists the commits that the journal has, newest first.
func History(j *journal.Journal) ([]PastCommit, error) {
	var all []PastCommit
	err := j.Commits(func(c journal.Commit) error {
		p := PastCommit{Seq: c.Seq, Kind: c.Kind, StartedAt: c.StartedAt.UTC(), Steps: c.Steps}
		if !c.Open {
			end := c.EndedAt.UTC()
			p.EndedAt = &end
		}
		all = append(all, p)
		return j.Steps(c.Seq, func(_ int, s journal.Step) error {
			q := &all[len(all)-1]
			switch s.Result {
			case "applied":
				q.Applied++
			case "problem":
				q.Problems++
			}
			if s.Conflict != "" {
				q.Conflicts++
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	slices.Reverse(all)
	return all, nil
}

// A PastConflict is a conflict that was decided.
type PastConflict struct {
	At  time.Time `json:"at"`
	Seq uint64    `json:"seq,omitempty"` // of the commit that replaced the version that lost; 0 when none did
	Conflict
}

// Conflicts lists the conflicts that the journal knows of, newest first: from its log, which is
// bounded, and from the steps of commits.
func Conflicts(j *journal.Journal) ([]PastConflict, error) {
	var all []PastConflict
	at := map[string][]int{} // by path
	err := j.Log("", func(ev journal.Event) error {
		if c, ok := loggedConflict(ev); ok {
			at[ev.Path] = append(at[ev.Path], len(all))
			all = append(all, PastConflict{At: ev.At.UTC(), Conflict: c})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	err = j.Commits(func(c journal.Commit) error {
		return j.Steps(c.Seq, func(_ int, s journal.Step) error {
			if s.Conflict == "" {
				return nil
			}
			for _, i := range at[s.Path] {
				if all[i].Seq == 0 && stepLogged(c, s, all[i]) {
					all[i].Seq, all[i].Where = c.Seq, "home"
					return nil
				}
			}
			all = append(all, stepConflict(c, s))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	slices.SortStableFunc(all, func(a, b PastConflict) int { return b.At.Compare(a.At) })
	return all, nil
}

// stepLogged says whether a line of the log is of a step.
func stepLogged(c journal.Commit, s journal.Step, p PastConflict) bool {
	return p.Kind == s.Conflict && !p.At.Before(c.StartedAt) && (c.Open || !p.At.After(c.EndedAt)) &&
		(s.Result != "applied" || p.Preimage == ObjectName(s.Before.Object))
}

// stepConflict is what a step alone tells.
func stepConflict(c journal.Commit, s journal.Step) PastConflict {
	p := PastConflict{At: c.StartedAt.UTC(), Seq: c.Seq, Conflict: Conflict{
		Path: s.Path, Kind: s.Conflict, Where: "home", Winner: string(Ours), Preimage: ObjectName(s.Before.Object),
	}}
	switch {
	case s.Result != "applied":
		p.Preimage = ""
	case c.Kind == kindRestore:
		p.Winner = Restored
	default:
		p.Winner = string(Theirs)
	}
	return p
}

// loggedConflict reads a line of the log: of a conflict, or of a version of the sandbox that the
// first push replaced.
func loggedConflict(ev journal.Event) (Conflict, bool) {
	switch ev.What {
	case "conflict":
		c, ok := parseConflict(ev.Detail)
		c.Path = ev.Path
		return c, ok
	case "kept":
		if isObjectName(ev.Detail) {
			return Conflict{Path: ev.Path, Kind: string(ContentClash), Where: "sandbox", Winner: string(Ours), Preimage: ev.Detail}, true
		}
	}
	return Conflict{}, false
}

// describe is the conflict in one line of the journal's log; parseConflict reads it.
func (c Conflict) describe() string {
	s := c.Kind + " in " + c.Where + ", " + c.Winner + " won"
	if c.Preimage != "" {
		s += ", the other is object " + c.Preimage
	}
	if c.Beside != "" {
		s += fmt.Sprintf(", the other is %q", c.Beside)
	}
	return s
}

func parseConflict(s string) (c Conflict, ok bool) {
	c.Kind, s, _ = strings.Cut(s, ", ")
	c.Kind, c.Where, _ = strings.Cut(c.Kind, " in ") // older ones do not say where
	c.Winner, s, ok = strings.Cut(s, " won")
	if !ok {
		return Conflict{}, false
	}
	if beside, found := strings.CutPrefix(s, ", the other is object "); found {
		c.Preimage, s, _ = strings.Cut(beside, ",")
		if !isObjectName(c.Preimage) {
			return Conflict{}, false
		}
	}
	if _, quoted, found := strings.Cut(s, "the other is "); found {
		var err error
		if c.Beside, err = strconv.Unquote(quoted); err != nil {
			return Conflict{}, false
		}
	}
	return c, true
}

// ParseObject reads what ObjectName writes.
func ParseObject(name string) (sum [32]byte, ok bool) {
	if !isObjectName(name) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(name))
	return sum, err == nil
}

func isObjectName(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
