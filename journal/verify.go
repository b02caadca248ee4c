package journal

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

const maxPageProblems = 100

// Verify checks the whole file and calls fn for each problem: the page structure, that every record
// decodes, and what must hold between records. Its error means that the check itself could not run.
// It works on a journal that other calls report as damaged. Writers wait meanwhile; fn must not call
// the journal.
func (j *Journal) Verify(fn func(problem string)) error {
	db, err := j.enter(false)
	if err != nil {
		return err
	}
	defer j.leave()
	t := &txn{}
	v := &verifier{t: t, report: func(problem string) {
		_ = t.call(func() error { fn(problem); return nil })
	}}
	err = j.guard(t, !j.readOnly, func() error {
		// A write transaction keeps the pages as they are; a read-only journal has no writer.
		tx, err := db.Begin(!j.readOnly)
		if err != nil {
			return err
		}
		defer tx.Rollback() // nothing was changed
		t.Tx = tx
		return v.run(j)
	})
	return j.named("verify", &txn{}, err)
}

// verifier is one run of Verify.
type verifier struct {
	t      *txn
	report func(problem string)
}

func (v *verifier) bad(format string, args ...any) { v.report(fmt.Sprintf(format, args...)) }

func (v *verifier) run(j *Journal) error {
	j.mu.Lock()
	file := j.file
	j.mu.Unlock()
	problems, err := scanFile(file, scanDepth{leaves: true, deep: true}, maxPageProblems)
	if err != nil {
		return err
	}
	for _, problem := range problems {
		v.report(problem)
	}
	if len(problems) > 0 {
		// bbolt's own check runs in a goroutine of its own, where a fault kills the process, and
		// reading on through broken pages tells nothing new.
		return nil
	}
	for err := range v.t.Check() {
		v.report(err.Error())
	}
	v.names()
	v.meta()
	v.bases()
	v.pending()
	v.foreign()
	v.commits()
	v.log()
	return nil
}

// names reports buckets that this format does not have.
func (v *verifier) names() {
	known := buckets()
	_ = v.t.ForEach(func(name []byte, _ *bolt.Bucket) error {
		if !slices.Contains(known, string(name)) {
			v.bad("bucket %q is not of this format", name)
		}
		return nil
	})
}

// records checks every record of a bucket, also those after a damaged one.
func (v *verifier) records(bucket string, check func(key, body []byte) error) {
	b, err := v.t.bucket(bucket)
	if err != nil {
		v.report(err.Error())
		return
	}
	_ = b.ForEach(func(key, value []byte) error {
		body, err := unseal(bucket, key, value)
		if err == nil {
			err = check(key, body)
		}
		if err != nil {
			v.bad("bucket %s, %s: %v", bucket, quoteKey(bucket, key), err)
		}
		return nil
	})
}

func (v *verifier) meta() {
	v.records(bucketMeta, func(key, body []byte) error {
		switch string(key) {
		case keyFormat:
			return v.t.checkFormat()
		case keyMount:
			_, err := decodeMeta(body)
			return err
		case keyLastCommit:
			_, err := v.t.lastCommit()
			return err
		}
		return fmt.Errorf("unknown key")
	})
}

func (v *verifier) bases() {
	v.records(bucketBase, func(key, body []byte) error { return checkBase(key, body) })
}

func (v *verifier) pending() {
	v.records(bucketPending, func(key, body []byte) error {
		if len(body) == 0 {
			return checkClean(key)
		}
		return checkBase(key, body)
	})
}

func (v *verifier) foreign() {
	v.records(bucketForeign, func(key, body []byte) error {
		if err := checkClean(key); err != nil {
			return err
		}
		_, err := decodeStat(body)
		return err
	})
}

func checkBase(key, body []byte) error {
	b, err := decodeBase(body)
	if err != nil {
		return err
	}
	switch {
	case b.Size < 0:
		return fmt.Errorf("size %d", b.Size)
	case (b.Kind == Symlink) != (b.Target != ""):
		return fmt.Errorf("a %s with target %q", b.Kind, b.Target)
	}
	return checkClean(key)
}

// checkClean says whether a key is a path that stays below the home.
func checkClean(key []byte) error {
	path := string(key)
	if path == "." {
		return nil // the home itself
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return fmt.Errorf("not a clean relative path")
		}
	}
	return nil
}

// commits checks each commit, that it has the steps it counts, and that every step has a commit.
func (v *verifier) commits() {
	last, err := v.t.lastCommit()
	if err != nil {
		last = 0 // reported by meta
	}
	steps := map[uint64]int{}
	v.records(bucketCommits, func(key, body []byte) error {
		c, err := decodeCommit(body)
		if err == nil && len(key) != 8 {
			err = errShort
		}
		if err != nil {
			return err
		}
		seq := binary.BigEndian.Uint64(key)
		steps[seq] = c.Steps
		switch {
		case seq == 0 || seq > last:
			return fmt.Errorf("only %d were ever begun", last)
		case c.Open != c.EndedAt.IsZero():
			return fmt.Errorf("open is %t, but it ended at %s", c.Open, c.EndedAt)
		case !c.Open && c.EndedAt.Before(c.StartedAt):
			return fmt.Errorf("ended at %s, before it started at %s", c.EndedAt, c.StartedAt)
		}
		return nil
	})
	have := map[uint64]int{}
	v.records(bucketSteps, func(key, body []byte) error {
		if len(key) != stepKeySize {
			return errShort
		}
		seq, i := binary.BigEndian.Uint64(key), int(binary.BigEndian.Uint32(key[8:]))
		have[seq]++
		s, err := decodeStep(body)
		switch want, known := steps[seq]; {
		case err != nil:
			return err
		case !known:
			return fmt.Errorf("there is no such commit")
		case i >= want:
			return fmt.Errorf("its commit has %d steps", want)
		case s.Path == "" || s.Op == "" || s.Kind > Symlink || s.Before.Kind > Symlink:
			return fmt.Errorf("%q of kind %d over kind %d at path %q", s.Op, s.Kind, s.Before.Kind, s.Path)
		}
		return nil
	})
	for seq, want := range steps {
		if have[seq] != want {
			v.bad("bucket %s, number %d: %d steps, of which %d are there", bucketCommits, seq, want, have[seq])
		}
	}
}

// log checks that the blocks follow each other without a gap.
func (v *verifier) log() {
	var next uint64
	v.records(bucketLog, func(key, body []byte) error {
		events, err := decodeEvents(body)
		if err == nil && len(key) != 8 {
			err = errShort
		}
		if err != nil {
			return err
		}
		first := binary.BigEndian.Uint64(key)
		want := next
		next = first + uint64(len(events))
		if len(events) == 0 || (want != 0 && first != want) {
			return fmt.Errorf("%d events, and the one before ended at %d", len(events), want)
		}
		return nil
	})
}
