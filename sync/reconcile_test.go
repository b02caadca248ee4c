package syncer

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func fileOf(content string, mode uint32) State {
	s := State{Kind: File, Mode: mode}
	copy(s.SHA256[:], content)
	return s
}

func dirOf(mode uint32) State    { return State{Kind: Dir, Mode: mode} }
func linkTo(target string) State { return State{Kind: Symlink, Target: target} }
func content(s State) string     { return strings.TrimRight(string(s.SHA256[:]), "\x00") }
func with(t States, more States) States {
	t = maps.Clone(t)
	for p, s := range more {
		t[p] = s
		if s.Kind == Absent {
			delete(t, p)
		}
	}
	return t
}

func (s State) short() string {
	switch s.Kind {
	case File:
		return fmt.Sprintf("file(%s,%03o)", content(s), s.Mode)
	case Dir:
		return fmt.Sprintf("dir(%03o)", s.Mode)
	case Symlink:
		return "link(" + s.Target + ")"
	}
	return "-"
}

// changes are what a side may do; who tells the sides' versions apart.
type change struct {
	name string
	do   func(who string) States
}

var fileChanges = []change{
	{"none", func(string) States { return nil }},
	{"modify", func(who string) States { return States{"p": fileOf(who, 0o644)} }},
	{"same-modify", func(string) States { return States{"p": fileOf("new", 0o644)} }},
	{"delete", func(string) States { return States{"p": {}} }},
	{"chmod", func(string) States { return States{"p": fileOf("base", 0o755)} }},
	{"modify+chmod", func(who string) States { return States{"p": fileOf(who, 0o700)} }},
	{"to-symlink", func(who string) States { return States{"p": linkTo(who)} }},
	{"to-directory", func(who string) States { return States{"p": dirOf(0o755), "p/" + who: fileOf(who, 0o644)} }},
	{"to-empty-dir", func(string) States { return States{"p": dirOf(0o755)} }},
}

var absentChanges = []change{
	{"none", func(string) States { return nil }},
	{"create", func(who string) States { return States{"p": fileOf(who, 0o644)} }},
	{"create-same", func(string) States { return States{"p": fileOf("new", 0o644)} }},
	{"create-exec", func(string) States { return States{"p": fileOf("new", 0o755)} }},
	{"create-symlink", func(who string) States { return States{"p": linkTo(who)} }},
	{"create-dir", func(who string) States { return States{"p": dirOf(0o755), "p/" + who: fileOf(who, 0o644)} }},
}

var dirChanges = []change{
	{"none", func(string) States { return nil }},
	{"chmod", func(who string) States {
		return States{"p": dirOf(map[string]uint32{"ours": 0o700, "theirs": 0o750}[who])}
	}},
	{"delete", func(string) States { return States{"p": {}, "p/a": {}, "p/s": {}, "p/s/b": {}} }},
	{"modify-inside", func(who string) States { return States{"p/s/b": fileOf(who, 0o644)} }},
	{"delete-inside", func(string) States { return States{"p/s": {}, "p/s/b": {}} }},
	{"create-inside", func(who string) States { return States{"p/s/" + who: fileOf(who, 0o644)} }},
	{"to-file", func(who string) States {
		return States{"p": fileOf(who, 0o644), "p/a": {}, "p/s": {}, "p/s/b": {}}
	}},
	{"to-symlink", func(who string) States {
		return States{"p": linkTo(who), "p/a": {}, "p/s": {}, "p/s/b": {}}
	}},
}

func TestReconcileTruthTable(t *testing.T) {
	tables := []struct {
		name    string
		base    States
		changes []change
	}{
		{"file", States{"p": fileOf("base", 0o644)}, fileChanges},
		{"absent", States{}, absentChanges},
		{"directory", States{"p": dirOf(0o755), "p/a": fileOf("base", 0o644), "p/s": dirOf(0o755), "p/s/b": fileOf("base", 0o644)}, dirChanges},
	}
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "# base: %s\n", table.name)
		for _, o := range table.changes {
			for _, th := range table.changes {
				fmt.Fprintf(&b, "%s / %s\n", o.name, th.name)
				actions := Reconcile(table.base, with(table.base, o.do("ours")), with(table.base, th.do("theirs")))
				for _, a := range actions {
					fmt.Fprintf(&b, "    %s\n", describe(a))
				}
			}
		}
	}
	path := filepath.Join("testdata", "reconcile.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("truth table differs from %s (-want +got):\n%s", path, diff)
	}
}

// describe shows an action by what each side must do and, of a clash, what each policy makes of it.
func describe(a Action) string {
	s := a.Path + ": "
	switch {
	case a.Open:
		s += fmt.Sprintf("%s clash of %s and %s", a.Clash, a.Ours.short(), a.Theirs.short())
		if a.Root != a.Path {
			return s + ", with " + a.Root
		}
		return s + fmt.Sprintf("; theirs: %s, ours: %s", a.Resolve(Theirs).Want.short(), a.Resolve(Ours).Want.short())
	case a.ChangesOurs() && a.ChangesTheirs():
		s += "both get " + a.Want.short()
	case a.ChangesOurs():
		s += "ours gets " + a.Want.short()
	case a.ChangesTheirs():
		s += "theirs gets " + a.Want.short()
	default:
		s += "both have " + a.Want.short()
	}
	if a.Clash != NoClash {
		s += ", " + string(a.Clash)
	}
	return s
}

func TestBesideName(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"skills/a/SKILL.md", "skills/a/SKILL.sandbox-one.md"},
		{"a.tar.gz", "a.tar.sandbox-one.gz"},
		{"skills/noext", "skills/noext.sandbox-one"},
		{"skills/.usage", "skills/.usage.sandbox-one"},
	} {
		if got := besideName(tc.path, "one"); got != tc.want {
			t.Errorf("besideName(%q) = %q, want %q", tc.path, got, tc.want)
		}
	}
}
