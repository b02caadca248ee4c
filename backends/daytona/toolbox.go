package daytona

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hermesfs/backends"
)

// Before the daemon 0.156 a command was split into words and run without a shell, since then it is
// the stdin of one: this form means the same to both. It must stay below 100 kB.
const (
	execForm = `sh -c "echo '%s' | base64 -d | sh"`
	maxExec  = 96 << 10
)

const (
	execMargin = 5 * time.Second // of the connection over the command's own limit
	// A piece of a file moves within this, or the connection is dead.
	pieceLimit = 5 * time.Minute
	pieceBytes = 8 << 20
	activeSize = 1 << 20 // a transfer of more counts as activity
)

// execPrelude has what the scripts share. say prints the one line of the answer that is looked at.
const execPrelude = `LC_ALL=C
export LC_ALL
say() { printf '\n%%s' %[1]s; for f; do printf ' %%s' "$f"; done; echo; }
nap() { sleep "$1" 2>/dev/null || sleep 1; }
if command -v sha256sum >/dev/null; then sum() { sha256sum <"$1" | cut -c1-64; }
elif command -v shasum >/dev/null; then sum() { shasum -a 256 <"$1" | cut -c1-64; }
else sum() { openssl dgst -sha256 -r <"$1" | cut -c1-64; }
fi
whole() { [ -f "$1" ] && [ "$(($(wc -c <"$1")))" = "$2" ] && [ "$(sum "$1")" = "$3" ]; }
`

// toolbox is the address of a call to the sandbox.
func (t *Transport) toolbox(box *sandbox, path string) string {
	return strings.TrimSuffix(box.ToolboxProxyURL, "/") + "/" + url.PathEscape(box.ID) + path
}

// exec runs a small script that may be run twice, and returns the words it says. limit is the
// longest it may take.
func (t *Transport) exec(ctx context.Context, script string, limit time.Duration) ([]string, error) {
	return t.execIn(ctx, t.box, script, limit)
}

func (t *Transport) execIn(ctx context.Context, box *sandbox, script string, limit time.Duration) ([]string, error) {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	mark := "hermesfs-" + hex.EncodeToString(b)
	command := fmt.Sprintf(execForm, base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf(execPrelude, mark)+script)))
	if len(command) > maxExec {
		return nil, fmt.Errorf("daytona: a command of %d bytes is too long", len(command))
	}
	var answer struct {
		ExitCode *int   `json:"exitCode"`
		Code     *int   `json:"code"` // of old daemons
		Result   string `json:"result"`
	}
	err := t.api.do(ctx, request{
		method: http.MethodPost, url: t.toolbox(box, "/process/execute"), limit: limit + execMargin,
		body: map[string]any{"command": command, "timeout": int(limit.Seconds())}, take: into(&answer),
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(answer.Result) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == mark && strings.HasSuffix(line, "\n") {
			return words[1:], nil
		}
	}
	code := 0
	if answer.ExitCode != nil {
		code = *answer.ExitCode
	} else if answer.Code != nil {
		code = *answer.Code
	}
	return nil, &backends.TransportError{
		Op: "daytona", Err: fmt.Errorf("exec gave no answer (exit status %d)", code),
		Stderr: answer.Result[max(0, len(answer.Result)-backends.MaxStderr):],
	}
}

// A piece is a file to upload.
type piece struct {
	path string
	data []byte
}

// upload writes files, which are truncated first: whoever needs them whole looks at their sums.
func (t *Transport) upload(ctx context.Context, box *sandbox, pieces []piece) error {
	total := 0
	for _, p := range pieces {
		total += len(p.data)
	}
	var answer struct {
		Files []struct {
			Path  string `json:"path"`
			Bytes *int64 `json:"bytes"`
		} `json:"files"`
	}
	return t.api.do(ctx, request{
		method: http.MethodPost, url: t.toolbox(box, "/files/bulk-upload"), limit: pieceLimit, active: total > activeSize,
		stream: func() (io.Reader, string) { return form(pieces) },
		take: func(resp *http.Response) error {
			// Daemons before 0.190 answer with nothing.
			if err := into(&answer)(resp); err != nil {
				return nil //nolint:nilerr // the sums tell
			}
			for i, f := range answer.Files {
				if i < len(pieces) && f.Bytes != nil && *f.Bytes != int64(len(pieces[i].data)) {
					return fmt.Errorf("%d bytes of %d were written", *f.Bytes, len(pieces[i].data))
				}
			}
			return nil
		},
	})
}

// form is a multipart body: each path before its file.
func form(pieces []piece) (io.Reader, string) {
	var head bytes.Buffer
	var parts []io.Reader
	w := multipart.NewWriter(&head)
	flush := func() {
		parts = append(parts, bytes.NewReader(bytes.Clone(head.Bytes())))
		head.Reset()
	}
	for i, p := range pieces {
		_ = w.WriteField(fmt.Sprintf("files[%d].path", i), p.path) // a Buffer takes all
		_, _ = w.CreateFormFile(fmt.Sprintf("files[%d].file", i), "piece")
		flush()
		parts = append(parts, bytes.NewReader(p.data))
	}
	_ = w.Close()
	flush()
	return io.MultiReader(parts...), w.FormDataContentType()
}

// download copies the bytes from..to of a file, which may grow behind them.
func (t *Transport) download(ctx context.Context, box *sandbox, path string, from, to int64, w io.Writer) error {
	start := from
	r := request{
		method: http.MethodGet, url: t.toolbox(box, "/files/download?path="+url.QueryEscape(path)), limit: pieceLimit, active: to-from > activeSize,
		bytes: func() string { return fmt.Sprintf("bytes=%d-%d", from, to-1) },
		progress: func() bool {
			more := from > start
			start = from
			return more
		},
	}
	r.take = func(resp *http.Response) error {
		if resp.StatusCode != http.StatusPartialContent { // all of it comes
			if _, err := io.CopyN(io.Discard, resp.Body, from); err != nil {
				return err
			}
		} else if got := resp.Header.Get("Content-Range"); !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", from)) {
			return fmt.Errorf("a part was asked for from %d, what came is %.40q", from, got)
		}
		buf := make([]byte, 64<<10)
		for from < to {
			n, err := resp.Body.Read(buf[:min(int64(len(buf)), to-from)])
			if n > 0 {
				if _, err := w.Write(buf[:n]); err != nil {
					return &finalError{fmt.Errorf("daytona: stdout: %w", err)}
				}
				from += int64(n)
			}
			switch {
			case from >= to:
			case errors.Is(err, io.EOF):
				return io.ErrUnexpectedEOF
			case err != nil:
				return err
			}
		}
		return nil
	}
	return t.api.do(ctx, r)
}
