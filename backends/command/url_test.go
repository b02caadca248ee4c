package command

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
		err  string
	}{
		{`docker exec -i box`, []string{"docker", "exec", "-i", "box"}, ""},
		{"  a\tb\n c  ", []string{"a", "b", "c"}, ""},
		{`'' ""`, []string{"", ""}, ""},
		{`a'b c'd"e f"g`, []string{"ab cde fg"}, ""},
		{`a\ b \'`, []string{"a b", "'"}, ""},
		{`"a\"b\\c\$d\e"`, []string{`a"b\c$d\e`}, ""},
		{"'$x `y` | \\'", []string{"$x `y` | \\"}, ""},
		{"a\\\nb", []string{"ab"}, ""},
		{"a~b c#d {} a=b", []string{"a~b", "c#d", "{}", "a=b"}, ""},
		{"", nil, ""},
		{`a 'b`, nil, "' is not closed"},
		{`a "b`, nil, `" is not closed`},
		{`a \`, nil, "ends with"},
		{`a $b`, nil, "$ must be quoted"},
		{`"a $b"`, nil, "$ must stand"},
		{`a; b`, nil, "; must be quoted"},
		{`a | b`, nil, "| must be quoted"},
		{`a *`, nil, "* must be quoted"},
		{`~/x`, nil, "~ must be quoted"},
		{`a #b`, nil, "# must be quoted"},
		{"a\x00", nil, "NUL"},
	} {
		got, err := Split(tc.line)
		if tc.err == "" && (err != nil || !slices.Equal(got, tc.want)) {
			t.Errorf("Split(%q) = %q, %v, want %q", tc.line, got, err, tc.want)
		}
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("Split(%q) = %q, %v, want an error with %q", tc.line, got, err, tc.err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("a", "b c", "'\"\\")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		words := []string{a, b, c}
		if strings.Contains(a+b+c, "\x00") {
			return
		}
		if got, err := Split(join(words)); err != nil || !slices.Equal(got, words) {
			t.Errorf("Split(join(%q)) = %q, %v", words, got, err)
		}
	})
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ url, prefix, home, err string }{
		{"docker://box", "docker exec -i box", "", ""},
		{"docker://box/srv/h%20x?user=bob:staff", "docker exec -i -u bob:staff box", "/srv/h x", ""},
		{"podman://box/~/h/", "podman exec -i box", "~/h", ""},
		{"kubectl://ns/pod-1", "kubectl exec -i -n ns pod-1 --", "", ""},
		{"kubectl://ns/pod/home/h?container=c&context=a:b/c@d", "kubectl exec -i -n ns --context a:b/c@d -c c pod --", "/home/h", ""},
		{"apptainer://inst", "apptainer exec instance://inst", "", ""},
		{"command:chroot '/srv/a b'", "chroot '/srv/a b'", "", ""},
		{"command:?home=/h&channel=text x y", "x y", "/h", ""},
		{"command:?home=~/h x", "x", "~/h", ""},
		{"docker://", "", "", "name of a container"},
		{"docker:box", "", "", "must look like"},
		{"docker://-v", "", "", "name of a container"},
		{"docker://a b", "", "", "name of a container"},
		{"docker://box?user=-x", "", "", "user"},
		{"docker://box?nonsense=1", "", "", "unknown"},
		{"docker://box?channel=tty", "", "", "raw or text"},
		{"docker://box/../x", "", "", "no . or .. part"},
		{"kubectl://ns", "", "", "name of a pod"},
		{"kubectl:///pod", "", "", "namespace"},
		{"kubectl://ns/-pod", "", "", "name of a pod"},
		{"kubectl://-ns/pod", "", "", "namespace"},
		{"kubectl://ns/pod?container=-c", "", "", "container"},
		{"apptainer://--bind", "", "", "instance"},
		{"command:", "", "", "no command"},
		{"command:-x y", "", "", "begins with a dash"},
		{"command:a | b", "", "", "must be quoted"},
		{"command:?home=h x", "", "", "absolute"},
		{"ssh://h", "", "", "must look like"},
	} {
		o, err := Parse(tc.url)
		if tc.err == "" {
			if err != nil || join(o.Prefix) != tc.prefix || o.Home != tc.home {
				t.Errorf("Parse(%q) = %q, %q, %v, want %q, %q", tc.url, join(o.Prefix), o.Home, err, tc.prefix, tc.home)
				continue
			}
			tr, err := New(o)
			if err != nil || tr.URL() != tc.url {
				t.Errorf("New(%q).URL = %q, %v", tc.url, tr.URL(), err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("Parse(%q) = %+v, %v, want an error with %q", tc.url, o, err, tc.err)
		}
	}
}
