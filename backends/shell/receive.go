package shell

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"hermesfs/backends"
)

// takeIn hands out what a download brings: directories and symlinks from their stat, files from
// the archive. errCut means that the download has the reason.
func (f *fetcher) takeIn(d *download) error {
	files := map[string]stated{}
	var again []string
	for _, path := range d.order {
		e := d.before[path]
		switch {
		case d.changed(path):
			f.problem(path, errChanged)
		case e.Kind == backends.File:
			files[path] = e
		case e.Kind == backends.Dir || e.Kind == backends.Symlink:
			if err := f.fn(e.Entry, nil); err != nil {
				return err
			}
		default:
			f.problem(path, errFifo)
		}
	}
	rc := &receiver{f: f, files: files, packed: d.before, done: map[string]bool{}, many: f.t.tar != "gnu"}
	err := rc.read(d.pr)
	var format *backends.FormatError
	if errors.As(err, &format) {
		// Damaged on the way, or made so? The sum of all of it tells.
		if _, drainErr := io.Copy(io.Discard, d.pr); drainErr != nil {
			return errCut
		}
	}
	if err != nil {
		return err
	}
	for _, path := range d.order {
		switch _, file := files[path]; {
		case !file || rc.done[path] || f.failed[path]:
		case rc.linked[path] && !f.one:
			again = append(again, path)
		case rc.linked[path]:
			f.problem(path, errHardLink)
		default:
			f.problem(path, errNotSent)
		}
	}
	f.want, f.one = again, true
	return nil
}

// A receiver reads an archive, or several in a row, from a sandbox that is not trusted.
type receiver struct {
	f      *fetcher
	files  map[string]stated // what is wanted
	packed map[string]stated // what was asked for
	many   bool              // archives in a row are fine
	done   map[string]bool
	linked map[string]bool
}

func badArchive(format string, args ...any) error {
	return &backends.FormatError{What: "archive", Err: fmt.Errorf(format, args...)}
}

// read reads all of r, which ends with io.EOF where the spool does. Each archive must have its
// end blocks: one that was cut between members looks whole otherwise.
func (rc *receiver) read(r io.Reader) error {
	src := &ended{r: r}
	if len(rc.files) == 0 && len(rc.packed) == 0 {
		return rc.rest(src)
	}
	block := make([]byte, 512)
	for archives := 0; ; archives++ {
		more, err := skipZeros(src, block)
		if err != nil {
			return err
		}
		switch {
		case !more && archives == 0 && len(rc.files) > 0:
			return badArchive("it is empty")
		case !more:
			return nil
		case archives > 0 && !rc.many:
			return badArchive("something follows its end")
		}
		if err := rc.archive(src, block); err != nil {
			return err
		}
	}
}

func (rc *receiver) rest(src *ended) error {
	more, err := skipZeros(src, make([]byte, 512))
	if err == nil && more {
		return badArchive("something was sent though nothing was asked for")
	}
	return err
}

// skipZeros reads up to and with the first block that is not all zeros.
func skipZeros(src *ended, block []byte) (more bool, err error) {
	for {
		switch _, err := io.ReadFull(src, block); {
		case errors.Is(err, io.EOF):
			return false, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return false, badArchive("it does not end with a whole block")
		case err != nil:
			return false, errCut
		}
		if len(bytes.TrimLeft(block, "\x00")) > 0 {
			return true, nil
		}
	}
}

// archive reads one, whose first block was read already.
func (rc *receiver) archive(src *ended, first []byte) error {
	tr := tar.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(first)), src))
	for {
		hdr, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && !src.eof:
			return nil
		case src.err != nil:
			return errCut
		case errors.Is(err, io.EOF):
			return badArchive("it has no end blocks")
		case err != nil:
			return badArchive("%w", err)
		}
		rc.f.members++
		if rc.f.members > 2*rc.f.lim.MaxMembers {
			return &backends.LimitError{What: "members", Max: int64(rc.f.lim.MaxMembers)}
		}
		if err := rc.member(hdr, tr); err != nil {
			if src.err != nil {
				return errCut
			}
			if src.eof {
				return badArchive("it ends within a file")
			}
			return err
		}
	}
}

// member takes one member in. An error ends the fetch.
func (rc *receiver) member(hdr *tar.Header, tr io.Reader) error {
	path := strings.TrimPrefix(hdr.Name, "./")
	want, ok := rc.files[path]
	if !ok {
		// A path that was packed and is not wanted any more has its problem already.
		if _, known := rc.packed[path]; !known {
			rc.stranger(hdr.Name)
		}
		return nil
	}
	switch {
	case hdr.Typeflag == tar.TypeLink:
		if rc.linked == nil {
			rc.linked = map[string]bool{}
		}
		rc.linked[path] = true
		return nil
	case hdr.Typeflag != tar.TypeReg || sparse(hdr):
		rc.f.problem(path, errNotFile)
		return nil
	case hdr.Size != want.Size:
		rc.f.problem(path, errChanged)
		return nil
	}
	if hdr.Size > rc.f.lim.MaxBytes-rc.f.bytes {
		return &backends.LimitError{What: "bytes", Max: rc.f.lim.MaxBytes}
	}
	rc.f.bytes += hdr.Size
	if err := rc.f.fn(want.Entry, onlyReader{tr}); err != nil {
		return err
	}
	rc.done[path] = true
	return nil
}

// stranger notes a path that was not asked for, of which a few are enough.
func (rc *receiver) stranger(name string) {
	if rc.f.strangers++; rc.f.strangers <= maxStrangers {
		rc.f.problem(name[:min(len(name), maxName)], errUnasked)
	}
}

// sparse says whether a member's size is not that of what is sent. Nothing here writes such.
func sparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// onlyReader hides what else a reader can.
type onlyReader struct{ io.Reader }

// ended remembers how a reader ended.
type ended struct {
	r   io.Reader
	eof bool
	err error
}

func (e *ended) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		e.eof = true
	case err != nil:
		e.err = err
	}
	return n, err
}
