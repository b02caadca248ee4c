package ssh

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		url        string
		user, host string
		port       int
		home       string
		back       string // URL, "" for the same
	}{
		{url: "ssh://h", host: "h"},
		{url: "ssh://h/", host: "h", back: "ssh://h"},
		{url: "ssh://bob@box.example:2222/srv/my%20box", user: "bob", host: "box.example", port: 2222, home: "/srv/my box"},
		{url: "ssh://my_alias/srv/x/", host: "my_alias", home: "/srv/x", back: "ssh://my_alias/srv/x"},
		{url: "ssh://h/~/boxes/one", host: "h", home: "~/boxes/one"},
		{url: "ssh://h/~/boxes//one/", host: "h", home: "~/boxes/one", back: "ssh://h/~/boxes/one"},
		{url: "ssh://u@[::1]:22/x", user: "u", host: "::1", port: 22, home: "/x"},
		{url: "ssh://[fe80::1%25eth0]", host: "fe80::1%eth0"},
		{url: "ssh://a%40b@h", user: "a@b", host: "h"},
		{url: "ssh://h/%FF%0A%27", host: "h", home: "/\xff\n'"},
		{url: "ssh://h/a%3Fb%23c", host: "h", home: "/a?b#c"},
	} {
		o, err := Parse(tc.url)
		if err != nil {
			t.Errorf("Parse(%q) = %v", tc.url, err)
			continue
		}
		if o.User != tc.user || o.Host != tc.host || o.Port != tc.port || o.Home != tc.home {
			t.Errorf("Parse(%q) = %q %q %d %q, want %q %q %d %q", tc.url, o.User, o.Host, o.Port, o.Home, tc.user, tc.host, tc.port, tc.home)
		}
		tr, err := New(o)
		if err != nil {
			t.Errorf("New(%q) = %v", tc.url, err)
			continue
		}
		want := tc.back
		if want == "" {
			want = tc.url
		}
		got := tr.URL()
		if again, err := Parse(got); err != nil || again.Home != o.Home || again.User != o.User || again.Host != o.Host || again.Port != o.Port {
			t.Errorf("Parse(URL() = %q) = %+v, %v, want what %q is", got, again, err, tc.url)
		}
		if !strings.Contains(tc.url, "%") && got != want {
			t.Errorf("URL of %q = %q, want %q", tc.url, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"ssh:h":                          "not an ssh URL",
		"dir:/x":                         "not an ssh URL",
		"ssh://":                         "no host",
		"ssh:///srv":                     "no host",
		"ssh://-oProxyCommand=touch%20x": "",
		"ssh://-oProxyCommand=x":         "begins with a dash",
		"ssh://-l@h":                     "begins with a dash",
		"ssh://u;id@h":                   "holds ';'",
		"ssh://$(id)@h":                  "holds",
		"ssh://h$(id)/x":                 "",
		"ssh://`id`/x":                   "",
		"ssh://u:secret@h":               "must not hold a password",
		"ssh://@h":                       "is empty",
		"ssh://h:0":                      "port 0",
		"ssh://h:70000":                  "port 70000",
		"ssh://h:ssh":                    "",
		"ssh://h?x=1":                    "no ? and no #",
		"ssh://h/x#y":                    "no ? and no #",
		"ssh://h/x#":                     "no ? and no #",
		"ssh://h/~":                      "only /~/",
		"ssh://h/~/":                     "only /~/",
		"ssh://h/~bob/x":                 "only /~/",
		"ssh://h/a/../b":                 "plain form",
		"ssh://h/~/../b":                 "plain form",
		"ssh://h/~/..":                   "plain form",
		"ssh://h/a%00b":                  "NUL",
		"ssh://h/.":                      "plain form",
		"ssh://h/%zz":                    "invalid URL escape",
	} {
		o, err := Parse(url)
		if err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", url, o)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("Parse(%q) = %q, want it to say %q", url, err, want)
		}
	}
}
