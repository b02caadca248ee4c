package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// recordVersion begins every value, so that one kind of record can change without a new Format.
const recordVersion = 1

var (
	errShort    = errors.New("record is cut short")
	errTrailing = errors.New("record has bytes left over")
	errChecksum = errors.New("checksum does not match")
	errVersion  = errors.New("unknown record version")
	errRange    = errors.New("number out of range")
)

const crcSize = 4

// seal appends the CRC of where a record stands and what it says, so that neither a flipped bit nor
// a record under another key passes.
func seal(bucket string, key, body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body, checksum(bucket, key, body))
}

// unseal returns the record without its CRC, still inside value.
func unseal(bucket string, key, value []byte) ([]byte, error) {
	n := len(value) - crcSize
	if n < 0 {
		return nil, errShort
	}
	if binary.LittleEndian.Uint32(value[n:]) != checksum(bucket, key, value[:n]) {
		return nil, errChecksum
	}
	return value[:n], nil
}

func checksum(bucket string, key, body []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte(bucket))
	sum = crc32.Update(sum, table, binary.LittleEndian.AppendUint32(nil, uint32(len(key))))
	sum = crc32.Update(sum, table, key)
	return crc32.Update(sum, table, body)
}

// corrupt names the record that is damaged.
func corrupt(bucket string, key []byte, why error) error {
	return fmt.Errorf("%w: bucket %s, %s: %w", ErrCorrupt, bucket, quoteKey(bucket, key), why)
}

// quoteKey shows a key: paths quoted, numbers as numbers.
func quoteKey(bucket string, key []byte) string {
	switch {
	case (bucket == bucketCommits || bucket == bucketLog) && len(key) == 8:
		return fmt.Sprintf("number %d", binary.BigEndian.Uint64(key))
	case bucket == bucketSteps && len(key) == stepKeySize:
		return fmt.Sprintf("commit %d step %d", binary.BigEndian.Uint64(key), binary.BigEndian.Uint32(key[8:]))
	}
	return fmt.Sprintf("%q", key)
}

// decoder reads a record; the first error sticks, and every later read returns zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail(errRange)
		return 0
	}
	return uint32(v)
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail(errShort)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// take returns the next n bytes, still inside the record.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail(errShort)
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// string returns a copy, which outlives the transaction.
func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) hash() (h [32]byte) {
	copy(h[:], d.take(uint64(len(h))))
	return h
}

func (d *decoder) time() time.Time {
	ns := d.varint()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func (d *decoder) version() {
	if v := d.byte(); v != recordVersion {
		d.fail(errVersion)
	}
}

// done is the record's verdict: everything read, nothing left.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		return errTrailing
	}
	return d.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}
