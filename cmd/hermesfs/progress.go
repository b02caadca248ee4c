package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	syncer "hermesfs/sync"
)

// A progressLine shows how far an action is on one line of a terminal; elsewhere it is silent.
type progressLine struct {
	w io.Writer // nil: silent

	mu    sync.Mutex // guards what follows
	last  time.Time
	shown bool
}

func newProgressLine(e *env) *progressLine {
	p := &progressLine{}
	if terminal(e.err) && !e.json {
		p.w = e.err
	}
	return p
}

// show takes a progress frame.
func (p *progressLine) show(raw json.RawMessage) {
	var v syncer.Progress
	if p.w != nil && json.Unmarshal(raw, &v) == nil {
		p.showAny(v)
	}
}

// showAny takes a syncer.Progress.
func (p *progressLine) showAny(v any) {
	g, ok := v.(syncer.Progress)
	if !ok || p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = time.Now(), true
	line := fmt.Sprintf("%s %d", g.Phase, g.Done)
	if g.Total > 0 {
		line += fmt.Sprintf("/%d", g.Total)
	}
	if g.Bytes > 0 {
		line += " " + bytesText(g.Bytes)
	}
	fmt.Fprintf(p.w, "\r\x1b[K%.78s", line)
}

// clear takes the line away.
func (p *progressLine) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// bytesText is a size for people, in powers of 1000.
func bytesText(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1000, 0
	for v >= 999.95 && unit < 4 {
		v, unit = v/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", v, "kMGTP"[unit])
}

// count is "1 file", "2 files".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// number chooses a word by a number.
func number(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}
