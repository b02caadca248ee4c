package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const pass = `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"A"}
`
	for _, tc := range []struct {
		name, in  string
		out, err  string // parts of each
		notInside string
	}{
		{"all pass", pass + `{"Action":"pass","Package":"p","Elapsed":1.5}`, "1 passed, 0 failed, 0 skipped", "", "noise"},
		{
			"one fails", pass + `{"Action":"output","Package":"p","Test":"B","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"B"}
{"Action":"fail","Package":"p"}`, "why\n", "1 failed", "noise",
		},
		{"a skip", `{"Action":"output","Package":"p","Test":"B","Output":"no fuse\n"}
{"Action":"skip","Package":"p","Test":"B"}
{"Action":"pass","Package":"p"}`, "skipped: p B: no fuse", "1 skipped", ""},
		{"no test files", pass + `{"Action":"skip","Package":"q"}`, "0 skipped", "", ""},
		{"nothing", "", "", "no tests ran", ""},
		{"a panic outside of tests", pass + `{"Action":"output","Package":"p","Output":"panic: x\n"}
{"Action":"fail","Package":"p"}`, "panic: x", "1 failed", ""},
		{"no build", `{"ImportPath":"p","Action":"build-output","Output":"syntax\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p"}`, "syntax", "1 failed", ""},
		{"the toolchain speaks", "go: no such thing\n" + pass, "go: no such thing", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			err := report(strings.NewReader(tc.in), &out)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error = %v, want %q", err, tc.err)
			}
			if !strings.Contains(out.String(), tc.out) {
				t.Errorf("output %q lacks %q", out.String(), tc.out)
			}
			if tc.notInside != "" && strings.Contains(out.String(), tc.notInside) {
				t.Errorf("output %q has %q", out.String(), tc.notInside)
			}
		})
	}
}
