package layer

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// parseDirent reads one struct linux_dirent64 (getdents64(2)) and says how long it is.
func parseDirent(b []byte) (rawDirent, int) {
	size := int(binary.NativeEndian.Uint16(b[16:]))
	name := b[19:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	ent := rawDirent{name: string(name), ino: binary.NativeEndian.Uint64(b)}
	if b[18] != unix.DT_UNKNOWN {
		ent.typ = uint32(b[18]) << 12
	}
	return ent, size
}
