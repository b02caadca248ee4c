package journal

import (
	"encoding/binary"
	"time"
)

// Event is one line of the log: what happened to a path, when.
type Event struct {
	At                 time.Time // UTC
	Path, What, Detail string    // What: pushed, deleted, pulled, conflict, committed, refused, ...
}

// The log keeps the newest maxEvents, to within a block. A block is blockEvents long, so that a
// push's sorted paths cost about 20 bytes each and not 100; its key is the number of its first event.
// There is no index by path: the log is bounded, and reading all of it takes some 20 ms.
const (
	maxEvents   = 100_000
	blockEvents = 32
)

// Log calls fn for each event of path, or of every path if it is "", oldest first. fn must not write
// to the journal; an error of fn ends it and is returned as it is.
func (j *Journal) Log(path string, fn func(Event) error) error {
	return j.view("read log", func(t *txn) error {
		return t.log(func(_ uint64, events []Event) error {
			for _, e := range events {
				if path != "" && e.Path != path {
					continue
				}
				if err := t.call(func() error { return fn(e) }); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// log calls fn for each block with the number of its first event.
func (t *txn) log(fn func(first uint64, events []Event) error) error {
	return t.each(bucketLog, nil, func(key, body []byte) error {
		events, err := blockOf(key, body)
		if err != nil {
			return err
		}
		return fn(binary.BigEndian.Uint64(key), events)
	})
}

// appendEvents adds to the last block while it has room, then adds blocks, then drops the oldest ones.
func (t *txn) appendEvents(events []Event) error {
	if len(events) == 0 {
		return nil
	}
	b, err := t.bucket(bucketLog)
	if err != nil {
		return err
	}
	b.FillPercent = fillBulk // keys only grow
	first := uint64(1)
	if key, value := b.Cursor().Last(); key != nil {
		body, err := unseal(bucketLog, key, value)
		if err != nil {
			return corrupt(bucketLog, key, err)
		}
		last, err := blockOf(key, body)
		if err != nil {
			return err
		}
		first = binary.BigEndian.Uint64(key)
		if len(last) < blockEvents {
			events = append(last, events...)
		} else {
			first += uint64(len(last))
		}
	}
	for len(events) > 0 {
		n := min(len(events), blockEvents)
		if err := t.put(bucketLog, numberKey(first), encodeEvents(events[:n])); err != nil {
			return err
		}
		first += uint64(n)
		events = events[n:]
	}
	return t.trimLog(first)
}

// blockOf decodes a block.
func blockOf(key, body []byte) ([]Event, error) {
	events, err := decodeEvents(body)
	if err == nil && len(key) != 8 {
		err = errShort
	}
	if err != nil {
		return nil, corrupt(bucketLog, key, err)
	}
	return events, nil
}

// trimLog drops the blocks whose events are all older than the newest maxEvents. Numbers have no gaps.
func (t *txn) trimLog(next uint64) error {
	if next <= maxEvents {
		return nil
	}
	b, err := t.bucket(bucketLog)
	if err != nil {
		return err
	}
	var drop [][]byte
	var prev []byte
	c := b.Cursor()
	for key, _ := c.First(); len(key) == 8; key, _ = c.Next() {
		if binary.BigEndian.Uint64(key) > next-maxEvents {
			break
		}
		if prev != nil {
			drop = append(drop, prev)
		}
		prev = key
	}
	for _, key := range drop {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// encodeEvents writes each path as the part that differs from the one before, and each word once.
func encodeEvents(events []Event) []byte {
	out := []byte{recordVersion}
	out = binary.AppendUvarint(out, uint64(len(events)))
	words := map[string]int{}
	var path string
	var at int64
	for _, e := range events {
		ns := int64(0)
		if !e.At.IsZero() {
			ns = e.At.UnixNano()
		}
		out = binary.AppendVarint(out, ns-at)
		at = ns
		same := commonPrefix(path, e.Path)
		out = binary.AppendUvarint(out, uint64(same))
		out = appendString(out, e.Path[same:])
		path = e.Path
		for _, word := range []string{e.What, e.Detail} {
			n, known := words[word]
			if !known {
				n = 0
				words[word] = len(words) + 1
			}
			out = binary.AppendUvarint(out, uint64(n))
			if !known {
				out = appendString(out, word)
			}
		}
	}
	return out
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func decodeEvents(body []byte) ([]Event, error) {
	d := decoder{b: body}
	d.version()
	count := d.uvarint()
	if count > blockEvents {
		d.fail(errRange)
	}
	var events []Event
	var words []string
	var path string
	var at int64
	for range count {
		at += d.varint()
		same := d.uvarint()
		if same > uint64(len(path)) {
			d.fail(errRange)
			break
		}
		path = path[:same] + d.string()
		e := Event{Path: path}
		if at != 0 {
			e.At = time.Unix(0, at).UTC()
		}
		for _, text := range []*string{&e.What, &e.Detail} {
			n := d.uvarint()
			if n == 0 {
				words = append(words, d.string())
				n = uint64(len(words))
			}
			if n > uint64(len(words)) {
				d.fail(errRange)
				break
			}
			*text = words[n-1]
		}
		if d.err != nil {
			break
		}
		events = append(events, e)
	}
	if err := d.done(); err != nil {
		return nil, err
	}
	return events, nil
}
