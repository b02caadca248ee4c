package ssh

import (
	"errors"
	"io"
	"sync"
)

// keepBytes is more than a pipe takes before the script reads: until then nothing is lost that a
// second connection needs.
const keepBytes = 256 << 10

// A pump moves one reader into the stdin of one client after another, each from the beginning.
type pump struct {
	src   io.Reader
	sinks chan sink

	mu   sync.Mutex // guards what follows
	kept []byte     // all that was read
	lost bool       // not all of it is kept
}

type sink struct {
	w    io.WriteCloser
	done func(error) // of the reader; nil when the sink took no more
}

// newPump starts to read when the first client is fed. end stops it once the reader returns.
func newPump(src io.Reader) *pump {
	p := &pump{src: src, sinks: make(chan sink, 2)}
	go p.move()
	return p
}

// feed makes w the one that is written to, when the earlier one takes no more. done is called from
// another goroutine.
func (p *pump) feed(w io.WriteCloser, done func(error)) { p.sinks <- sink{w, done} }

func (p *pump) end() { close(p.sinks) }

// forget says that there will be no second client.
func (p *pump) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept, p.lost = nil, true
}

// canRepeat says whether a second client would get all of it.
func (p *pump) canRepeat() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.lost
}

func (p *pump) move() {
	buf := make([]byte, 64<<10)
	var end error // of the reader
	for s := range p.sinks {
		p.mu.Lock()
		kept := p.kept
		p.mu.Unlock()
		_, err := s.w.Write(kept)
		for err == nil && end == nil {
			var n int
			n, end = p.src.Read(buf)
			p.keep(buf[:n])
			_, err = s.w.Write(buf[:n])
		}
		if end != nil && !errors.Is(end, io.EOF) {
			s.done(end)
		} else {
			s.done(nil)
		}
	}
}

func (p *pump) keep(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost {
		return
	}
	if len(p.kept)+len(b) > keepBytes {
		p.kept, p.lost = nil, true
		return
	}
	p.kept = append(p.kept, b...)
}
