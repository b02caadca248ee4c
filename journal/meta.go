package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// Meta is what a journal knows of its mount as a whole.
type Meta struct {
	Mount, MountID, Home, SandboxURL, SandboxID string
	CreatedAt                                   time.Time // UTC
	Generation                                  uint64    // of the last push
	Probe                                       string    // what the sandbox can do, as its backend found it
}

// The keys of the meta bucket. keyFormat must keep its place and encoding in every format.
const (
	keyFormat     = "format"      // uint32, big-endian
	keyMount      = "mount"       // Meta
	keyLastCommit = "last_commit" // the highest commit number ever given
)

// Meta returns the mount's record; it is zero until the first UpdateMeta.
func (j *Journal) Meta() (Meta, error) {
	var m Meta
	err := j.view("read meta", func(t *txn) (err error) {
		m, err = t.meta()
		return err
	})
	return m, err
}

// UpdateMeta lets fn change the mount's record, in one durable transaction. fn must not call the journal.
func (j *Journal) UpdateMeta(fn func(*Meta)) error {
	return j.update(stepMeta, func(t *txn) error {
		m, err := t.meta()
		if err != nil {
			return err
		}
		before := encodeMeta(m)
		if err := t.call(func() error { fn(&m); return nil }); err != nil {
			return err
		}
		after := encodeMeta(m)
		if bytes.Equal(before, after) {
			return errUnchanged
		}
		return t.put(bucketMeta, []byte(keyMount), after)
	})
}

func (t *txn) meta() (Meta, error) {
	body, err := t.get(bucketMeta, []byte(keyMount))
	if err != nil || body == nil {
		return Meta{}, err
	}
	m, err := decodeMeta(body)
	if err != nil {
		return Meta{}, corrupt(bucketMeta, []byte(keyMount), err)
	}
	return m, nil
}

// checkFormat reads the format number, which must be ours.
func (t *txn) checkFormat() error {
	key := []byte(keyFormat)
	body, err := t.get(bucketMeta, key)
	if err != nil {
		return err
	}
	if len(body) != 4 {
		return corrupt(bucketMeta, key, errShort)
	}
	if found := binary.BigEndian.Uint32(body); found != Format {
		return fmt.Errorf("%w: the file has format %d, this program knows format %d", ErrFormat, found, Format)
	}
	return nil
}

func (t *txn) putFormat(format uint32) error {
	return t.put(bucketMeta, []byte(keyFormat), binary.BigEndian.AppendUint32(nil, format))
}

func encodeMeta(m Meta) []byte {
	b := []byte{recordVersion}
	for _, s := range []string{m.Mount, m.MountID, m.Home, m.SandboxURL, m.SandboxID, m.Probe} {
		b = appendString(b, s)
	}
	b = appendTime(b, m.CreatedAt)
	return binary.AppendUvarint(b, m.Generation)
}

func decodeMeta(body []byte) (Meta, error) {
	var m Meta
	d := decoder{b: body}
	d.version()
	for _, s := range []*string{&m.Mount, &m.MountID, &m.Home, &m.SandboxURL, &m.SandboxID, &m.Probe} {
		*s = d.string()
	}
	m.CreatedAt = d.time()
	m.Generation = d.uvarint()
	if err := d.done(); err != nil {
		return Meta{}, err
	}
	return m, nil
}
