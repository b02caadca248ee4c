package syncer

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hermesfs/journal"
)

// pruneGrace is how old an object must be that nothing names before it is pruned: a process that
// was killed may have kept a version and not come to write that down.
const pruneGrace = 24 * time.Hour

// An ObjectUse is what needs objects: a commit, or with Seq 0 a line of the log.
type ObjectUse struct {
	Seq     uint64    `json:"seq,omitempty"`
	Kind    string    `json:"kind,omitempty"` // of the commit
	Open    bool      `json:"open,omitempty"`
	At      time.Time `json:"at"` // when the commit ended
	Objects []string  `json:"objects,omitempty"`
}

// ObjectUses lists what needs objects in a journal.
func ObjectUses(j *journal.Journal) ([]ObjectUse, error) {
	var uses []ObjectUse
	err := j.Commits(func(c journal.Commit) error {
		u := ObjectUse{Seq: c.Seq, Kind: c.Kind, Open: c.Open, At: c.EndedAt.UTC()}
		err := j.Steps(c.Seq, func(_ int, s journal.Step) error {
			for _, sum := range [][32]byte{s.Object, s.Before.Object} {
				if name := ObjectName(sum); name != "" {
					u.Objects = append(u.Objects, name)
				}
			}
			return nil
		})
		uses = append(uses, u)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	err = j.Log("", func(ev journal.Event) error {
		if c, ok := loggedConflict(ev); ok && c.Preimage != "" {
			uses = append(uses, ObjectUse{At: ev.At.UTC(), Objects: []string{c.Preimage}})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return uses, nil
}

// PruneOptions say what is too much.
type PruneOptions struct {
	Mount   string    // whose commits may be forgotten; "" is every mount
	Before  time.Time // what ended before is forgotten; zero: nothing is, for its age
	MaxSize int64     // the oldest are forgotten until the objects take no more; < 0: any size
}

// A PrunedCommit is a commit to forget.
type PrunedCommit struct {
	Mount   string    `json:"mount"`
	Seq     uint64    `json:"seq"`
	Kind    string    `json:"kind"`
	EndedAt time.Time `json:"ended_at"`
}

// A StoredObject is one object of the store.
type StoredObject struct {
	Name  string    `json:"object"`
	Size  int64     `json:"size"`
	Since time.Time `json:"-"`
}

// A PrunePlan is what goes, oldest first, and what stays.
type PrunePlan struct {
	Commits   []PrunedCommit `json:"commits"`
	Objects   []StoredObject `json:"objects"`
	Bytes     int64          `json:"bytes"` // of Objects
	Kept      int            `json:"kept_objects"`
	KeptBytes int64          `json:"kept_bytes"`
}

// PlanPrune decides what can go, from the uses of all mounts by their names, and does nothing. What an
// open commit needs stays, as does what any mount needs whose commits may not be forgotten.
func PlanPrune(uses map[string][]ObjectUse, stored []StoredObject, o PruneOptions, now time.Time) PrunePlan {
	type ref struct {
		mount string
		ObjectUse
	}
	var may []ref
	refs, sizes := map[string]int{}, map[string]int64{}
	for _, s := range stored {
		sizes[s.Name] = s.Size
	}
	var total int64
	for mount, list := range uses {
		for _, u := range list {
			for _, name := range u.Objects {
				if refs[name]++; refs[name] == 1 {
					total += sizes[name]
				}
			}
			if !u.Open && (o.Mount == "" || o.Mount == mount) {
				may = append(may, ref{mount, u})
			}
		}
	}
	slices.SortFunc(may, func(a, b ref) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.mount, b.mount), cmp.Compare(a.Seq, b.Seq))
	})
	p := PrunePlan{Commits: []PrunedCommit{}, Objects: []StoredObject{}}
	freed := map[string]bool{}
	for _, u := range may {
		if !u.At.Before(o.Before) && (o.MaxSize < 0 || total <= o.MaxSize) {
			break
		}
		for _, name := range u.Objects {
			if refs[name]--; refs[name] == 0 {
				total -= sizes[name]
				freed[name] = true
			}
		}
		if u.Seq != 0 {
			p.Commits = append(p.Commits, PrunedCommit{u.mount, u.Seq, u.Kind, u.At})
		}
	}
	for _, s := range stored {
		if refs[s.Name] == 0 && (freed[s.Name] || now.Sub(s.Since) >= pruneGrace) {
			p.Objects = append(p.Objects, s)
			p.Bytes += s.Size
		} else {
			p.Kept++
			p.KeptBytes += s.Size
		}
	}
	return p
}

// Hold keeps every engine that uses the store, in any process, from starting an operation, and waits for
// those that run. What it returns ends that.
func (o *Objects) Hold(ctx context.Context) (release func(), err error) {
	return o.flock(ctx, unix.LOCK_EX)
}

// share is what each operation of an engine holds: from when it finds or stores an object to when
// the journal says so, nobody prunes.
func (o *Objects) share(ctx context.Context) (release func(), err error) {
	release, err = o.flock(ctx, unix.LOCK_SH)
	for _, none := range []error{unix.ENOLCK, unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL, unix.EBADF} {
		if errors.Is(err, none) { // no such locks on this file system: then nobody can prune either
			return func() {}, nil
		}
	}
	return release, err
}

func (o *Objects) flock(ctx context.Context, how int) (func(), error) {
	f, err := os.Open(o.dir)
	if err != nil {
		return nil, fmt.Errorf("lock objects: %w", err)
	}
	for {
		err := retry(func() error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) })
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = systemClock{}.Sleep(ctx, lockPoll) // real time: another process is waited for
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock objects: %w", err), f.Close())
		}
	}
}

// List lists the store, sorted by name.
func (o *Objects) List() ([]StoredObject, error) {
	var all []StoredObject
	err := o.walk(func(path, name string, st unix.Stat_t) error {
		if isObjectName(name) {
			all = append(all, StoredObject{name, st.Size, time.Unix(st.Ctim.Unix())})
		}
		return nil
	})
	return all, err
}

// walk calls fn for each file of the store; name is what it would be called as an object.
func (o *Objects) walk(fn func(path, name string, st unix.Stat_t) error) error {
	err := filepath.WalkDir(o.dir, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(o.dir, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		return fn(path, strings.Replace(rel, string(filepath.Separator), "", 1), st)
	})
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	return nil
}

// Remove removes objects, and what killed processes left half-written. The caller holds the store,
// see Hold, and no journal needs them.
func (o *Objects) Remove(objects []StoredObject, now time.Time) error {
	var errs []error
	for _, s := range objects {
		sum, ok := ParseObject(s.Name)
		if !ok {
			continue
		}
		path := o.path(sum)
		if err := os.Remove(path); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove object: %w", err))
			continue
		}
		_ = os.Remove(filepath.Join(o.dir, hex.EncodeToString(sum[:1]))) // when it was the last
	}
	errs = append(errs, o.walk(func(path, name string, st unix.Stat_t) error {
		if strings.HasPrefix(name, "tmp-") && now.Sub(time.Unix(st.Ctim.Unix())) >= pruneGrace {
			return os.Remove(path)
		}
		return nil
	}))
	return errors.Join(errs...)
}
