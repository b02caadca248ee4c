package daytona

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// toolbox is what the proxy passes to the daemon in a sandbox.
func (f *fake) toolbox(w http.ResponseWriter, r *http.Request, rest string) {
	id, path, _ := strings.Cut(rest, "/")
	f.mu.Lock()
	b := f.boxes[id]
	running := b != nil && b.State == "started"
	if r.Header.Get(skipHeader) != "true" {
		f.active++
	}
	old := f.old
	f.mu.Unlock()
	switch {
	case b == nil:
		apiError(w, http.StatusNotFound, "sandbox container not found")
	case !running:
		apiError(w, http.StatusBadRequest, "bad request: failed to resolve container IP: no IP address found. Is the Sandbox started?")
	case r.Method+" "+path == "POST process/execute":
		b.execute(w, r, old)
	case r.Method+" "+path == "POST files/bulk-upload":
		f.upload(w, r, b, old)
	case r.Method+" "+path == "GET files/download":
		f.download(w, r, b)
	default:
		http.Error(w, "404 page not found", http.StatusNotFound)
	}
}

func (b *fakeBox) execute(w http.ResponseWriter, r *http.Request, old bool) {
	var body struct {
		Command string `json:"command"`
		Timeout int    `json:"timeout"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Timeout <= 0 || len(body.Command) > 100_000 {
		apiError(w, http.StatusBadRequest, "bad request: command")
		return
	}
	// It goes on when the client has left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Duration(body.Timeout)*time.Second)
	defer cancel()
	cmd := osexec.CommandContext(ctx, "sh")
	if old { // which takes words apart, and knows of no shell
		words := splitWords(body.Command)
		cmd = osexec.CommandContext(ctx, words[0], words[1:]...)
	} else {
		cmd.Stdin = strings.NewReader(body.Command)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out // returns when all who hold it are gone
	cmd.Env, cmd.Dir = b.env(), filepath.Join(b.root, "home")
	err := cmd.Run()
	if ctx.Err() != nil {
		w.WriteHeader(http.StatusRequestTimeout)
		_ = json.NewEncoder(w).Encode(map[string]any{"statusCode": 408, "code": "REQUEST_TIMEOUT", "message": "request timeout"})
		return
	}
	code := 0
	var exit *osexec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode() // -1 when a signal ended it
	} else if err != nil {
		code = -1
	}
	key := "exitCode"
	if old {
		key = "code"
	}
	// Text: what is no UTF-8 is lost.
	_ = json.NewEncoder(w).Encode(map[string]any{key: code, "result": strings.ToValidUTF8(out.String(), "\uFFFD")})
}

func splitWords(s string) (words []string) {
	word, in, open := "", byte(0), false
	for i := range len(s) {
		switch c := s[i]; {
		case in != 0 && c == in:
			in = 0
		case in == 0 && (c == '"' || c == '\''):
			in, open = c, true
		case in == 0 && c == ' ':
			if open {
				words = append(words, word)
			}
			word, open = "", false
		default:
			word += string(c)
			open = true
		}
	}
	if open {
		words = append(words, word)
	}
	return words
}

// inside refuses what is not in the sandbox.
func (b *fakeBox) inside(path string) bool {
	return strings.HasPrefix(filepath.Clean(path)+"/", b.root+"/")
}

// upload writes each file in place, so that a broken body leaves a short one.
func (f *fake) upload(w http.ResponseWriter, r *http.Request, b *fakeBox, old bool) {
	type written struct {
		Path  string `json:"path"`
		Bytes int64  `json:"bytes"`
	}
	var files []written
	var faults []string
	parts, err := r.MultipartReader()
	if err != nil {
		apiError(w, http.StatusBadRequest, err.Error())
		return
	}
	paths := map[string]string{}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			faults = append(faults, err.Error())
			break
		}
		number, what, _ := strings.Cut(strings.TrimPrefix(part.FormName(), "files["), "].")
		if what == "path" {
			text, _ := io.ReadAll(part)
			paths[number] = string(text)
			continue
		}
		path := paths[number]
		if what != "file" || path == "" || !b.inside(path) {
			faults = append(faults, "missing path for "+part.FormName())
			continue
		}
		n, err := f.write(path, part)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		files = append(files, written{path, n})
	}
	switch {
	case len(faults) > 0:
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": faults, "files": files})
	case !old: // an old one answers with nothing
		_ = json.NewEncoder(w).Encode(map[string]any{"files": files})
	}
}

func (f *fake) write(path string, r io.Reader) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	n, err := io.Copy(file, r)
	f.mu.Lock()
	half := f.short != nil && f.short()
	f.mu.Unlock()
	if half {
		_ = file.Truncate(n / 2)
	}
	return n, err
}

// download has ranges; its errors are empty.
func (f *fake) download(w http.ResponseWriter, r *http.Request, b *fakeBox) {
	path := r.URL.Query().Get("path")
	file, err := os.Open(path)
	if err != nil || !b.inside(path) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	defer file.Close()
	f.mu.Lock()
	limit := -1
	if f.cut != nil {
		limit = f.cut()
	}
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/octet-stream")
	if limit >= 0 {
		w = &cutResponse{ResponseWriter: w, left: limit}
	}
	http.ServeContent(w, r, "", time.Time{}, file)
}

// A cutResponse breaks the connection after so many bytes.
type cutResponse struct {
	http.ResponseWriter
	left int
}

func (c *cutResponse) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	if flusher, ok := c.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
	panic(http.ErrAbortHandler)
}

// status answers every nth toolbox call with a status and nothing else.
func status(code, every int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	calls := make(chan int, 1)
	calls <- 0
	return func(w http.ResponseWriter, _ *http.Request) bool {
		n := <-calls + 1
		calls <- n
		if n%every != 0 {
			return false
		}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Length", strconv.Itoa(0))
		w.WriteHeader(code)
		return true
	}
}
