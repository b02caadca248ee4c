package daytona

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hermesfs/backends"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		url  string
		want Options
		err  string
	}{
		{"daytona://box", Options{ID: "box"}, ""},
		{"daytona://0b0c-1/srv/a%20b/", Options{ID: "0b0c-1", Home: "/srv/a b"}, ""},
		{"daytona://box/~/h", Options{ID: "box", Home: "~/h"}, ""},
		{"daytona://?image=debian:12&cpu=2&memory=4&disk=10&autostop=0&name=n", Options{Image: "debian:12", CPU: 2, MemoryGB: 4, DiskGB: 10, Name: "n"}, ""},
		{"daytona://?snapshot=org/snap:1&home=/h", Options{Snapshot: "org/snap:1", Home: "/h"}, ""},
		{"daytona://?label=a%3Db&label=c=d=e", Options{Labels: map[string]string{"a": "b", "c": "d=e"}}, ""},
		{"daytona:box", Options{}, "must look like"},
		{"daytona://", Options{}, "which sandbox"},
		{"daytona://-x", Options{}, "no name"},
		{"daytona://a/../b", Options{}, ". or .."},
		{"daytona://box?image=x", Options{}, "not searched for"},
		{"daytona://?image=x&snapshot=y", Options{}, "both"},
		{"daytona://?image=x%0ARUN%20y", Options{}, "no image"},
		{"daytona://?snapshot=x&cpu=1", Options{}, "image only"},
		{"daytona://?image=x&cpu=many", Options{}, "no number"},
		{"daytona://?label=a", Options{}, "KEY=VALUE"},
		{"daytona://?image=x&nonsense=1", Options{}, "unknown"},
		{"daytona://?image=x&image=y", Options{}, "twice"},
		{"daytona://?label=a=b&autostop=1", Options{}, "autostop"},
	} {
		got, err := Parse(tc.url)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("Parse(%q) = %v, want an error with %q", tc.url, err, tc.err)
			}
			continue
		}
		if err != nil || got.ID != tc.want.ID || got.Home != tc.want.Home || got.Image != tc.want.Image || got.Snapshot != tc.want.Snapshot ||
			got.CPU != tc.want.CPU || got.MemoryGB != tc.want.MemoryGB || got.DiskGB != tc.want.DiskGB || got.Name != tc.want.Name || len(got.Labels) != len(tc.want.Labels) {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", tc.url, got, err, tc.want)
		}
		for k, v := range tc.want.Labels {
			if got.Labels[k] != v {
				t.Errorf("Parse(%q): label %s = %q, want %q", tc.url, k, got.Labels[k], v)
			}
		}
		if strings.Contains(tc.url, "autostop") && (got.AutoStop == nil || *got.AutoStop != 0) {
			t.Errorf("Parse(%q): autostop %v, want 0", tc.url, got.AutoStop)
		}
	}
}

func TestCredentials(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		auth bool
		says string
	}{
		{"none", nil, true, "DAYTONA_API_KEY"},
		{"token alone", map[string]string{"DAYTONA_JWT_TOKEN": "x"}, true, "DAYTONA_ORGANIZATION_ID"},
		{"v2", map[string]string{"DAYTONA_API_KEY": "x", "DAYTONA_API_URL": "https://api.daytona.com/v1"}, false, "platform v2"},
		{"old variable", map[string]string{"DAYTONA_API_KEY": "x", "DAYTONA_SERVER_URL": "https://api.daytona.com"}, false, "platform v2"},
		{"no URL", map[string]string{"DAYTONA_API_KEY": "x", "DAYTONA_API_URL": "daytona"}, false, "DAYTONA_API_URL"},
		{"key", map[string]string{"DAYTONA_API_KEY": "x"}, false, ""},
		{"token", map[string]string{"DAYTONA_JWT_TOKEN": "x", "DAYTONA_ORGANIZATION_ID": "o", "DAYTONA_TARGET": "eu"}, false, ""},
	} {
		o, err := Parse("daytona://box")
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(o.Environ(func(name string) string { return tc.env[name] }))
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) || errors.Is(err, backends.ErrAuth) != tc.auth {
			t.Errorf("%s: New = %v, want %q", tc.name, err, tc.says)
		}
	}
}

func runs(t *testing.T, tr *Transport) {
	t.Helper()
	var out bytes.Buffer
	if err := tr.Run(t.Context(), "cat; echo over", strings.NewReader("in\x00\xff\n"), &out); err != nil || out.String() != "in\x00\xff\nover\n" {
		t.Fatalf("Run = %q, %v", &out, err)
	}
}

