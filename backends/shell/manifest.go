package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hermesfs/backends"
)

var (
	errUnreadable = errors.New("the directory cannot be read")
	errBehind     = errors.New("a directory above it is a symlink or a file")
)

// ownDir is what the scripts keep in the home. It is never listed, fetched or pushed to.
const ownDir = ".hermesfs"

// The words of one find may take so many bytes; what is more goes to the next.
const maxWords = 60_000

// Manifest calls fn for every path in scope, directories before what is in them. It is complete
// or an error, but for the problems: at and below the path of each nothing is known, and absence
// there means nothing. Directories that are pruned are not listed, nor is a root that is missing.
func (s *Sandbox) Manifest(ctx context.Context, scope backends.Scope, fn func(backends.Entry) error) ([]backends.Problem, error) {
	t, err := s.needTools(ctx)
	if err != nil {
		return nil, err
	}
	m := &manifest{scope: scope, roots: map[string]bool{}, unknown: map[string]error{}, fn: fn}
	for _, root := range scope.Roots {
		if root != "." && !validPath(root, maxName) {
			return nil, fmt.Errorf("manifest: root %q is not a path in the home", root)
		}
		m.roots[root] = true
	}
	expr, err := m.expression(t)
	if err != nil {
		return nil, err
	}
	for roots := range m.chunks(maxWords - len(expr)) {
		err := s.call(ctx, &verb{
			name:  "manifest",
			inner: []string{"manifest_walk", "stat_list"},
			list:  roots + expr + "z\x00",
			body:  m.read,
		})
		if err != nil {
			return nil, err
		}
	}
	var problems []backends.Problem
	for _, path := range slices.Sorted(maps.Keys(m.unknown)) {
		problems = append(problems, backends.Problem{Path: path, Err: m.unknown[path]})
	}
	return problems, nil
}

type manifest struct {
	scope   backends.Scope
	roots   map[string]bool
	unknown map[string]error // the problems
	fn      func(backends.Entry) error
}

// chunks yields the roots as words, in pieces of at most limit bytes.
func (m *manifest) chunks(limit int) func(func(string) bool) {
	return func(yield func(string) bool) {
		var b strings.Builder
		for _, root := range slices.Sorted(maps.Keys(m.roots)) {
			if m.covered(root) {
				continue
			}
			word := "r" + dotted(root) + "\x00"
			if b.Len() > 0 && b.Len()+len(word) > limit {
				if !yield(b.String()) {
					return
				}
				b.Reset()
			}
			b.WriteString(word)
		}
		if b.Len() > 0 {
			yield(b.String())
		}
	}
}

// covered says whether a walk from another root comes by root.
func (m *manifest) covered(root string) bool {
	for path := root; path != "."; {
		if m.pruned(path) {
			return false // its own walk shows it, or not
		}
		path = parentOf(path)
		if m.roots[path] {
			return true
		}
	}
	return false
}

func (m *manifest) pruned(path string) bool {
	return slices.Contains(m.scope.PrunePaths, path) || slices.Contains(m.scope.PruneNames, baseOf(path))
}

// expression is find's, as the words of scripts/manifest.sh.
func (m *manifest) expression(t tools) (string, error) {
	words := []string{"-type", "d", "(", "-path", "./" + ownDir}
	for _, path := range m.scope.PrunePaths {
		if !validPath(path, maxName) {
			return "", fmt.Errorf("manifest: pruned path %q is not a path in the home", path)
		}
		words = append(words, "-o", "-path", escapeGlob(dotted(path)))
	}
	for _, name := range m.scope.PruneNames {
		if !validPath(name, 255) || strings.ContainsRune(name, '/') {
			return "", fmt.Errorf("manifest: pruned name %q is not a name", name)
		}
		words = append(words, "-o", "-name", escapeGlob(name))
	}
	words = append(words, ")", "-prune", "-o")
	if t.stat == "find" {
		words = append([]string{"-ignore_readdir_race"}, words...)
		words = append(words, "-printf", `F%y %m %s %T@ %C@ %i %n\0%p\0%l\0`,
			"-type", "d", "(", "!", "-readable", "-o", "!", "-executable", ")", "-printf", `U%p\0`, "-prune")
	} else {
		words = append(words, "-print0")
	}
	var b strings.Builder
	for _, w := range words {
		b.WriteString("x" + w + "\x00")
	}
	if b.Len() > maxWords/2 {
		return "", fmt.Errorf("manifest: %d bytes of pruned names are too many", b.Len())
	}
	return b.String(), nil
}

