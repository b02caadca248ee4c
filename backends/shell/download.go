package shell

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"hermesfs/backends"
)

// A download is one spool file on its way. run fills before, after and the rest, then closes
// ready, then writes the spool's bytes to pw.
type download struct {
	f  *fetcher
	id string

	ready  chan struct{}
	before map[string]stated
	after  map[string]stated
	order  []string // of before, as asked for

	status   int
	messages string
	spooled  bool // tar could pack
	leaves   bool // there may be a temporary directory in the sandbox

	size, got int64
	sum       [32]byte
	hash      hash.Hash
	pr        *io.PipeReader
	pw        *io.PipeWriter
}

func newDownload(f *fetcher) *download {
	d := &download{f: f, id: random(6), ready: make(chan struct{}), before: map[string]stated{}, after: map[string]stated{}, hash: sha256.New()}
	d.pr, d.pw = io.Pipe()
	return d
}

// changed says whether a path is not what it was before it was packed. A directory counts only as
// such: what is in it changes its times.
func (d *download) changed(path string) bool {
	was, is := d.before[path], d.after[path]
	if was.Kind == backends.Dir {
		return is.Kind != backends.Dir || is.Mode != was.Mode
	}
	return is.Entry != was.Entry
}

func (d *download) run(ctx context.Context) error {
	one := ""
	if d.f.one {
		one = "1"
	}
	err := d.f.s.call(ctx, &verb{
		name:  "fetch",
		id:    d.id,
		inner: []string{"fetch_pick", "fetch_pack", "stat_list"},
		vars:  map[string]string{"one": one},
		list:  nulList(d.f.want),
		body:  d.first,
	})
	for d.resumable(ctx, err) {
		before := d.got
		d.f.s.log.Debug("transfer is taken up again", "at", d.got, "of", d.size, "error", err)
		err = d.f.s.call(ctx, &verb{name: "resume", id: d.id, vars: map[string]string{"skip": strconv.FormatInt(d.got, 10)}, body: d.rest})
		if d.got == before {
			break
		}
	}
	switch {
	case !d.spooled:
		d.leaves = err != nil // else the script removed it
		return err
	case d.got < d.size:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case [32]byte(d.hash.Sum(nil)) != d.sum:
		return &backends.TransportError{Op: "fetch", Err: errors.New("the archive is damaged: its SHA-256 is not what the sandbox promised")}
	}
	// All of it is here, so it does not matter how the channel ended.
	return nil
}

func (d *download) resumable(ctx context.Context, err error) bool {
	return d.spooled && d.got < d.size && ctx.Err() == nil && backends.IsTransient(err)
}

// first reads the answer of scripts/fetch.sh.
func (d *download) first(r *bufio.Reader) error {
	asked := make(map[string]bool, len(d.f.want))
	for _, path := range d.f.want {
		asked[path] = true
	}
	d.leaves = true
	into := d.before
	status, messages, err := records(r, handler{
		entry: func(e stated) error {
			if _, twice := into[e.Path]; twice || !asked[e.Path] {
				return badRecord("%.80q, which was not asked for", e.Path)
			}
			into[e.Path] = e
			return nil
		},
		unreadable: func(string) error { return nil },
		other: func(kind byte, field string) error {
			if kind == 'M' && field == "" {
				into = d.after
				return nil
			}
			return d.note(kind, field, asked)
		},
	})
	if err != nil {
		return err
	}
	if d.status, err = strconv.Atoi(status); err != nil {
		return badRecord("tar ended with %.20q", status)
	}
	d.messages = messages
	for _, path := range d.f.want {
		if _, ok := d.before[path]; ok {
			d.order = append(d.order, path)
		}
	}
	if d.status != 0 {
		close(d.ready)
		return nil
	}
	var files, total int64
	for _, e := range d.before {
		if e.Kind == backends.File {
			files, total = files+1, total+e.Size
		}
	}
	if err := d.header(r, files, total); err != nil {
		return err
	}
	d.spooled = true
	close(d.ready)
	return d.copy(r)
}

// note reads a record of what cannot be packed.
func (d *download) note(kind byte, field string, asked map[string]bool) error {
	reasons := map[byte]error{'2': errBehind, '3': errSearch, '4': errNoRead, '5': errFifo}
	if kind != 'E' || field == "" || reasons[field[0]] == nil {
		return badRecord("a record of kind %q", kind)
	}
	path, err := cleanPath(field[1:])
	if err != nil {
		return err
	}
	if !asked[path] {
		return badRecord("%.80q, which was not asked for", path)
	}
	d.f.problem(path, reasons[field[0]])
	return nil
}

// header reads the length and the sum of the spool, and holds them against the limits.
func (d *download) header(r *bufio.Reader, files, total int64) error {
	if total > d.f.lim.MaxBytes-d.f.bytes {
		return &backends.LimitError{What: "bytes", Max: d.f.lim.MaxBytes}
	}
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return badRecord("a length without end")
	}
	if err != nil {
		return errCut
	}
	length, sum, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != len(d.sum) {
		return badRecord("the length and sum %.100q", line)
	}
	copy(d.sum[:], raw)
	if d.size, err = parseSize(length); err != nil {
		return badRecord("the length %.40q", length)
	}
	most := d.f.lim.MaxBytes + (files+1)*(maxMemberCost+2*int64(d.f.lim.MaxPath)) + tarRecord
	if d.size > most {
		return &backends.LimitError{What: "bytes of archive", Max: most}
	}
	return nil
}

// rest reads the answer of scripts/resume.sh. Its first line tells the bytes of the spool from
// what a script writes that has lost it.
func (d *download) rest(r *bufio.Reader) error {
	if line, err := r.ReadSlice('\n'); err != nil || string(line) != "spool\n" {
		return errCut
	}
	return d.copy(r)
}

// copy passes on what is still missing of the spool.
func (d *download) copy(r *bufio.Reader) error {
	buf := make([]byte, 128<<10)
	for d.got < d.size {
		n, err := r.Read(buf[:min(int64(len(buf)), d.size-d.got)])
		if n > 0 {
			d.got += int64(n)
			d.hash.Write(buf[:n])
			if _, err := d.pw.Write(buf[:n]); err != nil {
				return fmt.Errorf("take in: %w", err)
			}
		}
		if err != nil {
			return errCut
		}
	}
	return nil
}
