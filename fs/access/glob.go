package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxAlternatives bounds what the braces of one glob may expand to.
const maxAlternatives = 256

// guard says what it takes for a rule to win over a pattern with level None.
type guard uint8

const (
	ordinary guard = iota // a later rule wins
	excluded              // a rule that spells the pattern's key wins, whichever comes first
	secret                // only a rule that is the exact path wins
)

// A pattern is one glob without braces, cut at its slashes.
type pattern struct {
	parts []part
	level Level
	guard guard
	key   string   // of an excluded pattern: the name a rule must spell
	spelt []string // literal names in the glob
	exact bool     // the glob is one path and matches nothing below it
}

type partKind uint8

const (
	literal partKind = iota // one name
	any1                    // "*": one name, whichever
	wild                    // any other glob over one name
	deep                    // "**": any number of names
)

type part struct {
	kind partKind
	text string // the name, of a literal; else the glob
	must string // of wild: every name that matches contains it
}

// blocks tells whether g, where it matches, keeps the positive pattern r from giving a level. g
// and r are positions in list.
func blocks(list []pattern, g, r int) bool {
	switch p := &list[g]; {
	case p.level != None:
		return false
	case p.guard == secret:
		return !list[r].exact
	case p.guard == excluded:
		return !slices.Contains(list[r].spelt, p.key)
	default:
		return g > r
	}
}

// compileRule checks a rule and returns its patterns.
func compileRule(r Rule) ([]pattern, error) {
	list, err := compileGlob(r.Glob, r.Level)
	if err == nil && r.Level > Write {
		err = fmt.Errorf("unknown level %d", r.Level)
	}
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", r.String(), err)
	}
	return list, nil
}

func compileGlob(glob string, level Level) ([]pattern, error) {
	if err := checkGlob(glob); err != nil {
		return nil, err
	}
	alternatives, err := expandBraces(glob)
	if err != nil {
		return nil, err
	}
	var list []pattern
	for _, alt := range alternatives {
		p, err := cut(alt, level)
		if err != nil {
			return nil, err
		}
		if p.exact = len(p.spelt) == len(p.parts) && alt == glob; p.exact {
			list = append(list, p)
		}
		if p.exact || level == None {
			p = below(p)
		}
		list = append(list, p)
	}
	return list, nil
}

// checkGlob refuses what could never match a home-relative path.
func checkGlob(glob string) error {
	switch {
	case glob == "":
		return errors.New("empty glob")
	case strings.IndexByte(glob, 0) >= 0:
		return errors.New("NUL in glob")
	case strings.HasPrefix(glob, "/") || strings.HasPrefix(glob, "~/"):
		return errors.New("globs are relative to the home")
	case strings.HasSuffix(glob, "/"):
		return errors.New("glob ends in a slash; for a directory write DIR/**")
	case !doublestar.ValidatePattern(glob):
		return errors.New("bad glob")
	}
	return nil
}

// cut makes a pattern of a glob without braces.
func cut(glob string, level Level) (pattern, error) {
	p := pattern{level: level}
	for _, text := range strings.Split(glob, "/") {
		if text == "" || text == "." || text == ".." {
			return p, fmt.Errorf("%q in glob", text)
		}
		if !doublestar.ValidatePattern(text) {
			return p, errors.New("bad glob")
		}
		next := cutPart(text)
		if next.kind == literal {
			p.spelt = append(p.spelt, next.text)
		}
		if n := len(p.parts); n > 0 && next.kind == deep && p.parts[n-1].kind == deep {
			continue
		}
		p.parts = append(p.parts, next)
	}
	return p, nil
}

func cutPart(text string) part {
	switch name, ok := unescape(text); {
	case text == "**":
		return part{kind: deep, text: text}
	case text == "*":
		return part{kind: any1, text: text}
	case ok:
		return part{kind: literal, text: name}
	default:
		return part{kind: wild, text: text, must: longestLiteral(text)}
	}
}

// below returns the pattern that matches what p matches and everything below it.
func below(p pattern) pattern {
	if p.parts[len(p.parts)-1].kind != deep {
		p.parts = append(slices.Clip(p.parts), part{kind: deep, text: "**"})
	}
	p.exact = false
	return p
}

// literalPattern matches the one path that name is, wildcards or not.
func literalPattern(name string, level Level) pattern {
	p := pattern{level: level, exact: true, spelt: strings.Split(name, "/")}
	for _, text := range p.spelt {
		p.parts = append(p.parts, part{kind: literal, text: text})
	}
	return p
}

// unescape returns the name that text stands for, false when it has wildcards.
func unescape(text string) (string, bool) {
	if !strings.ContainsAny(text, `*?[]{}\`) {
		return text, true
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case strings.IndexByte(`*?[\`, c) >= 0:
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// longestLiteral returns the longest run of plain bytes in a glob over one name.
func longestLiteral(text string) string {
	var best string
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && strings.IndexByte(`*?[\`, text[i]) < 0 {
			continue
		}
		if i-start > len(best) {
			best = text[start:i]
		}
		if i < len(text) && text[i] == '\\' {
			i++
		} else if i < len(text) && text[i] == '[' {
			i = classEnd(text, i)
		}
		start = i + 1
	}
	return best
}

// classEnd returns the position of the bracket that closes the class opened at i.
func classEnd(text string, i int) int {
	for i++; i < len(text) && text[i] != ']'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// expandBraces returns the globs that a glob with {a,b} stands for.
func expandBraces(glob string) ([]string, error) {
	open, commas, end := findBraces(glob)
	if open < 0 {
		return []string{glob}, nil
	}
	tails, err := expandBraces(glob[end+1:])
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range len(commas) - 1 {
		middles, err := expandBraces(glob[commas[i]+1 : commas[i+1]])
		if err != nil {
			return nil, err
		}
		for _, m := range middles {
			for _, t := range tails {
				out = append(out, glob[:open]+m+t)
			}
		}
		if len(out) > maxAlternatives {
			return nil, fmt.Errorf("braces stand for more than %d globs", maxAlternatives)
		}
	}
	return out, nil
}

// findBraces finds the first pair of braces of a valid glob and the commas between them; commas
// begins with the opening brace and ends with the closing one.
func findBraces(glob string) (open int, commas []int, end int) {
	open = -1
	depth := 0
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(glob, i)
		case '{':
			if depth++; depth == 1 {
				open, commas = i, []int{i}
			}
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth--; depth == 0 {
				return open, append(commas, i), i
			}
		}
	}
	return -1, nil, 0
}