// read reads one answer.
func (m *manifest) read(r *bufio.Reader) error {
	status, messages, err := records(r, handler{
		entry: func(e stated) error {
			if !m.within(e.Path) {
				return badRecord("%.80q, which is out of scope", e.Path)
			}
			return m.fn(e.Entry)
		},
		unreadable: func(path string) error { m.unknown[path] = errUnreadable; return nil },
		behind:     func(path string) error { m.unknown[path] = errBehind; return nil },
	})
	if err != nil {
		return err
	}
	if strings.HasPrefix(messages, "the list did not come whole") {
		return errCut
	}
	code, err := strconv.Atoi(status)
	// 123: find had something to say about a path, and goes on.
	if err != nil || code != 0 && code != 123 {
		return badRecord("find ended with %.20q: %.200q", status, messages)
	}
	return m.explain(messages)
}

// within says whether a path is at or below a root and not in our own directory.
func (m *manifest) within(path string) bool {
	if path == ownDir || strings.HasPrefix(path, ownDir+"/") {
		return false
	}
	for ; !m.roots[path]; path = parentOf(path) {
		if path == "." {
			return false
		}
	}
	return true
}

// explain makes a problem of each thing that find could not look at. What vanished is absent.
// A line that names no path makes the whole manifest worthless.
func (m *manifest) explain(messages string) error {
	messages += "\n"
	for path := range m.unknown {
		if strings.ContainsRune(path, '\n') { // busybox does not quote it
			messages = strings.ReplaceAll(messages, "find: "+dotted(path)+": Permission denied\n", "")
		}
	}
	for line := range strings.Lines(messages) {
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			continue
		}
		path, reason, ok := toolMessage(line, "find")
		if !ok {
			return badRecord("find says %.200q", line)
		}
		if reason == "No such file or directory" || m.isUnknown(path) {
			continue
		}
		m.unknown[path] = errors.New(strings.ToLower(reason))
	}
	return nil
}

func (m *manifest) isUnknown(path string) bool {
	for ; m.unknown[path] == nil; path = parentOf(path) {
		if path == "." {
			return false
		}
	}
	return true
}

// toolMessage reads what a tool says of a path: "TOOL: PATH: REASON", where GNU's quotes PATH and
// escapes what is not ASCII.
func toolMessage(line, tool string) (path, reason string, ok bool) {
	rest, ok := strings.CutPrefix(line, tool+": ")
	i := strings.LastIndex(rest, ": ")
	if !ok || i < 0 {
		return "", "", false
	}
	name, reason := rest[:i], rest[i+2:]
	if strings.HasPrefix(name, "'") && strings.HasSuffix(name, "'") && len(name) > 1 {
		name = unescape(name[1 : len(name)-1])
	}
	path, err := cleanPath(name)
	return path, reason, err == nil
}

// unescape undoes the escapes of C.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if n, err := strconv.ParseUint(s[i:min(i+3, len(s))], 8, 8); err == nil && i+3 <= len(s) {
			b.WriteByte(byte(n))
			i += 2
			continue
		}
		if at := strings.IndexByte("abfnrtv", s[i]); at >= 0 {
			b.WriteByte("\a\b\f\n\r\t\v"[at])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// escapeGlob makes a pattern that matches only s.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// dotted is a path as the scripts take it, which no tool can take for an option.
func dotted(path string) string {
	if path == "." {
		return path
	}
	return "./" + path
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

func baseOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
