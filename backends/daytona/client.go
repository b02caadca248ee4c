package daytona

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hermesfs/backends"
)

const (
	attempts    = 6
	firstPause  = 250 * time.Millisecond
	longPause   = 8 * time.Second
	maxPause    = time.Minute // also of a Retry-After
	callLimit   = 30 * time.Second
	maxAnswer   = 8 << 20
	skipHeader  = "X-Daytona-Skip-Last-Activity-Update"
	sourceValue = "hermesfs"
)

// A client sends requests and repeats those that may succeed later.
type client struct {
	o     Options
	http  *http.Client
	pause time.Duration // before the second attempt; doubles
}

func newClient(o Options) *client {
	c := &client{o: o, http: o.Client, pause: firstPause}
	if c.http == nil {
		c.http = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()} // closing its idle connections is ours to do
	}
	return c
}

// A request is one call. Every attempt makes its body anew.
type request struct {
	method, url string
	body        any                        // sent as JSON
	stream      func() (io.Reader, string) // the body and its type; instead of body
	bytes       func() string              // the Range wanted
	progress    func() bool                // something came since it was last asked: that is no failure
	active      bool                       // counts as activity of the sandbox
	once        bool                       // not to be repeated where it may have been done
	limit       time.Duration              // of one attempt, default callLimit
	take        func(*http.Response) error // reads a good answer; an error is one of the connection
}

// A finalError is one of our own side: no other attempt is made.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

// A statusError is an answer that is none.
type statusError struct {
	Status  int
	Code    string
	Message string
	after   time.Duration // what Retry-After says
	path    string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + strings.Trim(strconv.Quote(e.Message), `"`)
	}
	return text
}

func (e *statusError) says(text string) bool {
	return strings.Contains(strings.ToLower(e.Message), strings.ToLower(text))
}

// again says whether another attempt may succeed, and whether this one did nothing for sure.
func (e *statusError) again() (may, nothingDone bool) {
	switch e.Status {
	case http.StatusTooManyRequests:
		return true, true
	case http.StatusConflict:
		return e.says("state change"), true
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, false
	}
	return false, false
}

// do sends a request until it is answered.
func (c *client) do(ctx context.Context, r request) error {
	pause := c.pause
	for n := 1; ; n++ {
		err := c.attempt(ctx, r)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var final *finalError
		if errors.As(err, &final) {
			return final.err
		}
		if r.progress != nil && r.progress() {
			n, pause = 1, c.pause
		}
		wait := pause
		var status *statusError
		if errors.As(err, &status) {
			may, nothing := status.again()
			if !may || r.once && !nothing {
				return c.classify(r, err)
			}
			wait = max(wait, min(status.after, maxPause))
		} else if r.once {
			return c.classify(r, err)
		}
		if n == attempts {
			return c.classify(r, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		pause = min(2*pause, longPause)
	}
}

func (c *client) attempt(ctx context.Context, r request) error {
	limit := r.limit
	if limit == 0 {
		limit = callLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var body io.Reader
	kind := ""
	switch {
	case r.stream != nil:
		body, kind = r.stream()
	case r.body != nil:
		b, err := json.Marshal(r.body)
		if err != nil {
			return err
		}
		body, kind = bytes.NewReader(b), "application/json"
	}
	q, err := http.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		return err
	}
	if kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	if r.bytes != nil {
		q.Header.Set("Range", r.bytes())
	}
	if !r.active {
		q.Header.Set(skipHeader, "true")
	}
	q.Header.Set("X-Daytona-Source", sourceValue)
	if c.o.APIKey != "" {
		q.Header.Set("Authorization", "Bearer "+c.o.APIKey)
	} else {
		q.Header.Set("Authorization", "Bearer "+c.o.JWT)
		q.Header.Set("X-Daytona-Organization-ID", c.o.Organization)
	}
	resp, err := c.http.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return readStatus(resp)
	}
	if r.take == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
		return nil
	}
	return r.take(resp)
}

// readStatus makes an error of an answer, whose body may be JSON, text or nothing.
func readStatus(resp *http.Response) error {
	e := &statusError{Status: resp.StatusCode, path: resp.Request.URL.Path}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var said struct {
		Message any    `json:"message"`
		Error   string `json:"error"`
		Code    string `json:"code"`
		Errors  []any  `json:"errors"`
	}
	if json.Unmarshal(b, &said) == nil {
		e.Code, e.Message = said.Code, said.Error
		if said.Message != nil {
			e.Message = fmt.Sprint(said.Message)
		} else if len(said.Errors) > 0 {
			e.Message = fmt.Sprint(said.Errors...)
		}
	} else {
		e.Message = strings.TrimSpace(string(b))
	}
	e.Message = e.Message[:min(len(e.Message), 500)]
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		e.after = time.Until(at)
	}
	return e
}

// into reads a JSON answer.
func into(v any) func(*http.Response) error {
	return func(resp *http.Response) error {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, v); err != nil {
			return &finalError{&backends.FormatError{What: "answer of Daytona", Err: err}}
		}
		return nil
	}
}

var (
	// errStopped is a sandbox that does not run.
	errStopped = errors.New("the sandbox is not running")
	// errMissing is a sandbox, a snapshot or a file that is not there.
	errMissing = errors.New("not found")
)

// classify makes an error in the words of package backends.
func (c *client) classify(r request, err error) error {
	what := r.method + " " + shortPath(r.url)
	var status *statusError
	transport := &backends.TransportError{Op: "daytona", Err: fmt.Errorf("%s: %w", what, err)}
	if !errors.As(err, &status) {
		return transport
	}
	switch {
	case status.Status == http.StatusUnauthorized, status.Status == http.StatusForbidden:
		transport.Err = fmt.Errorf("%w: %s: %w: is the key right, and allowed to do this? %s", backends.ErrAuth, what, err, wanted)
		return transport
	case status.Status == http.StatusBadRequest && status.says("sandbox started"),
		status.Status == http.StatusNotFound && status.says("container not found"):
		transport.Err = fmt.Errorf("%w: %w", errStopped, err)
		return transport
	case status.Status == http.StatusNotFound:
		return fmt.Errorf("daytona: %s: %w: %w", what, errMissing, err)
	case status.Status == http.StatusRequestTimeout:
		return transport
	}
	if may, _ := status.again(); may {
		return transport
	}
	return fmt.Errorf("daytona: %s: %w", what, err)
}

func shortPath(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	_, rest, _ = strings.Cut(rest, "/")
	rest, _, _ = strings.Cut(rest, "?")
	return "/" + rest
}
