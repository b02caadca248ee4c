package main

import (
	"strings"
	"testing"
)

func TestFlagsFirst(t *testing.T) {
	app := newApp(newEnv())
	for _, tc := range []struct{ name, in, want string }{
		{"flags before", "mount --name x HOME MP", "mount --name x -- HOME MP"},
		{"flags after", "mount HOME MP --name x --json", "mount --name x --json -- HOME MP"},
		{"between", "mount HOME --name=x MP", "mount --name=x -- HOME MP"},
		{"value that looks like a flag", "mount HOME MP --rule -x=read", "mount --rule -x=read -- HOME MP"},
		{"bool takes no value", "unmount --force one", "unmount --force -- one"},
		{"alias", "umount one --force", "umount --force -- one"},
		{"subcommand", "journal show one a/b --json", "journal show --json -- one a/b"},
		{"dashes end flags", "discard one -- --json", "discard -- one --json"},
		{"lone dash is no flag", "diff one -", "diff -- one -"},
		{"run keeps dashes", "run HOME --name x -- sh -c --json", "run --name x -- HOME -- sh -c --json"},
		{"unknown flag is left to fail", "list --nope", "list --nope"},
		{"unknown command is left to fail", "lst one --json", "lst one --json"},
		{"no arguments", "list", "list"},
		{"completion stays last", "diff one --generate-bash-completion", "diff one --generate-bash-completion"},
		{"command missing", "journal one --json", "journal one --json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := append([]string{"hermesfs"}, strings.Fields(tc.in)...)
			before := strings.Join(in, " ")
			got := strings.Join(flagsFirst(app, in)[1:], " ")
			if got != tc.want {
				t.Errorf("flagsFirst(%s) = %s, want %s", tc.in, got, tc.want)
			}
			if after := strings.Join(in, " "); after != before {
				t.Errorf("flagsFirst changed its argument to %s", after)
			}
		})
	}
}

func TestAlike(t *testing.T) {
	for _, tc := range []struct {
		name, typed string
		want        bool
	}{
		{"status", "stat", true},
		{"status", "statsu", true},
		{"mount", "mout", true},
		{"mount", "mountt", true},
		{"mount", "moint", true},
		{"mount", "bogus", false},
		{"run", "x", false},
		{"pull", "push", false},
	} {
		if got := alike(tc.name, tc.typed); got != tc.want {
			t.Errorf("alike(%s, %s) = %v, want %v", tc.name, tc.typed, got, tc.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, tc := range []struct{ in, quoted, shell string }{
		{"a/b.txt", "a/b.txt", "a/b.txt"},
		{"", `""`, `""`},
		{"with space", "with space", `"with space"`},
		{" led", `" led"`, `" led"`},
		{"new\nline", `"new\nline"`, `"new\nline"`},
		{"esc\x1b[2J", `"esc\x1b[2J"`, ""},
		{"\xff", `"\xff"`, ""},
		{`q"uote`, `"q\"uote"`, `"q\"uote"`},
		{"grün", "grün", `"grün"`},
		{"$HOME", "$HOME", `"\$HOME"`},
	} {
		if got := quote(tc.in); got != tc.quoted {
			t.Errorf("quote(%q) = %s, want %s", tc.in, got, tc.quoted)
		}
		if tc.shell == "" {
			continue
		}
		if got := shellQuote(tc.in); got != tc.shell {
			t.Errorf("shellQuote(%q) = %s, want %s", tc.in, got, tc.shell)
		}
	}
}

func TestHomePaths(t *testing.T) {
	cfg := mountConfig{Home: "/home/u/.hermes", Mountpoint: "/mnt/one"}
	for _, tc := range []struct{ in, want string }{
		{"skills/a", "skills/a"},
		{"./skills//a/", "skills/a"},
		{".", "."},
		{"/mnt/one/skills", "skills"},
		{"/home/u/.hermes/skills/x", "skills/x"},
		{"/home/u/.hermes", "."},
		{"a/../b", "b"},
		{"..a", "..a"},
	} {
		got, err := homePaths(cfg, []string{tc.in})
		if err != nil || got[0] != tc.want {
			t.Errorf("homePaths(%s) = %v, %v, want %s", tc.in, got, err, tc.want)
		}
	}
	for _, bad := range []string{"", "..", "../x", "a/../../x", "/etc/passwd", "/mnt/onetwo"} {
		if got, err := homePaths(cfg, []string{bad}); codeOf(err) != exitUsage {
			t.Errorf("homePaths(%q) = %v, %v, want a usage error", bad, got, err)
		}
	}
}
