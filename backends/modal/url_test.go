package modal

import (
	"strings"
	"testing"
	"time"

	"hermesfs/backends/modal/modaltest"
)

func TestParse(t *testing.T) {
	modaltest.Start(t) // for credentials
	for _, tc := range []struct {
		url  string
		want Options
	}{
		{"modal://sb-Ab1", Options{SandboxID: "sb-Ab1"}},
		{"modal://sb-Ab1/root/.hermes?environment=main", Options{SandboxID: "sb-Ab1", Home: "/root/.hermes", Environment: "main"}},
		{"modal://sb-Ab1/~/my%20home", Options{SandboxID: "sb-Ab1", Home: "~/my home"}},
		{"modal://?app=a&name=n", Options{App: "a", Name: "n"}},
		{"modal:///home/x?app=a&image=im-1&snapshot=true", Options{App: "a", Image: "im-1", Home: "/home/x", Snapshot: true}},
		{
			"modal://?app=a&cpu=0.5&idle_timeout=1m30s&image=ghcr.io%2Fx%2Fy%3Av1&memory=512&name=n&timeout=2h0m0s",
			Options{App: "a", Name: "n", Image: "ghcr.io/x/y:v1", CPU: 0.5, MemoryMiB: 512, Timeout: 2 * time.Hour, IdleTimeout: 90 * time.Second},
		},
	} {
		got, err := Parse(tc.url)
		if err != nil {
			t.Errorf("Parse(%s) = %v", tc.url, err)
			continue
		}
		if !same(got, tc.want) {
			t.Errorf("Parse(%s) = %+v, want %+v", tc.url, got, tc.want)
		}
		tr, err := New(got)
		if err != nil {
			t.Errorf("New(%s) = %v", tc.url, err)
			continue
		}
		again, err := Parse(tr.URL())
		if err != nil || !same(again, tc.want) {
			t.Errorf("URL of %s is %s: %+v, %v", tc.url, tr.URL(), again, err)
		}
	}
}

func same(a, b Options) bool {
	return a.SandboxID == b.SandboxID && a.App == b.App && a.Name == b.Name && a.Image == b.Image && a.Environment == b.Environment &&
		a.Home == b.Home && a.Timeout == b.Timeout && a.IdleTimeout == b.IdleTimeout && a.CPU == b.CPU && a.MemoryMiB == b.MemoryMiB && a.Snapshot == b.Snapshot
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ url, says string }{
		{"ssh://x", "not a modal URL"},
		{"modal:x", "not a modal URL"},
		{"modal://", "which sandbox"},
		{"modal://nothing", "sb-"},
		{"modal://sb-", "sb-"},
		{"modal://sb-a%20b", "invalid URL escape"},
		{"modal://user@sb-1", "no user"},
		{"modal://sb-1:22", "port"},
		{"modal://sb-1#x", "#"},
		{"modal://sb-1?app=a", "stands alone"},
		{"modal://sb-1?timeout=1h", "want an image"},
		{"modal://?app=a", "name of the sandbox"},
		{"modal://?name=n", "which sandbox"},
		{"modal://?image=i", "which sandbox"},
		{"modal://?app=a&app=b&name=n", "given once"},
		{"modal://?app=a&name=", "with a value"},
		{"modal://?app=a&name=n&gpu=1", "gpu: is not known"},
		{"modal://?app=a/b&name=n", "names are"},
		{"modal://?app=a&image=x%0aRUN+rm", "blank"},
		{"modal://?app=a&image=i&timeout=25h", "24 h"},
		{"modal://?app=a&image=i&timeout=1500ms", "whole"},
		{"modal://?app=a&image=i&timeout=-1h", "positive"},
		{"modal://?app=a&image=i&cpu=NaN", "cores"},
		{"modal://?app=a&image=i&memory=-1", "negative"},
		{"modal://?app=a&image=i&snapshot=maybe", "snapshot"},
		{"modal://sb-1/a/../b", "plain form"},
		{"modal://sb-1/~root/x", "/~/"},
		{"modal://sb-1/~/", "/~/"},
		{"modal://sb-1/~/a/../../b", "plain form"},
		{"modal://sb-1/a%00b", "NUL"},
	} {
		if o, err := Parse(tc.url); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("Parse(%s) = %+v, %v, want an error that says %q", tc.url, o, err, tc.says)
		}
	}
}
