package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// A frame is one line of what a daemon answers: any number of progress frames, then one with
// Done. The last frame has a result, an error, or both: a report of what was done before it
// could not go on.
type frame struct {
	Progress json.RawMessage `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	Exit     int             `json:"exit,omitempty"`
	Done     bool            `json:"done,omitempty"`
}

// lastFrame packs how an action ended.
func lastFrame(result any, err error) frame {
	f := frame{Done: true}
	if result != nil {
		b, merr := json.Marshal(result)
		if merr != nil {
			err = errors.Join(err, merr)
		}
		f.Result = b
	}
	if err != nil {
		f.Error, f.Exit = oneLine(err), codeOf(err)
	}
	return f
}

// err is the error of a last frame.
func (f frame) err() error {
	if f.Error == "" && f.Exit == 0 {
		return nil
	}
	return &exitError{code: max(f.Exit, exitFailed), err: errors.New(f.Error)}
}

// A frameWriter sends frames; it may be used concurrently. What cannot be sent is dropped: the
// other end is gone and the action goes on without it.
type frameWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

// progress sends one progress frame.
func (f *frameWriter) progress(p any) {
	b, err := json.Marshal(p)
	if err == nil {
		f.send(frame{Progress: b})
	}
}

func (f *frameWriter) send(fr frame) {
	b, err := json.Marshal(fr)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.w.Write(append(b, '\n')) //nolint:errcheck // see the type
	if fl, ok := f.w.(http.Flusher); ok {
		fl.Flush()
	}
}

// errNoAnswer is a daemon that ended before its last frame.
var errNoAnswer = errors.New("no answer")

// readFrames calls progress for each progress frame and returns the result of the last one.
func readFrames(r io.Reader, progress func(json.RawMessage)) (json.RawMessage, error) {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var f frame
			if jerr := json.Unmarshal(line, &f); jerr != nil {
				return nil, fmt.Errorf("answer of the daemon: %w", jerr)
			}
			if f.Done {
				return f.Result, f.err()
			}
			if progress != nil && len(f.Progress) > 0 {
				progress(f.Progress)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil, errNoAnswer
		}
		if err != nil {
			return nil, err
		}
	}
}

// A client asks the daemon of one mount.
type client struct {
	http *http.Client
	name string
}

// connect reaches the daemon of a mount. It fails when none runs.
func (m mountDir) connect(ctx context.Context) (*client, error) {
	conn, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	// The connection made now serves the first request, so that there is no second look at a
	// daemon that may end meanwhile.
	first := make(chan net.Conn, 1)
	first <- conn
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return m.dial(ctx)
			}
		},
	}
	return &client{http: &http.Client{Transport: tr}, name: m.name}, nil
}

// do runs one action in the daemon.
func (c *client) do(ctx context.Context, action string, args any, progress func(json.RawMessage)) (json.RawMessage, error) {
	body, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hermesfs/v1/"+action, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, action, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("mount %s: its daemon does not know %s (%s): it is of another version, unmount and mount again",
			c.name, action, resp.Status)
	}
	result, err := readFrames(resp.Body, progress)
	var ee *exitError
	if err != nil && !errors.As(err, &ee) {
		return result, c.failed(ctx, action, err)
	}
	return result, err
}

func (c *client) failed(ctx context.Context, action string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("mount %s: %s: %w: see 'hermesfs status %s'", c.name, action, err, c.name)
}

// An actor carries out the actions of the control socket.
type actor interface {
	// perform runs one action. It returns errNoAction for a name it does not know.
	perform(ctx context.Context, action string, args json.RawMessage, progress func(any)) (any, error)
}

var errNoAction = errors.New("no such action")

// controlHandler serves an actor over HTTP: POST /v1/ACTION with the arguments as JSON, the
// answer is one frame a line.
func controlHandler(a actor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{action}", func(w http.ResponseWriter, r *http.Request) {
		args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out := &frameWriter{w: w}
		var once sync.Once
		start := func() {
			once.Do(func() { w.Header().Set("Content-Type", "application/x-ndjson") })
		}
		result, err := a.perform(r.Context(), r.PathValue("action"), args, func(p any) {
			start()
			out.progress(p)
		})
		if errors.Is(err, errNoAction) {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		start()
		out.send(lastFrame(result, err))
	})
	return mux
}
