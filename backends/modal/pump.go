package modal

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// pieceBytes is the most that one call carries: each is a round trip.
const pieceBytes = 1 << 20

// A pump gathers what a reader gives while the call before is under way.
type pump struct {
	src   io.Reader
	moved atomic.Int64

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	buf     []byte // read and not yet sent
	err     error  // of the reader, io.EOF too
	stopped bool
}

// startPump begins to read. Its goroutine ends when the reader does, or returns after stop.
func startPump(src io.Reader) *pump {
	p := &pump{src: src}
	p.changed.L = &p.mu
	go p.read()
	return p
}

func (p *pump) read() {
	chunk := make([]byte, 256<<10)
	for {
		n, err := p.src.Read(chunk)
		p.mu.Lock()
		p.buf = append(p.buf, chunk[:n]...)
		p.err = err
		p.changed.Broadcast()
		for len(p.buf) >= pieceBytes && !p.stopped {
			p.changed.Wait()
		}
		stopped := p.stopped
		p.mu.Unlock()
		if err != nil || stopped {
			return
		}
	}
}

// next returns what there is, at least one byte, in the memory of an earlier piece.
func (p *pump) next(old []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) == 0 && p.err == nil && !p.stopped {
		p.changed.Wait()
	}
	switch {
	case p.stopped:
		return nil, errStopped
	case len(p.buf) == 0:
		return nil, p.err
	}
	piece := p.buf
	if len(piece) > pieceBytes {
		piece = piece[:pieceBytes]
	}
	p.buf = append(old[:0], p.buf[len(piece):]...)
	p.changed.Broadcast()
	return piece, nil
}

// stop ends send after the call that is under way.
func (p *pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.changed.Broadcast()
}

var errStopped = errors.New("stopped")

// sent is how send ended; both are nil at the end of the reader.
type sent struct {
	read  error // of the reader: the script must not take what came for all
	write error // of the call
}

// send moves everything into w, and closes it at the end of the reader.
func (p *pump) send(w io.WriteCloser) sent {
	var piece []byte
	for {
		var err error
		piece, err = p.next(piece)
		switch {
		case errors.Is(err, errStopped):
			return sent{}
		case errors.Is(err, io.EOF):
			return sent{write: w.Close()}
		case err != nil:
			return sent{read: err}
		}
		if _, err := w.Write(piece); err != nil {
			return sent{write: err}
		}
		p.moved.Add(int64(len(piece)))
	}
}
