package journal

import (
	"encoding/binary"
	"time"
)

// The flags of an encoded Base: which parts follow, and which are as another field says.
const (
	hasSHA256 = 1 << iota
	hasTarget
	hasOurs
	hasTheirs
	oursAsBase       // Ours.Size and Ours.Mtime are Size and Mtime
	theirsSizeAsBase // Theirs.Size is Size
	theirsMtimeAsOne // Theirs.Mtime is Mtime
	theirsMtimeFloor // Theirs.Mtime is Mtime cut to the second, as plain tar leaves it
)

// encodeBase writes times as differences from the nearest other time: a record with both stats is
// about 90 bytes.
func encodeBase(b Base) []byte {
	out := make([]byte, 2, 128)
	out[0] = recordVersion<<4 | byte(b.Kind)
	flags := baseFlags(b)
	out[1] = flags
	if flags&hasSHA256 != 0 {
		out = append(out, b.SHA256[:]...)
	}
	out = binary.AppendVarint(out, b.Size)
	out = binary.AppendUvarint(out, uint64(b.Mode))
	out = binary.AppendVarint(out, b.Mtime)
	out = binary.AppendUvarint(out, b.Generation)
	if flags&hasTarget != 0 {
		out = appendString(out, b.Target)
	}
	last := b.Mtime
	if flags&hasOurs != 0 {
		out = binary.AppendUvarint(out, b.Ours.Dev)
		out = binary.AppendUvarint(out, b.Ours.Ino)
		if flags&oursAsBase == 0 {
			out = binary.AppendVarint(out, b.Ours.Size)
			out = binary.AppendVarint(out, b.Ours.Mtime-b.Mtime)
		}
		out = binary.AppendVarint(out, b.Ours.Ctime-last)
		last = b.Ours.Ctime
	}
	out = binary.AppendVarint(out, b.HashedAt-last)
	out = binary.AppendVarint(out, b.PushedAt-b.HashedAt)
	if flags&hasTheirs != 0 {
		out = binary.AppendUvarint(out, b.Theirs.Dev)
		out = binary.AppendUvarint(out, b.Theirs.Ino)
		if flags&theirsSizeAsBase == 0 {
			out = binary.AppendVarint(out, b.Theirs.Size)
		}
		if flags&(theirsMtimeAsOne|theirsMtimeFloor) == 0 {
			out = binary.AppendVarint(out, b.Theirs.Mtime-b.Mtime)
		}
		out = binary.AppendVarint(out, b.Theirs.Ctime-b.PushedAt)
	}
	return out
}

func baseFlags(b Base) (flags byte) {
	set := func(on bool, flag byte) {
		if on {
			flags |= flag
		}
	}
	set(b.SHA256 != [32]byte{}, hasSHA256)
	set(b.Target != "", hasTarget)
	if b.Ours != (Stat{}) {
		set(true, hasOurs)
		set(b.Ours.Size == b.Size && b.Ours.Mtime == b.Mtime, oursAsBase)
	}
	if b.Theirs != (Stat{}) {
		set(true, hasTheirs)
		set(b.Theirs.Size == b.Size, theirsSizeAsBase)
		set(b.Theirs.Mtime == b.Mtime, theirsMtimeAsOne)
		set(b.Theirs.Mtime != b.Mtime && b.Theirs.Mtime == floorSecond(b.Mtime), theirsMtimeFloor)
	}
	return flags
}

func floorSecond(ns int64) int64 {
	const second = int64(time.Second)
	return ns - (ns%second+second)%second
}

func decodeBase(body []byte) (Base, error) {
	d := decoder{b: body}
	head, flags := d.byte(), d.byte()
	if d.err == nil && head>>4 != recordVersion {
		return Base{}, errVersion
	}
	b := Base{Kind: Kind(head & 0x0f)}
	if d.err == nil && (b.Kind < File || b.Kind > Symlink) {
		return Base{}, errKind
	}
	if flags&hasSHA256 != 0 {
		b.SHA256 = d.hash()
	}
	b.Size = d.varint()
	b.Mode = d.uint32()
	b.Mtime = d.varint()
	b.Generation = d.uvarint()
	if flags&hasTarget != 0 {
		b.Target = d.string()
	}
	last := b.Mtime
	if flags&hasOurs != 0 {
		b.Ours = Stat{Dev: d.uvarint(), Ino: d.uvarint(), Size: b.Size, Mtime: b.Mtime}
		if flags&oursAsBase == 0 {
			b.Ours.Size = d.varint()
			b.Ours.Mtime = b.Mtime + d.varint()
		}
		b.Ours.Ctime = last + d.varint()
		last = b.Ours.Ctime
	}
	b.HashedAt = last + d.varint()
	b.PushedAt = b.HashedAt + d.varint()
	if flags&hasTheirs != 0 {
		b.Theirs = decodeTheirs(&d, flags, b)
	}
	if err := d.done(); err != nil {
		return Base{}, err
	}
	return b, nil
}

func decodeTheirs(d *decoder, flags byte, b Base) Stat {
	s := Stat{Dev: d.uvarint(), Ino: d.uvarint(), Size: b.Size}
	if flags&theirsSizeAsBase == 0 {
		s.Size = d.varint()
	}
	switch {
	case flags&theirsMtimeAsOne != 0:
		s.Mtime = b.Mtime
	case flags&theirsMtimeFloor != 0:
		s.Mtime = floorSecond(b.Mtime)
	default:
		s.Mtime = b.Mtime + d.varint()
	}
	s.Ctime = b.PushedAt + d.varint()
	return s
}
