// Package access decides which paths of a home a sandbox may see and send back.
//
// Decisions are by name only: sockets, fifos and devices are refused by type, elsewhere. Paths are
// clean home-relative slash paths, raw bytes, "." for the home itself.
//
// A policy is a list of globs with levels, and the last one that matches a path gives its level.
// What a preset takes away is stronger than that: a secret needs a rule that names its exact path
// to be seen, an excluded directory (.git, node_modules, skills/.hub …) one that spells its name.
// So "skills/**=review" does not bring 60 MB of node_modules into view by accident.
package access

import (
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

// MarshalText is String, for JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is ParseLevel, for JSON.
func (l *Level) UnmarshalText(b []byte) error {
	v, err := ParseLevel(string(b))
	if err == nil {
		*l = v
	}
	return err
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
//
// A glob is doublestar's: * and ? stay within a name, ** crosses slashes, {a,b} and [a-z] work,
// DIR/** matches DIR too. A glob without wildcards stands for the path and, should it be a
// directory, all that is below it. A rule with level None takes away what is below its matches too.
type Rule struct {
	Glob  string
	Level Level
}

// String returns GLOB=LEVEL.
func (r Rule) String() string { return r.Glob + "=" + r.Level.String() }

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
	r := Rule{Glob: s[:i], Level: l}
	if _, err := compileRule(r); err != nil {
		return Rule{}, err
	}
	return r, nil
}

// Options say how to make a Policy.
type Options struct {
	Preset          string   // hermes (the default) or all
	CredentialFiles []string // exact paths, shown read-only; see CredentialFiles
	Rules           []Rule   // later ones win
}

// New makes a policy. The error names the rule that is wrong.
func New(o Options) (*Policy, error) {
	list, err := preset(o.Preset)
	if err != nil {
		return nil, err
	}
	for _, file := range o.CredentialFiles {
		clean, err := credentialFile(file)
		if err != nil {
			return nil, err
		}
		list = append(list, literalPattern(clean, Read))
	}
	for _, r := range o.Rules {
		compiled, err := compileRule(r)
		if err != nil {
			return nil, err
		}
		list = append(list, compiled...)
	}
	return compilePolicy(list)
}
