package access

import (
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"pgregory.net/rapid"
)

var (
	// names are what paths and globs are drawn from: few, so that they meet.
	names = []string{
		"skills", "cache", "documents", "auth", "auth.json", ".env", ".hub", "node_modules", ".git", "a", "b", "x.db", "home", "profiles",
		"delegation", "live", ".hermesfs-1", ".sync.lock", "\xff\xfe", "é",
	}
	globs = []string{"*", "**", "**", "?", "[a-b]", "*.db", "*a*", "s*", ".*"}
)

// A drawnRule is a rule with its globs before they were joined by braces.
type drawnRule struct {
	Rule
	globs []string
}

func drawRules(t *rapid.T) []drawnRule {
	glob := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(names), rapid.SampledFrom(globs)), 1, 4).Draw(t, "parts"), "/")
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) drawnRule {
		list := rapid.SliceOfN(glob, 1, 3).Draw(t, "globs")
		r := drawnRule{Rule{list[0], Level(rapid.IntRange(0, 3).Draw(t, "level"))}, list}
		if len(list) > 1 {
			r.Glob = "{" + strings.Join(list, ",") + "}"
		}
		return r
	}), 0, 5).Draw(t, "rules")
}

func drawPath(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 5).Draw(t, "path"), "/")
}

// plainLevel is Level as its documentation puts it, rule by rule over whole paths.
func plainLevel(presetName string, drawn []drawnRule, name string) Level {
	if new(Policy).Hidden(name) {
		return None
	}
	shown, secrets, hidden := hermesShown, hermesSecrets, hermesExcluded
	if presetName == "all" {
		shown, secrets, hidden = []string{"**"}, liveDatabases, nil
	}
	var all []drawnRule
	for _, glob := range shown {
		all = append(all, drawnRule{Rule{glob, Write}, []string{glob}})
	}
	all = append(all, drawn...)
	match := func(glob string) bool {
		for strings.Contains(glob, "**/**") { // which doublestar does not let match the directory itself
			glob = strings.ReplaceAll(glob, "**/**", "**")
		}
		// Nor does it see that x*/** matches x itself.
		dir, tree := strings.CutSuffix(glob, "/**")
		return doublestar.MatchUnvalidated(glob, name) || tree && doublestar.MatchUnvalidated(dir, name)
	}
	for _, r := range slices.Backward(all) {
		for _, glob := range r.globs {
			exact := len(r.globs) == 1 && !strings.ContainsAny(glob, `*?[{`)
			if !match(glob) && (!exact && r.Level != None || !match(glob+"/**")) {
				continue
			}
			if r.Level == None {
				return None
			}
			blocked := !(exact && glob == name) && matchesBelow(secrets, name)
			for _, g := range hidden {
				spelt := slices.Contains(strings.Split(glob, "/"), path.Base(g))
				blocked = blocked || !spelt && matchesBelow([]string{g}, name)
			}
			if !blocked {
				return r.Level
			}
		}
	}
	return None
}

// TestPolicyProperties holds the automaton to the plain reading of the rules, and Enter and Scope
// to never losing sight of a path that is above None.
func TestPolicyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		presetName := rapid.SampledFrom([]string{"hermes", "all"}).Draw(t, "preset")
		drawn := drawRules(t)
		o := Options{Preset: presetName}
		for _, r := range drawn {
			o.Rules = append(o.Rules, r.Rule)
		}
		p, err := New(o)
		if err != nil {
			t.Fatalf("New(%+v): %v", o, err)
		}
		roots, prunePaths, pruneNames := p.Scope()
		for range 20 {
			name := drawPath(t)
			got := p.Level(name)
			if want := plainLevel(presetName, drawn, name); got != want {
				t.Fatalf("%s %v: Level(%q) = %v, want %v", presetName, o.Rules, name, got, want)
			}
			if got == None {
				continue
			}
			for dir := path.Dir(name); ; dir = path.Dir(dir) {
				if !p.Enter(dir) {
					t.Fatalf("%s %v: Level(%q) = %v, but Enter(%q) = false", presetName, o.Rules, name, got, dir)
				}
				if dir == "." {
					break
				}
			}
			checkScope(t, p, name, roots, prunePaths, pruneNames)
		}
	})
}

func checkScope(t *rapid.T, p *Policy, name string, roots, prunePaths, pruneNames []string) {
	i := slices.IndexFunc(roots, func(root string) bool { return within(name, root) })
	if i < 0 {
		t.Fatalf("%q is visible and below none of the roots %q", name, roots)
	}
	for _, prune := range prunePaths {
		if within(name, prune) {
			t.Fatalf("%q is visible and pruned with %q", name, prune)
		}
	}
	under := strings.Split(strings.TrimPrefix(strings.TrimPrefix(name, roots[i]), "/"), "/")
	for _, list := range [][]string{pruneNames, p.PruneNames(roots[i])} {
		for _, part := range under {
			if slices.Contains(list, part) {
				t.Fatalf("%q is visible and pruned by the name %q below %q", name, part, roots[i])
			}
		}
	}
}

// TestEnterIsNotTooWide: where Enter says yes for the preset, there is a path that is visible.
func TestEnterIsNotTooWide(t *testing.T) {
	p := mustNew(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		dir := drawPath(t)
		if !p.Enter(dir) {
			return
		}
		for _, below := range []string{"/x", "/documents/x"} {
			if p.Level(dir+below) > None {
				return
			}
		}
		t.Fatalf("Enter(%q) = true, and nothing is visible below it", dir)
	})
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"skills/**=read", "{a,b/{c,[d-e]}}/*.md=none", `\[x\]=write`, "a[=read", "**/*/**=review", "a=b=c=read", "\xff/*=read"} {
		f.Add(s, "skills/a/b.md")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		r, err := ParseRule(s)
		if err != nil {
			if !strings.Contains(err.Error(), "rule ") {
				t.Fatalf("ParseRule(%q): %q does not name the rule", s, err)
			}
			return
		}
		if back, err := ParseRule(r.String()); err != nil || back != r {
			t.Fatalf("ParseRule(%q) = %v, and %q again = %v, %v", s, r, r.String(), back, err)
		}
		p, err := New(Options{Preset: "all", Rules: []Rule{r}})
		if err != nil {
			return // too many alternatives
		}
		got := p.Level(name)
		clean := path.Clean("/" + name)[1:]
		if clean != name || clean == "" || p.Hidden(name) || !utf8.ValidString(s+name) {
			return
		}
		if r.Level < Write && doublestar.MatchUnvalidated(r.Glob, name) && got > r.Level {
			t.Fatalf("Level(%q) = %v under %v", name, got, r)
		}
		p.Enter(name)
		p.Scope()
	})
}
