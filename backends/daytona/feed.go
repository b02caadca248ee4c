package daytona

import (
	"errors"
	"io"
	"time"
)

// An idle reader's bytes are sent on after this.
const feedIdle = 50 * time.Millisecond

// A feeder cuts a reader into pieces: full ones while bytes come fast, and what there is when they
// do not.
type feeder struct {
	chunks chan []byte
	quit   chan struct{}
	err    error // of the reader; set before chunks is closed
}

// newFeeder starts to read. What blocks in Read for ever keeps its goroutine.
func newFeeder(r io.Reader) *feeder {
	f := &feeder{chunks: make(chan []byte), quit: make(chan struct{})}
	go func() {
		defer close(f.chunks)
		for {
			buf := make([]byte, 64<<10)
			n, err := r.Read(buf)
			if n > 0 {
				select {
				case f.chunks <- buf[:n]:
				case <-f.quit:
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					f.err = err
				}
				return
			}
		}
	}()
	return f
}

// stop says that no more is wanted.
func (f *feeder) stop() { close(f.quit) }

// next returns a piece and whether it is the last one. It returns early, with nothing, when done is
// closed or limit has passed without a byte; a limit of 0 is none.
func (f *feeder) next(done <-chan struct{}, limit time.Duration) (data []byte, last bool, err error) {
	idle := time.NewTimer(limit)
	defer idle.Stop()
	if limit == 0 {
		idle.Stop()
	}
	for len(data) < pieceBytes {
		select {
		case chunk, ok := <-f.chunks:
			if !ok {
				return data, true, f.err
			}
			data = append(data, chunk...)
			idle.Reset(feedIdle)
		case <-idle.C:
			return data, false, nil
		case <-done:
			return nil, false, nil
		}
	}
	return data, false, nil
}
