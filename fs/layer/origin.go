package layer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// originsName is the log in work of what stood in lower where upper hides it.
const originsName = "origins"

// originsMagic begins the log and carries its format number.
const originsMagic = "hermesfs-origins 1\n"

// An originLog maps paths to origins. It is a log of small records, each with a checksum, that is
// read at open; a torn record at its end is cut off. One write(2) a record: what was written
// survives the process, not the machine, see the package comment.
type originLog struct {
	mu      sync.Mutex // guards everything below
	file    *os.File
	byPath  map[string]Origin
	records int // in the file, for compaction
	buf     []byte
}

func openOrigins(work int) (*originLog, error) {
	fd, err := openAt(work, originsName, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open origins: %w", err)
	}
	l := &originLog{file: os.NewFile(uintptr(fd), originsName), byPath: map[string]Origin{}}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read origins: %w", err), l.file.Close())
	}
	if l.records > 2*len(l.byPath)+1000 {
		if err := l.compact(work); err != nil {
			return nil, errors.Join(fmt.Errorf("compact origins: %w", err), l.file.Close())
		}
	}
	return l, nil
}

func (l *originLog) load() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < int64(len(originsMagic)) {
		// New, or cut while the first line was written.
		if err := l.file.Truncate(0); err != nil {
			return err
		}
		_, err := l.file.WriteAt([]byte(originsMagic), 0)
		if err == nil {
			_, err = l.file.Seek(int64(len(originsMagic)), io.SeekStart)
		}
		return err
	}
	r := bufio.NewReaderSize(l.file, 256<<10)
	magic := make([]byte, len(originsMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return err
	}
	if string(magic) != originsMagic {
		return fmt.Errorf("%w: %q", ErrFormat, magic)
	}
	good := int64(len(originsMagic))
	var body []byte
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			break
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size > 64<<10 {
			break
		}
		body = slices.Grow(body[:0], int(size))[:size]
		if _, err := io.ReadFull(r, body); err != nil {
			break
		}
		if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(head[4:]) {
			break
		}
		path, origin, set, ok := decodeOrigin(body)
		if !ok {
			break
		}
		if set {
			l.byPath[path] = origin
		} else {
			delete(l.byPath, path)
		}
		l.records++
		good += int64(len(head)) + int64(size)
	}
	if err := l.file.Truncate(good); err != nil {
		return err
	}
	_, err = l.file.Seek(good, io.SeekStart)
	return err
}

// compact writes the log anew with one record a path.
func (l *originLog) compact(work int) error {
	var b []byte
	b = append(b, originsMagic...)
	for _, path := range slices.Sorted(maps.Keys(l.byPath)) {
		b = appendRecord(b, path, l.byPath[path], true)
	}
	if err := writeFileAtomic(work, originsName, b); err != nil {
		return err
	}
	fd, err := openAt(work, originsName, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := l.file.Close(); err != nil {
		return err
	}
	l.file = os.NewFile(uintptr(fd), originsName)
	l.records = len(l.byPath)
	_, err = l.file.Seek(0, io.SeekEnd)
	return err
}

func (l *originLog) get(path string) (Origin, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.byPath[path]
	return o, ok
}

func (l *originLog) set(path string, o Origin) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = appendRecord(l.buf[:0], path, o, true)
	if _, err := l.file.Write(l.buf); err != nil {
		return fmt.Errorf("record origin: %w", err)
	}
	l.byPath[path] = o
	l.records++
	return nil
}

func (l *originLog) clear(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.byPath[path]; !ok {
		return nil
	}
	l.buf = appendRecord(l.buf[:0], path, Origin{}, false)
	if _, err := l.file.Write(l.buf); err != nil {
		return fmt.Errorf("clear origin: %w", err)
	}
	delete(l.byPath, path)
	l.records++
	return nil
}

func (l *originLog) close() error { return l.file.Close() }

// A record is its length and CRC-32, then: 1 (set) or 0 (cleared), the path with its length, and
// for a set record kind, mode, dev, ino, size, mtime, ctime, and the hash when it is known.
func appendRecord(b []byte, path string, o Origin, set bool) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	if !set {
		b = append(b, 0)
		b = binary.AppendUvarint(b, uint64(len(path)))
		b = append(b, path...)
	} else {
		b = append(b, 1)
		b = binary.AppendUvarint(b, uint64(len(path)))
		b = append(b, path...)
		b = append(b, byte(o.Kind))
		b = binary.AppendUvarint(b, uint64(o.Mode))
		b = binary.AppendUvarint(b, o.Dev)
		b = binary.AppendUvarint(b, o.Ino)
		b = binary.AppendVarint(b, o.Size)
		b = binary.AppendVarint(b, o.Mtime)
		b = binary.AppendVarint(b, o.Ctime)
		if o.SHA256 != [32]byte{} {
			b = append(b, o.SHA256[:]...)
		}
	}
	body := b[start+8:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.ChecksumIEEE(body))
	return b
}

func decodeOrigin(b []byte) (path string, o Origin, set, ok bool) {
	bad := false
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	varint := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	if len(b) == 0 || b[0] > 1 {
		return "", o, false, false
	}
	set, b = b[0] == 1, b[1:]
	size := uvarint()
	if bad || size > uint64(len(b)) {
		return "", o, false, false
	}
	path, b = string(b[:size]), b[size:]
	if !set {
		return path, o, false, len(b) == 0
	}
	if len(b) == 0 {
		return "", o, false, false
	}
	o.Kind, b = Kind(b[0]), b[1:]
	o.Mode = uint32(uvarint())
	o.Dev, o.Ino = uvarint(), uvarint()
	o.Size, o.Mtime, o.Ctime = varint(), varint(), varint()
	if len(b) == 32 {
		o.SHA256 = [32]byte(b)
		b = nil
	}
	return path, o, true, !bad && len(b) == 0
}
