// Package backendtest holds every backend to the contract of backends.Transport and, over it, to
// what package shell promises. It also starts real counterparts for them.
//
// What it knows of the sandbox it asks the sandbox: it never looks at the sandbox's files from
// here, so that it fits backends whose files are elsewhere.
package backendtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"

	"hermesfs/backends"
)

// Run runs the whole suite. Each call of open makes a Transport to a sandbox whose home does not
// exist yet; the suite closes it. What rc files print is allowed, as package shell copes with it.
func Run(t *testing.T, open func(t *testing.T) backends.Transport) {
	t.Helper()
	RunTransport(t, open)
	RunShell(t, open)
}

// RunTransport runs the part of the suite that needs no more of the sandbox than sh and cat.
func RunTransport(t *testing.T, open func(t *testing.T) backends.Transport) {
	t.Helper()
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s *subject)
	}{
		{"Streams", testStreams},
		{"ScriptText", testScriptText},
		{"ExitCodes", testExitCodes},
		{"Stderr", testStderr},
		{"UnreadStdin", testUnreadStdin},
		{"SlowStdout", testSlowStdout},
		{"BrokenStreams", testBrokenStreams},
		{"Cancel", testCancel},
		{"CancelledBefore", testCancelledBefore},
		{"Concurrent", testConcurrent},
		{"Close", testClose},
	} {
		t.Run("Transport/"+tc.name, func(t *testing.T) { tc.run(t, begin(t, open)) })
	}
}

// RunShell runs the part that moves files, with package shell.
func RunShell(t *testing.T, open func(t *testing.T) backends.Transport) {
	t.Helper()
	t.Run("Shell/Home", func(t *testing.T) { testHome(t, begin(t, open)) })
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, b *box)
	}{
		{"Names", testNames},
		{"Modes", testModes},
		{"Sizes", testSizes},
		{"Many", testMany},
		{"Manifest", testManifest},
		{"Delete", testDelete},
		{"Expect", testExpect},
		{"Ready", testReady},
		{"Changing", testChanging},
		{"Limits", testLimits},
		{"Cut", testCut},
		{"Cancel", testCancelVerbs},
		{"Concurrent", testConcurrentVerbs},
	} {
		t.Run("Shell/"+tc.name, func(t *testing.T) {
			b := newBox(t, open)
			tc.run(t, b)
			b.noTemps()
		})
	}
}

// A subject is the Transport under test.
type subject struct {
	backends.Transport
	t *testing.T
}

// begin opens a subject, which is closed when the test ends; then nothing of it may be left here.
func begin(t *testing.T, open func(t *testing.T) backends.Transport) *subject {
	t.Helper()
	s := &subject{Transport: open(t), t: t}
	before := takeStock() // with what open started: a server
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context()), backends.Keep); err != nil {
			t.Errorf("Close = %v", err)
		}
		before.compare(t)
	})
	return s
}

// sh runs a script and returns what it wrote, without what rc files wrote before.
func (s *subject) sh(script, stdin string) ([]byte, error) {
	s.t.Helper()
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	begin := "begin" + hex.EncodeToString(b) + "\n"
	var out bytes.Buffer
	err := s.Run(s.t.Context(), "printf 'begin%s\\n' "+hex.EncodeToString(b)+"\n"+script, strings.NewReader(stdin), &out)
	_, after, ok := bytes.Cut(out.Bytes(), []byte(begin))
	if !ok && err == nil {
		s.t.Errorf("a script wrote %.200q, without what its first line prints", out.Bytes())
	}
	return after, err
}

// must is sh of a script that must succeed.
func (s *subject) must(script, stdin string) string {
	s.t.Helper()
	out, err := s.sh(script, stdin)
	if err != nil {
		s.t.Fatalf("Run(%.200q) = %v", script, err)
	}
	return string(out)
}

// quote makes a word of sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
