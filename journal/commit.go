package journal

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Commit is one commit into the home.
type Commit struct {
	Seq                uint64 // given by BeginCommit: 1, 2, ..., never one twice
	Mount, Home        string
	StartedAt, EndedAt time.Time // UTC
	Open               bool      // begun and not ended
	Kind               string    // commit or restore
	Steps              int
}

// BeginCommit writes the commit and its plan as one durable transaction, and returns its number. Of c
// it takes Mount, Home, StartedAt and Kind.
func (j *Journal) BeginCommit(c Commit, steps []Step) (seq uint64, err error) {
	err = j.update(stepBegin, func(t *txn) error {
		if seq, err = t.nextCommit(); err != nil {
			return err
		}
		c.EndedAt, c.Open, c.Steps = time.Time{}, true, len(steps)
		if err := t.put(bucketCommits, numberKey(seq), encodeCommit(c)); err != nil {
			return err
		}
		b, err := t.bucket(bucketSteps)
		if err != nil {
			return err
		}
		b.FillPercent = fillBulk // keys only grow
		for i, s := range steps {
			key := stepKey(seq, i)
			if err := b.Put(key, seal(bucketSteps, key, encodeStep(s))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return seq, nil
}

// nextCommit gives out a number. Forgetting the last commits does not free theirs.
func (t *txn) nextCommit() (uint64, error) {
	b, err := t.bucket(bucketCommits)
	if err != nil {
		return 0, err
	}
	var last uint64
	if key, _ := b.Cursor().Last(); len(key) == 8 {
		last = binary.BigEndian.Uint64(key)
	}
	given, err := t.lastCommit()
	if err != nil {
		return 0, err
	}
	seq := max(last, given) + 1
	return seq, t.put(bucketMeta, []byte(keyLastCommit), binary.AppendUvarint(nil, seq))
}

func (t *txn) lastCommit() (uint64, error) {
	body, err := t.get(bucketMeta, []byte(keyLastCommit))
	if err != nil || body == nil {
		return 0, err
	}
	d := decoder{b: body}
	seq := d.uvarint()
	if err := d.done(); err != nil {
		return 0, corrupt(bucketMeta, []byte(keyLastCommit), err)
	}
	return seq, nil
}

// EndCommit marks the commit as done, durably. ErrNotFound if there is no such commit.
func (j *Journal) EndCommit(seq uint64, end time.Time) error {
	return j.update(stepEnd, func(t *txn) error {
		c, err := t.commit(seq)
		if err != nil {
			return err
		}
		if end.Before(c.StartedAt) {
			end = c.StartedAt // the clock was set back meanwhile
		}
		c.EndedAt, c.Open = end, false
		return t.put(bucketCommits, numberKey(seq), encodeCommit(c))
	})
}

// Commits calls fn for each commit, oldest first. fn must not write to the journal; an error of fn ends it
// and is returned as it is.
func (j *Journal) Commits(fn func(Commit) error) error {
	return j.view("read commits", func(t *txn) error {
		return t.commits(func(c Commit) error {
			return t.call(func() error { return fn(c) })
		})
	})
}

// ForgetCommits drops ended commits with their steps, durably. An open one is ErrCommitOpen and one
// that is not there ErrNotFound; then nothing is dropped.
func (j *Journal) ForgetCommits(seqs ...uint64) error {
	return j.update(stepForget, func(t *txn) error {
		if len(seqs) == 0 {
			return errUnchanged
		}
		commits, err := t.bucket(bucketCommits)
		if err != nil {
			return err
		}
		steps, err := t.bucket(bucketSteps)
		if err != nil {
			return err
		}
		for _, seq := range slices.Compact(slices.Sorted(slices.Values(seqs))) {
			c, err := t.commit(seq)
			if err != nil {
				return err
			}
			if c.Open {
				return fmt.Errorf("commit %d: %w", seq, ErrCommitOpen)
			}
			if err := commits.Delete(numberKey(seq)); err != nil {
				return err
			}
			for i := range c.Steps {
				if err := steps.Delete(stepKey(seq, i)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (t *txn) commit(seq uint64) (Commit, error) {
	body, err := t.get(bucketCommits, numberKey(seq))
	if err != nil {
		return Commit{}, err
	}
	if body == nil {
		return Commit{}, fmt.Errorf("commit %d: %w", seq, ErrNotFound)
	}
	c, err := decodeCommit(body)
	if err != nil {
		return Commit{}, corrupt(bucketCommits, numberKey(seq), err)
	}
	c.Seq = seq
	return c, nil
}

func (t *txn) commits(fn func(Commit) error) error {
	return t.each(bucketCommits, nil, func(key, body []byte) error {
		c, err := decodeCommit(body)
		if err == nil && len(key) != 8 {
			err = errShort
		}
		if err != nil {
			return corrupt(bucketCommits, key, err)
		}
		c.Seq = binary.BigEndian.Uint64(key)
		return fn(c)
	})
}

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func encodeCommit(c Commit) []byte {
	open := byte(0)
	if c.Open {
		open = 1
	}
	out := []byte{recordVersion, open}
	out = appendString(out, c.Kind)
	out = appendString(out, c.Mount)
	out = appendString(out, c.Home)
	out = appendTime(out, c.StartedAt)
	out = appendTime(out, c.EndedAt)
	return binary.AppendUvarint(out, uint64(c.Steps))
}

func decodeCommit(body []byte) (Commit, error) {
	d := decoder{b: body}
	d.version()
	open := d.byte()
	if open > 1 {
		d.fail(errRange)
	}
	c := Commit{Open: open == 1, Kind: d.string(), Mount: d.string(), Home: d.string()}
	c.StartedAt, c.EndedAt = d.time(), d.time()
	c.Steps = int(d.uint32())
	if err := d.done(); err != nil {
		return Commit{}, err
	}
	return c, nil
}

// SetSteps replaces steps of a commit by their index, in one durable transaction. ErrNotFound if
// there is no such commit or step.
func (j *Journal) SetSteps(seq uint64, steps map[int]Step) error {
	return j.update(stepSteps, func(t *txn) error {
		c, err := t.commit(seq)
		if err != nil {
			return err
		}
		if len(steps) == 0 {
			return errUnchanged
		}
		b, err := t.bucket(bucketSteps)
		if err != nil {
			return err
		}
		b.FillPercent = fillFor(len(steps))
		for _, i := range slices.Sorted(maps.Keys(steps)) {
			if i < 0 || i >= c.Steps {
				return fmt.Errorf("commit %d step %d of %d: %w", seq, i, c.Steps, ErrNotFound)
			}
			key := stepKey(seq, i)
			if err := b.Put(key, seal(bucketSteps, key, encodeStep(steps[i]))); err != nil {
				return err
			}
		}
		return nil
	})
}
