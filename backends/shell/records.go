package shell

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"hermesfs/backends"
)

const (
	maxName    = 16 << 10 // bytes of a path or a symlink's target; Linux has at most 4 KiB
	maxBatch   = 4096     // paths of one B record
	maxRecords = 10_000_000
	maxErrors  = 16 << 20 // bytes of what find had to say
)

// A stated is one path with what its stat says.
type stated struct {
	backends.Entry
	links uint64
}

// A handler takes the records of one answer. Paths have lost their "./". Nil functions make
// their record an error.
type handler struct {
	entry      func(stated) error
	unreadable func(path string) error // a directory that cannot be read or searched
	behind     func(path string) error // a symlink or a file where a directory should be
	other      func(kind byte, field string) error
}

func badRecord(format string, args ...any) error {
	return &backends.FormatError{What: "answer", Err: fmt.Errorf(format, args...)}
}

// records reads records up to and with Z, and returns its fields. See scripts/stat_list.sh.
func records(r *bufio.Reader, h handler) (status string, messages string, err error) {
	p := &recordParser{r: r, h: h}
	for n := 0; n < maxRecords; n++ {
		field, err := readField(r, maxName+256)
		if err != nil {
			return "", "", err
		}
		if field == "" {
			return "", "", badRecord("an empty record")
		}
		kind, rest := field[0], field[1:]
		if kind != 'T' {
			if err := p.flush(); err != nil {
				return "", "", err
			}
		}
		if kind == 'Z' {
			messages, err := readField(r, maxErrors)
			return rest, messages, err
		}
		if err := p.record(kind, rest); err != nil {
			return "", "", err
		}
	}
	return "", "", &backends.LimitError{What: "records", Max: maxRecords}
}

type recordParser struct {
	r     *bufio.Reader
	h     handler
	batch []stated          // of the last B record
	links map[string]string // targets of its symlinks
}

func (p *recordParser) record(kind byte, rest string) error {
	call := func(fn func(string) error) error {
		path, err := cleanPath(rest)
		if err != nil {
			return err
		}
		if fn == nil {
			return badRecord("an unexpected record %q", kind)
		}
		return fn(path)
	}
	switch kind {
	case 'F':
		return p.found(rest)
	case 'B':
		return p.many(rest)
	case 'T':
		path, err := cleanPath(rest)
		if err != nil {
			return err
		}
		target, err := readField(p.r, maxName)
		if err != nil {
			return err
		}
		if len(p.links) >= maxBatch {
			return badRecord("more symlinks than paths")
		}
		if p.links == nil {
			p.links = map[string]string{}
		}
		p.links[path] = target
		return nil
	case 'U':
		return call(p.h.unreadable)
	case 'L':
		return call(p.h.behind)
	}
	if p.h.other == nil {
		return badRecord("a record of kind %q", kind)
	}
	return p.h.other(kind, rest)
}

// found reads the rest of a record of find -printf.
func (p *recordParser) found(stat string) error {
	path, err := readField(p.r, maxName)
	if err != nil {
		return err
	}
	target, err := readField(p.r, maxName)
	if err != nil {
		return err
	}
	f := strings.Split(stat, " ")
	if len(f) != 7 {
		return badRecord("stat %.80q", stat)
	}
	var s stated
	s.Kind = kindOfLetter(f[0])
	var errs [6]error
	var mode uint64
	mode, errs[0] = strconv.ParseUint(f[1], 8, 16)
	s.Size, errs[1] = parseSize(f[2])
	s.Mtime, errs[2] = parseSeconds(f[3])
	s.Ctime, errs[3] = parseSeconds(f[4])
	s.Ino, errs[4] = strconv.ParseUint(f[5], 10, 64)
	s.links, errs[5] = strconv.ParseUint(f[6], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return badRecord("stat %.80q: %w", stat, err)
	}
	s.Mode, s.Target = uint32(mode&0o7777), target
	if s.Path, err = cleanPath(path); err != nil {
		return err
	}
	return p.emit(s)
}

