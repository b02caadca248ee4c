package shell

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"hermesfs/backends"
)

// tarRecord is what tar reads at once: an archive of whole ones needs no end of file.
const tarRecord = 20 * 512

// send writes the archive of a push: directories, files, then the lists, the last of which makes
// it count.
func (p *pusher) send(ctx context.Context, w io.Writer) error {
	out := &counter{w: bufio.NewWriterSize(w, 256<<10)}
	tw := tar.NewWriter(out)
	for _, d := range p.dirs {
		// The mode is set at the end; a directory that cannot be written cannot be moved.
		if err := tw.WriteHeader(p.header(tar.TypeDir, "t/"+d.Path+"/", d.Mode&0o777|0o700, d.Mtime, 0)); err != nil {
			return wrote(err)
		}
	}
	for _, f := range p.files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := p.sendFile(tw, f); err != nil {
			return wrote(err)
		}
	}
	p.settleSent()
	if p.b.Ready != nil {
		if err := errors.Join(tw.Flush(), out.w.Flush()); err != nil {
			return wrote(err)
		}
		if err := p.b.Ready(p.sent); err != nil {
			return err
		}
	}
	for _, l := range p.lists() {
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: "c/" + l.name, Mode: 0o600, Size: int64(l.b.Len()), Format: tar.FormatGNU}
		if err := tw.WriteHeader(hdr); err != nil {
			return wrote(err)
		}
		if _, err := io.WriteString(tw, l.b.String()); err != nil {
			return wrote(err)
		}
	}
	if err := tw.Close(); err != nil {
		return wrote(err)
	}
	if rest := out.n % tarRecord; rest != 0 {
		if _, err := out.Write(make([]byte, tarRecord-rest)); err != nil {
			return wrote(err)
		}
	}
	return wrote(out.w.Flush())
}

// sendFile sends exactly Size bytes of a file, whatever becomes of it meanwhile.
func (p *pusher) sendFile(tw *tar.Writer, f backends.Put) error {
	r, err := f.Open()
	if err != nil {
		p.missing[f.Path] = true
		p.problem(f.Path, err)
		return nil
	}
	defer r.Close()
	if err := tw.WriteHeader(p.header(tar.TypeReg, "t/"+f.Path, f.Mode&0o7777|0o400, f.Mtime, f.Size)); err != nil {
		return err
	}
	h := sha256.New()
	src := &readError{Reader: io.LimitReader(r, f.Size)}
	n, err := io.Copy(io.MultiWriter(tw, h), src)
	if err != nil && src.err == nil {
		return err
	}
	var more [1]byte
	switch {
	case src.err != nil:
		p.problem(f.Path, src.err)
	case n < f.Size:
		p.result.Changed = append(p.result.Changed, f.Path)
	default:
		if m, err := io.ReadFull(r, more[:]); m == 0 && errors.Is(err, io.EOF) {
			p.sums[f.Path] = [32]byte(h.Sum(nil))
			return nil
		}
		p.result.Changed = append(p.result.Changed, f.Path)
	}
	p.dropped[f.Path] = true
	if _, err := io.CopyN(tw, zeros{}, f.Size-n); err != nil {
		return err
	}
	return nil
}

// settleSent notes what counts as sent.
func (p *pusher) settleSent() {
	for _, d := range p.deletes {
		p.sent = append(p.sent, backends.Sent{Path: d.Path, Deleted: true})
	}
	for _, d := range p.dirs {
		if !d.implicit {
			p.sent = append(p.sent, backends.Sent{Path: d.Path})
		}
	}
	for _, f := range p.files {
		if !p.dropped[f.Path] && !p.missing[f.Path] {
			p.sent = append(p.sent, backends.Sent{Path: f.Path, SHA256: p.sums[f.Path]})
		}
	}
	for _, l := range p.links {
		p.sent = append(p.sent, backends.Sent{Path: l.Path, SHA256: sha256.Sum256([]byte(l.Target))})
	}
}

// header is that of one member. Nanoseconds need PAX, which busybox does not read, and which
// bsdtar takes for UTF-8 in names.
func (p *pusher) header(kind byte, name string, mode uint32, mtime time.Time, size int64) *tar.Header {
	const last = 1<<33 - 1 // what the octal field of old tars holds
	switch {
	case mtime.Unix() < 0:
		mtime = time.Unix(0, 0)
	case mtime.Unix() > last:
		mtime = time.Unix(last, 0)
	}
	hdr := &tar.Header{Typeflag: kind, Name: name, Mode: int64(mode), ModTime: mtime, Size: size, Format: tar.FormatPAX}
	if p.t.tar == "busybox" || mtime.Nanosecond() == 0 || p.t.tar == "bsd" && !ascii(name) {
		hdr.Format, hdr.ModTime = tar.FormatGNU, mtime.Truncate(time.Second)
	}
	return hdr
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// wrote tells a script that has ended from what is our own fault.
func wrote(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errStopped) || errors.Is(err, io.ErrClosedPipe):
		return errStopped
	}
	return fmt.Errorf("write archive: %w", err)
}

type counter struct {
	w *bufio.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// readError remembers the error of a reader, to tell it from one of the writer.
type readError struct {
	io.Reader
	err error
}

func (r *readError) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
