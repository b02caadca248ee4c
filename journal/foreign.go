package journal

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Foreign returns what stood in the sandbox before the first push and was left alone since.
func (j *Journal) Foreign() (map[string]Stat, error) {
	paths := map[string]Stat{}
	err := j.view("read foreign", func(t *txn) error {
		return t.foreign(func(path string, s Stat) error {
			paths[path] = s
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return paths, nil
}

func (t *txn) foreign(fn func(path string, s Stat) error) error {
	return t.each(bucketForeign, nil, func(key, body []byte) error {
		s, err := decodeStat(body)
		if err != nil {
			return corrupt(bucketForeign, key, err)
		}
		return fn(string(key), s)
	})
}

func (t *txn) applyForeign(put map[string]Stat, del []string) error {
	b, err := t.bucket(bucketForeign)
	if err != nil {
		return err
	}
	b.FillPercent = fillFor(len(put))
	if err := deleteKeys(b, del); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(put)) {
		if err := checkPath(path); err != nil {
			return err
		}
		key := []byte(path)
		if err := b.Put(key, seal(bucketForeign, key, encodeStat(put[path]))); err != nil {
			return err
		}
	}
	return nil
}

func encodeStat(s Stat) []byte {
	out := []byte{recordVersion}
	out = binary.AppendUvarint(out, s.Dev)
	out = binary.AppendUvarint(out, s.Ino)
	out = binary.AppendVarint(out, s.Size)
	out = binary.AppendVarint(out, s.Mtime)
	return binary.AppendVarint(out, s.Ctime-s.Mtime)
}

func decodeStat(body []byte) (Stat, error) {
	d := decoder{b: body}
	d.version()
	s := Stat{Dev: d.uvarint(), Ino: d.uvarint(), Size: d.varint(), Mtime: d.varint()}
	s.Ctime = s.Mtime + d.varint()
	if err := d.done(); err != nil {
		return Stat{}, err
	}
	return s, nil
}
