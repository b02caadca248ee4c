package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Before is what stood in the home at a path before a commit's step; Kind 0 means nothing did.
type Before struct {
	Kind   Kind
	Mode   uint32
	Mtime  int64
	Object [32]byte // BLAKE3 of the content
	Size   int64
	Target string
}

// Step is one path of a commit.
type Step struct {
	Path, Op                  string // Op: put, delete, mkdir, rmdir, symlink, chmod
	Kind                      Kind
	Mode                      uint32
	Mtime                     int64
	SHA256                    [32]byte
	Object                    [32]byte // BLAKE3 of the content
	Target                    string
	Before                    Before
	Result, Conflict, Message string // Result: "" (planned), staged, applied, skipped, problem
}

// Steps calls fn for each step of a commit, in order. ErrNotFound if there is no such commit. fn must
// not write to the journal; an error of fn ends it and is returned as it is.
func (j *Journal) Steps(seq uint64, fn func(i int, s Step) error) error {
	return j.view("read steps", func(t *txn) error {
		if _, err := t.commit(seq); err != nil {
			return err
		}
		return t.steps(seq, func(i int, s Step) error {
			return t.call(func() error { return fn(i, s) })
		})
	})
}

func (t *txn) steps(seq uint64, fn func(i int, s Step) error) error {
	prefix := numberKey(seq)
	err := t.each(bucketSteps, prefix, func(key, body []byte) error {
		if !bytes.HasPrefix(key, prefix) {
			return errEnough
		}
		s, err := decodeStep(body)
		if err == nil && len(key) != stepKeySize {
			err = errShort
		}
		if err != nil {
			return corrupt(bucketSteps, key, err)
		}
		return fn(int(binary.BigEndian.Uint32(key[8:])), s)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

const stepKeySize = 12

func stepKey(seq uint64, i int) []byte {
	return binary.BigEndian.AppendUint32(numberKey(seq), uint32(i))
}

// The flags of an encoded Step: which hashes follow.
const (
	stepHasSHA256 = 1 << iota
	stepHasObject
	stepHasBefore
)

func encodeStep(s Step) []byte {
	var flags byte
	if s.SHA256 != [32]byte{} {
		flags |= stepHasSHA256
	}
	if s.Object != [32]byte{} {
		flags |= stepHasObject
	}
	if s.Before.Object != [32]byte{} {
		flags |= stepHasBefore
	}
	out := make([]byte, 0, 256)
	out = append(out, recordVersion, flags, byte(s.Kind), byte(s.Before.Kind))
	for _, text := range []string{s.Path, s.Op, s.Target, s.Result, s.Conflict, s.Message, s.Before.Target} {
		out = appendString(out, text)
	}
	out = binary.AppendUvarint(out, uint64(s.Mode))
	out = binary.AppendVarint(out, s.Mtime)
	out = binary.AppendUvarint(out, uint64(s.Before.Mode))
	out = binary.AppendVarint(out, s.Before.Mtime-s.Mtime)
	out = binary.AppendVarint(out, s.Before.Size)
	for i, hash := range [][]byte{s.SHA256[:], s.Object[:], s.Before.Object[:]} {
		if flags&(1<<i) != 0 {
			out = append(out, hash...)
		}
	}
	return out
}

func decodeStep(body []byte) (Step, error) {
	var s Step
	d := decoder{b: body}
	d.version()
	flags := d.byte()
	s.Kind, s.Before.Kind = Kind(d.byte()), Kind(d.byte())
	for _, text := range []*string{&s.Path, &s.Op, &s.Target, &s.Result, &s.Conflict, &s.Message, &s.Before.Target} {
		*text = d.string()
	}
	s.Mode = d.uint32()
	s.Mtime = d.varint()
	s.Before.Mode = d.uint32()
	s.Before.Mtime = s.Mtime + d.varint()
	s.Before.Size = d.varint()
	for i, hash := range []*[32]byte{&s.SHA256, &s.Object, &s.Before.Object} {
		if flags&(1<<i) != 0 {
			*hash = d.hash()
		}
	}
	if err := d.done(); err != nil {
		return Step{}, err
	}
	return s, nil
}
