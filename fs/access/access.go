// Package access decides which paths of a home a sandbox may see and send back.
//
// Decisions are by name only: sockets, fifos and devices are refused by type, elsewhere. Paths are
// home-relative slash paths, raw bytes, "." for the home itself.
package access

import (
	"errors"
	"fmt"
	"strings"
)

// Level says what a sandbox may do with a path.
type Level uint8

// The levels, each including what the one before allows.
const (
	None   Level = iota // host content is invisible; what the sandbox makes there stays in upper
	Read                // shown and pushed; changes stay in upper and are reported
	Review              // shown and pushed; changes are committed only by name
	Write               // shown, pushed and committed at sync back
)

// String returns the level's name as rules spell it.
func (l Level) String() string {
	switch l {
	case None:
		return "none"
	case Read:
		return "read"
	case Review:
		return "review"
	case Write:
		return "write"
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// ParseLevel is the inverse of String.
func ParseLevel(s string) (Level, error) {
	for l := None; l <= Write; l++ {
		if s == l.String() {
			return l, nil
		}
	}
	return None, fmt.Errorf("level %q: want none, read, review or write", s)
}

// A Rule gives a level to the paths that its glob matches.
type Rule struct {
	Glob  string
	Level Level
}

// ParseRule reads GLOB=LEVEL, as --rule takes it.
func ParseRule(s string) (Rule, error) {
	i := strings.LastIndexByte(s, '=')
	if i < 0 {
		return Rule{}, fmt.Errorf("rule %q: want GLOB=LEVEL", s)
	}
	l, err := ParseLevel(s[i+1:])
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", s, err)
	}
	return Rule{Glob: s[:i], Level: l}, nil
}

// Options say how to make a Policy.
type Options struct {
	Preset          string   // hermes (the default) or all
	CredentialFiles []string // shown read-only, see CredentialFiles
	Rules           []Rule   // later ones win
}

// A Policy gives every path of a home its level. It is immutable and safe concurrently.
type Policy struct{}

var errUnfinished = errors.New("not written yet")

// New makes a policy. The error names the rule that is wrong.
func New(Options) (*Policy, error) { return nil, errUnfinished }

// CredentialFiles reads terminal.credential_files of a home's config.yaml.
func CredentialFiles([]byte) ([]string, error) { return nil, errUnfinished }

// Level returns the level of the file or directory at path.
func (p *Policy) Level(string) Level { return None }

// Enter tells whether something below dir may be above None.
func (p *Policy) Enter(string) bool { return false }

// Hidden tells whether path is one of hermesfs's own names.
func (p *Policy) Hidden(string) bool { return false }

// Scope says which paths of the sandbox a scan looks at.
func (p *Policy) Scope() (roots, prunePaths, pruneNames []string) { return nil, nil, nil }
