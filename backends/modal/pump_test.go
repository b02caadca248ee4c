package modal

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// pieces keeps what is written, and goes on only when more has been read.
type pieces struct {
	got    bytes.Buffer
	sizes  []int
	closed bool
	fail   error
	p      *pump
}

func (w *pieces) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	for len(w.p.buf) < pieceBytes && w.p.err == nil {
		w.p.changed.Wait()
	}
	w.p.mu.Unlock()
	w.sizes = append(w.sizes, len(b))
	if w.fail != nil {
		return 0, w.fail
	}
	return w.got.Write(b)
}

func (w *pieces) Close() error {
	w.closed = true
	return nil
}

// What comes in little bits goes in big pieces, for each is a round trip.
func TestPump(t *testing.T) {
	content := randomBytes(9<<20 + 123)
	w := &pieces{p: startPump(iotest.HalfReader(bytes.NewReader(content)))}
	if s := w.p.send(w); s.read != nil || s.write != nil || !w.closed {
		t.Errorf("send = %+v, closed %v", s, w.closed)
	}
	if !bytes.Equal(w.got.Bytes(), content) {
		t.Error("what was sent is not what was read")
	}
	for i, n := range w.sizes {
		if n > pieceBytes || i > 0 && i < len(w.sizes)-1 && n < pieceBytes {
			t.Errorf("piece %d has %d bytes, want %d", i, n, pieceBytes)
		}
	}
	if n := w.p.moved.Load(); n != int64(len(content)) {
		t.Errorf("moved %d bytes, want %d", n, len(content))
	}
}

func TestPumpFails(t *testing.T) {
	broken := errors.New("broken")
	w := &pieces{p: startPump(io.MultiReader(bytes.NewReader([]byte("half")), iotest.ErrReader(broken)))}
	if s := w.p.send(w); !errors.Is(s.read, broken) || w.closed {
		t.Errorf("a broken reader: send = %+v, closed %v, want its error and no end", s, w.closed)
	}
	w = &pieces{fail: broken, p: startPump(bytes.NewReader([]byte("all")))}
	if s := w.p.send(w); !errors.Is(s.write, broken) || w.closed {
		t.Errorf("a broken writer: send = %+v, closed %v, want its error and no end", s, w.closed)
	}
	r, feed := io.Pipe()
	w = &pieces{p: startPump(r)}
	w.p.stop()
	if s := w.p.send(w); s.read != nil || s.write != nil || w.closed {
		t.Errorf("stopped: send = %+v, closed %v, want neither", s, w.closed)
	}
	feed.Close()
}