func TestDisposition(t *testing.T) {
	for _, tc := range []struct {
		state string
		d     backends.Disposition
		want  string
	}{
		{"started", backends.Default, "started"},
		{"stopped", backends.Default, "stopped"}, // hermesfs started it
		{"archived", backends.Default, "stopped"},
		{"stopped", backends.Keep, "started"},
		{"started", backends.Stop, "stopped"},
		{"started", backends.Terminate, "gone"},
	} {
		f := startFake(t)
		b := f.add("box", tc.state, nil)
		tr := f.connect("daytona://box")
		runs(t, tr)
		for range 2 {
			if err := tr.Close(t.Context(), tc.d); err != nil {
				t.Errorf("%s, %s: Close = %v", tc.state, tc.d, err)
			}
		}
		got := f.state(b)
		if f.boxes[b.ID] == nil {
			got = "gone"
		}
		if got != tc.want {
			t.Errorf("%s, closed with %q: it is %s, want %s", tc.state, tc.d, got, tc.want)
		}
		if err := tr.Run(t.Context(), "true", nil, nil); !errors.Is(err, errClosed) {
			t.Errorf("Run after Close = %v", err)
		}
	}
}

func TestFind(t *testing.T) {
	f := startFake(t)
	for range 3 {
		f.add("", "started", map[string]string{"kind": "other"})
	}
	b := f.add("box", "starting", map[string]string{"kind": "mine", "n": "1"})
	b.then, b.left = "started", 3
	for _, url := range []string{"daytona://box", "daytona://" + b.ID, "daytona://?label=kind=mine", "daytona://?label=kind=mine&label=n=1&image=debian"} {
		tr := f.connect(url)
		runs(t, tr)
		if tr.box.ID != b.ID || tr.URL() != url {
			t.Errorf("%s is %s at %s, want %s", url, tr.box.ID, tr.URL(), b.ID)
		}
	}
	for url, says := range map[string]string{
		"daytona://nobody":             `no Daytona sandbox "nobody"`,
		"daytona://?label=kind=none":   "no Daytona sandbox has the labels",
		"daytona://?label=kind=other":  "name one",
		"daytona://?snapshot=x&name=b": "",
	} {
		err := f.connect(url).Run(t.Context(), "true", nil, nil)
		if says == "" && err != nil || says != "" && (err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want a permanent error with %q", url, err, says)
		}
	}
	for state, says := range map[string]string{"error": "no disk", "build_failed": "build_failed", "destroyed": "deleted"} {
		f.add("bad-"+state, state, nil).Reason = "no disk"
		err := f.connect("daytona://bad-"+state).Run(t.Context(), "true", nil, nil)
		if err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a permanent error with %q", state, err, says)
		}
	}
}

func TestCreate(t *testing.T) {
	f := startFake(t)
	key := func(o *Options) { o.Key = "mount 1"; o.Target = "eu" }
	url := "daytona://?image=debian:12&cpu=1&disk=10&autostop=30"
	first := f.connect(url, key)
	runs(t, first)
	b := f.boxes[first.box.ID]
	if info, _ := b.created["buildInfo"].(map[string]any); info["dockerfileContent"] != "FROM debian:12\n" || b.created["cpu"] != 1.0 || b.created["disk"] != 10.0 ||
		b.created["autoStopInterval"] != 30.0 || b.created["target"] != "eu" || b.created["memory"] != nil || b.Labels[keyLabel] != "mount 1" {
		t.Errorf("created with %v", b.created)
	}
	if err := first.Close(t.Context(), backends.Default); err != nil || f.state(b) != "stopped" {
		t.Errorf("Close = %v, it is %s, want stopped", err, f.state(b))
	}
	// The next mount finds it again; its stop may still be under way.
	second := f.connect(url, key)
	runs(t, second)
	if second.box.ID != b.ID || f.count("POST /api/sandbox/"+b.ID+"/start") == 0 {
		t.Errorf("the second mount got %s, want %s, started", second.box.ID, b.ID)
	}
	other := f.connect(url, func(o *Options) { o.Key = "mount 2" })
	runs(t, other)
	if other.box.ID == b.ID {
		t.Error("another mount got the same sandbox")
	}
	// One whose name is taken is used.
	f.add("taken", "started", nil)
	taken := f.connect("daytona://?snapshot=s&name=taken")
	runs(t, taken)
	if taken.ours {
		t.Error("a sandbox that was there counts as ours")
	}
}

// An answer that is lost must not create two.
func TestCreateOnce(t *testing.T) {
	f := startFake(t)
	f.change(func() {
		f.disturb = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost && r.URL.Path == "/api/sandbox" {
				f.change(func() { f.calls = append(f.calls, "POST /api/sandbox") })
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
			return false
		}
	})
	if err := f.connect("daytona://?image=x").Run(t.Context(), "true", nil, nil); !backends.IsTransient(err) {
		t.Errorf("Run = %v, want a transient error", err)
	}
	if n := f.count("POST /api/sandbox"); n != 1 {
		t.Errorf("%d attempts to create, want 1", n)
	}
}

func TestOldAnswerHasNoProxy(t *testing.T) {
	f := startFake(t)
	f.add("box", "started", nil).ProxyURL = ""
	runs(t, f.connect("daytona://box"))
	if !slices.ContainsFunc(f.calls, func(c string) bool { return strings.HasSuffix(c, "/toolbox-proxy-url") }) {
		t.Error("toolbox-proxy-url was not asked")
	}
}
