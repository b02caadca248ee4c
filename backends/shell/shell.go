// Package shell builds the file verbs (manifest, hash, push, fetch) over any transport that runs
// POSIX sh scripts.
//
// Each verb is one script, in scripts/, that works with dash, bash and busybox ash and with the
// tools that Hello found. Lists and payloads travel on stdin, names NUL-separated and beginning
// with "./". A script's answer stands between a random begin line and an end line; without the
// end line nothing of it is believed, whatever the exit status. What is half done in the sandbox
// stands in a private directory below .hermesfs/tmp of the home: a script that is cut removes it,
// and the next Claim sweeps what a killed one left.
package shell

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"

	"hermesfs/backends"
)

// Options of New.
type Options struct {
	Mount string       // name of the mount: part of the names of temporary directories
	Probe string       // Hello.Probe of an earlier connection, "" for none
	Log   *slog.Logger // nil discards
}

// A Sandbox is the far copy of the home, reached by scripts. Its methods may be called
// concurrently, except that nothing is called after Close.
type Sandbox struct {
	t        backends.Transport
	log      *slog.Logger
	mount    string // fit for a file name
	instance string // tells our temporary directories from those of a dead process

	mu    sync.Mutex // guards tools
	tools tools      // zero until known
}

// New makes a Sandbox over t. It does not connect.
func New(t backends.Transport, o Options) *Sandbox {
	s := &Sandbox{t: t, log: o.Log, mount: tempName(o.Mount), instance: random(6)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.tools, _ = parseProbe(o.Probe) // a probe of another version is as none
	return s
}

// Close ends the connection. It may be called twice.
func (s *Sandbox) Close(ctx context.Context, d backends.Disposition) error {
	return s.t.Close(ctx, d)
}

// tempName makes a file name of a mount's name that says which mount it is and never clashes.
func tempName(mount string) string {
	ok := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}
	name := strings.Map(ok, mount)
	if name == mount && name != "" && len(name) <= 64 {
		return name
	}
	sum := sha256.Sum256([]byte(mount))
	return name[:min(len(name), 48)] + "_" + hex.EncodeToString(sum[:6])
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
