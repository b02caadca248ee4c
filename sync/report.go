package syncer

import "hermesfs/fs/access"

// Progress is how far an operation is.
type Progress struct {
	Phase string `json:"phase"` // scan, push, manifest, hash, fetch, apply, stage, commit
	Path  string `json:"path,omitempty"`
	Done  int    `json:"done"`
	Total int    `json:"total"` // 0: not known
	Bytes int64  `json:"bytes"`
}

// A Problem is one path that could not be handled. The others went on, and the path is tried
// again by the next operation of the kind.
type Problem struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// A Refused is one path that access does not let through.
type Refused struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// A Conflict is one path that both sides changed, differently, and what became of it.
type Conflict struct {
	Path     string `json:"path"`
	Kind     string `json:"kind"`               // content, mode, type, edit-delete
	Where    string `json:"where"`              // upper (found by a pull) or home (by a commit)
	Winner   string `json:"winner"`             // theirs, ours or restored
	Preimage string `json:"preimage,omitempty"` // object of the version that lost, BLAKE3
	Beside   string `json:"beside,omitempty"`   // path at which the other version was written
}

// warnConflict warns of a conflict that a policy decided.
func (e *Engine) warnConflict(c Conflict) {
	e.log.Warn("conflict", "path", c.Path, "kind", c.Kind, "where", c.Where, "winner", c.Winner, "preimage", c.Preimage, "beside", c.Beside)
}

// AttachReport is what Attach found.
type AttachReport struct {
	Home      string    `json:"home"` // in the sandbox
	Fresh     bool      `json:"fresh"`
	Replaced  bool      `json:"replaced"` // fresh, though another one was pushed to before
	Adopted   int       `json:"adopted"`  // equal on both sides
	Foreign   int       `json:"foreign"`  // only in the sandbox: left alone
	Preimages []Kept    `json:"preimages,omitempty"`
	Problems  []Problem `json:"problems,omitempty"`
	Probe     string    `json:"-"` // for shell.Options of the next connection
}

// A Kept is a version that will be replaced and was kept as an object.
type Kept struct {
	Path   string `json:"path"`
	Object string `json:"object"`
}

// PushReport is what a Push did.
type PushReport struct {
	Pushed   []string  `json:"pushed,omitempty"`
	Deleted  []string  `json:"deleted,omitempty"`
	Bytes    int64     `json:"bytes"`
	Refused  []string  `json:"refused,omitempty"` // changed in the sandbox: the next pull sees to them
	Problems []Problem `json:"problems,omitempty"`
}

// PullReport is what a Pull did to the upper layer.
type PullReport struct {
	Attempts  int        `json:"attempts"`
	Pulled    []string   `json:"pulled,omitempty"`
	Deleted   []string   `json:"deleted,omitempty"`
	Kept      []string   `json:"kept,omitempty"`      // deleted on one side, edited on the other: the edit stays
	ReadOnly  []string   `json:"read_only,omitempty"` // changed though access says read: stays in upper
	Conflicts []Conflict `json:"conflicts,omitempty"`
	Problems  []Problem  `json:"problems,omitempty"`
	Bytes     int64      `json:"bytes"`
	Replaced  bool       `json:"replaced,omitempty"` // the sandbox is not the one pushed to: no deletions
}

// CommitOptions of Commit.
type CommitOptions struct {
	// Paths are what to commit, each with all below it; paths of level review only when named.
	// Empty: everything of level write.
	Paths []string

	exact bool // Paths alone, nothing below them: a commit that was interrupted
}

// Applied is one path that a commit changed in the home.
type Applied struct {
	Path     string `json:"path"`
	Op       string `json:"op"`                 // put, delete, mkdir, rmdir, symlink, chmod
	Preimage string `json:"preimage,omitempty"` // object of what stood there, BLAKE3
}

// CommitReport is what a Commit did to the home.
type CommitReport struct {
	Seq       uint64     `json:"seq,omitempty"` // 0: nothing was to be written
	Applied   []Applied  `json:"applied,omitempty"`
	Equal     []string   `json:"equal,omitempty"`  // the home had it already
	Kept      []string   `json:"kept,omitempty"`   // deleted on one side, edited on the other: the edit stays
	Review    []string   `json:"review,omitempty"` // wait for a commit by name
	Refused   []Refused  `json:"refused,omitempty"`
	Conflicts []Conflict `json:"conflicts,omitempty"`
	Problems  []Problem  `json:"problems,omitempty"` // stay in upper
	Recovered []uint64   `json:"recovered,omitempty"`
}

// RestoreReport is what a Restore did to the home.
type RestoreReport struct {
	Of uint64 `json:"of,omitempty"` // the commit that was taken back
	CommitReport
}

// SyncBackReport is both halves of a SyncBack.
type SyncBackReport struct {
	Pull   PullReport   `json:"pull"`
	Commit CommitReport `json:"commit"`
}

// DiffEntry is one path at which the merged view differs from the home.
type DiffEntry struct {
	Path        string       `json:"path"`
	Change      string       `json:"change"` // created, modified, deleted, chmod, type
	Kind        string       `json:"kind"`   // file, directory, symlink, other; of what the mount shows, or was deleted
	Level       access.Level `json:"level"`
	Size        int64        `json:"size"`
	Mode        string       `json:"mode,omitempty"` // octal
	LowerSHA256 string       `json:"lower_sha256,omitempty"`
	UpperSHA256 string       `json:"upper_sha256,omitempty"`
	HomeChanged bool         `json:"home_changed,omitempty"` // the home's version is not the one the change began from
}

// DiscardReport is what a Discard dropped from the upper layer.
type DiscardReport struct {
	Discarded []string  `json:"discarded,omitempty"`
	Problems  []Problem `json:"problems,omitempty"`
}

// RecoverReport is what Recover finished.
type RecoverReport struct {
	Commits  []uint64        `json:"commits,omitempty"`  // that had been interrupted
	Commit   CommitReport    `json:"commit"`             // of what they had not done yet
	Restores []RestoreReport `json:"restores,omitempty"` // the same, of restores
}
