package journal

import "errors"

// Kind is what stands at a path.
type Kind uint8

// The kinds; 0 means that nothing stands there.
const (
	File    Kind = 1
	Dir     Kind = 2
	Symlink Kind = 3
)

// Stat is what identifies a version of a file without reading it; times are in ns since 1970.
type Stat struct {
	Dev, Ino           uint64
	Size, Mtime, Ctime int64
}

// Base is what both sides last agreed on for one path.
type Base struct {
	Kind       Kind
	SHA256     [32]byte
	Size       int64
	Mode       uint32
	Mtime      int64
	Target     string
	Generation uint64
	PushedAt   int64
	Ours       Stat
	HashedAt   int64
	Theirs     Stat
}

// Base returns the record of path, and whether there is one.
func (j *Journal) Base(path string) (Base, bool, error) {
	return Base{}, false, errors.ErrUnsupported
}

// Bases calls fn for each base record in key order.
func (j *Journal) Bases(fn func(path string, b Base) error) error { return errors.ErrUnsupported }

// CountBases returns how many base records there are.
func (j *Journal) CountBases() (int, error) { return 0, errors.ErrUnsupported }

// Update is what one durable transaction changes: Delete before Put, ForeignDelete before Foreign.
type Update struct {
	Put           map[string]Base
	Delete        []string
	ClearPending  bool
	Foreign       map[string]Stat
	ForeignDelete []string
	Events        []Event
}

// Apply writes u in one durable transaction.
func (j *Journal) Apply(u Update) error { return errors.ErrUnsupported }
