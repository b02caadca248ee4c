package syncer

import (
	"crypto/sha256"
	"path"
	"strings"

	"hermesfs/backends"
	"hermesfs/fs/layer"
	"hermesfs/journal"
)

// Kind is what stands at a path.
type Kind uint8

// The kinds that are synced. The numbers are those of the other packages' kinds.
const (
	Absent Kind = iota
	File
	Dir
	Symlink
)

// String names the kind in reports.
func (k Kind) String() string {
	switch k {
	case Absent:
		return "absent"
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return "other"
}

// permBits are the mode bits that are synced: setuid, setgid and sticky never are.
const permBits = 0o777

// A State is what stands at one path, as far as syncing is concerned. Equal states are ==.
type State struct {
	Kind   Kind
	SHA256 [32]byte // of files
	Mode   uint32   // permission bits, of files and directories
	Target string   // of symlinks
}

// States is a tree: what stands at each path. What is missing is absent.
type States map[string]State

// sameContent says whether both are the same but for the mode.
func (s State) sameContent(t State) bool {
	s.Mode, t.Mode = 0, 0
	return s == t
}

func stateOf(kind Kind, sha [32]byte, mode uint32, target string) State {
	switch kind {
	case File:
		return State{Kind: File, SHA256: sha, Mode: mode & permBits}
	case Dir:
		return State{Kind: Dir, Mode: mode & permBits}
	case Symlink:
		return State{Kind: Symlink, Target: target}
	}
	return State{}
}

func baseState(b journal.Base) State { return stateOf(Kind(b.Kind), b.SHA256, b.Mode, b.Target) }

// expect is what must stand in the sandbox for this state to be replaced there.
func (s State) expect() *backends.Expect {
	e := &backends.Expect{Kind: backends.Kind(s.Kind), SHA256: s.SHA256}
	if s.Kind == Symlink {
		e.SHA256 = sha256.Sum256([]byte(s.Target))
	}
	return e
}

func theirStat(e backends.Entry) journal.Stat {
	return journal.Stat{Ino: e.Ino, Size: e.Size, Mtime: e.Mtime, Ctime: e.Ctime}
}

func ourStat(id layer.Identity) journal.Stat {
	return journal.Stat{Dev: id.Dev, Ino: id.Ino, Size: id.Size, Mtime: id.Mtime, Ctime: id.Ctime}
}

// below says whether p is in the directory dir, at any depth.
func below(p, dir string) bool {
	return dir == "." || len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// parentOf is the directory of p; "." is the home.
func parentOf(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

// besideName is where the sandbox's version of p goes when both are kept: NAME.sandbox-MOUNT.EXT.
func besideName(p, mount string) string {
	dir, name := path.Split(p)
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	if stem == "" { // a dot file
		stem, ext = name, ""
	}
	return dir + stem + ".sandbox-" + mount + ext
}