// many reads a batch: paths, then lines of stat without names, which may hold newlines.
func (p *recordParser) many(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxBatch {
		return badRecord("a batch of %.20q", count)
	}
	batch := make([]stated, n)
	for i := range batch {
		path, err := readField(p.r, maxName)
		if err != nil {
			return err
		}
		if batch[i].Path, err = cleanPath(path); err != nil {
			return err
		}
	}
	for i := range batch {
		line, err := p.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return badRecord("a stat without end")
		}
		if err != nil {
			return errCut
		}
		if err := parseStatLine(strings.TrimSuffix(string(line), "\n"), &batch[i]); err != nil {
			return err
		}
	}
	p.batch = batch
	return nil
}

// flush hands out the batch that is complete now.
func (p *recordParser) flush() error {
	batch, links := p.batch, p.links
	p.batch, p.links = nil, nil
	for _, s := range batch {
		if s.Kind == backends.Symlink {
			s.Target = links[s.Path]
			if s.Target == "" {
				continue // it went meanwhile
			}
		}
		if err := p.emit(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *recordParser) emit(s stated) error {
	if p.h.entry == nil {
		return badRecord("an unexpected entry")
	}
	if s.Kind != backends.File {
		s.Size = 0
	}
	if s.Kind != backends.Symlink {
		s.Target = ""
	}
	return p.h.entry(s)
}

// cleanPath takes the "./" off a path and accepts only what can be one below the home.
func cleanPath(path string) (string, error) {
	if path == "." {
		return path, nil
	}
	rel, ok := strings.CutPrefix(path, "./")
	if !ok || !validPath(rel, maxName) {
		return "", badRecord("the path %.80q", path)
	}
	return rel, nil
}

func validPath(path string, maxBytes int) bool {
	if path == "" || len(path) > maxBytes || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}

func kindOfLetter(s string) backends.Kind {
	switch s {
	case "f":
		return backends.File
	case "d":
		return backends.Dir
	case "l":
		return backends.Symlink
	}
	return backends.Other
}

func kindOfMode(mode uint64) backends.Kind {
	switch mode & 0o170000 {
	case 0o100000:
		return backends.File
	case 0o040000:
		return backends.Dir
	case 0o120000:
		return backends.Symlink
	}
	return backends.Other
}

// parseStatLine reads MODE SIZE INO LINKS|MTIME|CTIME as GNU and busybox stat -c (mode in hex,
// times spelled out) or BSD stat -f (mode in octal, seconds with a fraction) print it.
func parseStatLine(line string, s *stated) error {
	parts := strings.Split(line, "|")
	f := strings.Fields(parts[0])
	if len(parts) != 3 || len(f) != 4 {
		return badRecord("stat %.80q", line)
	}
	base, parseTime := 8, parseSeconds
	if strings.ContainsRune(parts[1], ':') {
		base, parseTime = 16, parseDate
	}
	var errs [6]error
	var mode uint64
	mode, errs[0] = strconv.ParseUint(f[0], base, 32)
	s.Size, errs[1] = parseSize(f[1])
	s.Ino, errs[2] = strconv.ParseUint(f[2], 10, 64)
	s.links, errs[3] = strconv.ParseUint(f[3], 10, 64)
	s.Mtime, errs[4] = parseTime(parts[1])
	s.Ctime, errs[5] = parseTime(parts[2])
	if err := errors.Join(errs[:]...); err != nil {
		return badRecord("stat %.80q: %w", line, err)
	}
	s.Kind, s.Mode = kindOfMode(mode), uint32(mode&0o7777)
	return nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		return 0, fmt.Errorf("size %d", n)
	}
	return n, err
}

// parseSeconds reads seconds since the epoch with a fraction, of which nanoseconds count.
func parseSeconds(s string) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0, err
	}
	frac = (frac + "000000000")[:9]
	ns, err := strconv.ParseUint(frac, 10, 32)
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(whole, "-") {
		return clampTime(sec, -int64(ns)), nil
	}
	return clampTime(sec, int64(ns)), nil
}

// parseDate reads what stat -c %y prints with TZ=UTC0.
func parseDate(s string) (int64, error) {
	s = strings.TrimSuffix(s, " +0000")
	t, err := time.Parse("2006-01-02 15:04:05.999999999", s)
	if err != nil {
		return 0, err
	}
	return clampTime(t.Unix(), int64(t.Nanosecond())), nil
}

// clampTime keeps within what nanoseconds in an int64 can tell: the years 1678 to 2262.
func clampTime(sec, ns int64) int64 {
	const most = math.MaxInt64/int64(time.Second) - 1
	return max(-most, min(most, sec))*int64(time.Second) + ns
}
