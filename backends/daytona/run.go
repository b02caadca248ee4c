package daytona

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"hermesfs/backends"
)

const (
	maxWaiting  = 4        // pieces of stdin that the script has not read
	maxUnsent   = 64 << 20 // bytes of stdout that are not fetched
	pollLooks   = 60       // of stateScript in one call, some 10 s
	pollLimit   = time.Minute
	startLooks  = 12 // of the call that starts a script, which is short as a rule
	cleanLimit  = 15 * time.Second
	cancelLimit = 1500 * time.Millisecond
	firstPiece  = 100 * time.Millisecond // a stdin that is at hand goes with the script
)

// A sent file is one whose upload is to be looked at.
type sent struct {
	name, becomes string
	size          int
	sum           string
}

func sentFile(name, becomes string, data []byte) sent {
	sum := sha256.Sum256(data)
	return sent{name, becomes, len(data), hex.EncodeToString(sum[:])}
}

// A job is one script in the sandbox.
type job struct {
	t       *Transport
	box     *sandbox
	dir     string
	feeder  *feeder // nil without stdin
	over    bool    // the first piece of stdin was all of it
	started bool    // something of it may be in the sandbox
	stdout  io.Writer
	got     int64
	hash    hash.Hash
}

// Run runs script with the sandbox's sh. A stdin whose Read blocks for ever keeps its goroutine
// until it returns. Where the sandbox has been stopped meanwhile, it is started again.
func (t *Transport) Run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if t.isClosed() {
		return fmt.Errorf("daytona: %w", errClosed)
	}
	if strings.IndexByte(script, 0) >= 0 {
		return errors.New("daytona: the script holds a NUL byte")
	}
	box, base, err := t.connect(ctx)
	if err != nil {
		return err
	}
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	j := &job{t: t, box: box, dir: at(base, hex.EncodeToString(b)), stdout: stdout, hash: sha256.New()}
	if stdout == nil {
		j.stdout = io.Discard
	}
	if stdin != nil {
		j.feeder = newFeeder(stdin)
		defer j.feeder.stop()
	}
	err = j.run(ctx, script)
	if errors.Is(err, errStopped) || errors.Is(err, errNoDir) {
		t.disconnect(ctx) // the next one looks what has become of it
	}
	j.clean(ctx, err != nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connect finds the sandbox and makes the private directory, once.
func (t *Transport) connect(ctx context.Context) (*sandbox, string, error) {
	if err := t.lock(ctx); err != nil {
		return nil, "", err
	}
	defer t.unlock()
	if t.dir != "" {
		return t.box, t.dir, nil
	}
	for again := false; ; again = true {
		if err := t.readyLocked(ctx); err != nil {
			return nil, "", err
		}
		words, err := t.exec(ctx, "umask 077\nd=$(mktemp -d \"${TMPDIR:-/tmp}/hermesfs.XXXXXXXX\") && say ok \"$d\"\n", cleanLimit)
		if errors.Is(err, errStopped) && !again {
			continue // between the two calls
		}
		if err != nil {
			return nil, "", err
		}
		if len(words) != 2 || words[0] != "ok" || !strings.HasPrefix(words[1], "/") {
			return nil, "", fmt.Errorf("daytona: no private directory in the sandbox: %.200q", words)
		}
		t.dir = words[1]
		return t.box, t.dir, nil
	}
}

// errNoDir is a private directory that is gone: the sandbox was started anew.
var errNoDir = errors.New("the private directory in the sandbox is gone")

func (t *Transport) disconnect(ctx context.Context) {
	if t.lock(ctx) == nil {
		t.dir = ""
		t.unlock()
	}
}

func transient(err error) error { return &backends.TransportError{Op: "daytona", Err: err} }

// run ends when the script has ended and stdout is here, or something failed.
func (j *job) run(ctx context.Context, script string) error {
	words, err := j.start(ctx, script)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if j.feeder != nil && !j.over {
			if err := j.feed(ctx); err != nil {
				cancel(err)
			}
		}
	}()
	defer func() {
		cancel(nil)
		<-fed
	}()
	for {
		done, err := j.take(ctx, words)
		if done || err != nil {
			if err != nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if words, err = j.t.execIn(ctx, j.box, fmt.Sprintf(stateScript, quote(j.dir), j.got, pollLooks), pollLimit); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

// start uploads the script, with what of stdin is at hand, and starts it.
func (j *job) start(ctx context.Context, script string) ([]string, error) {
	text := []byte(fmt.Sprintf(jobScript, quote(j.dir), maxUnsent))
	pieces := []piece{{"script", []byte(script)}, {"job", text}}
	check := []sent{sentFile("script", "", []byte(script)), sentFile("job", "", text)}
	if j.feeder != nil {
		data, last, err := j.feeder.next(ctx.Done(), firstPiece)
		if err != nil {
			return nil, fmt.Errorf("daytona: stdin: %w", err)
		}
		becomes := "in.0"
		if last {
			becomes, j.over = "end.0", true
		}
		pieces = append(pieces, piece{"up.0", data}, piece{"stdin", nil})
		check = append(check, sentFile("up.0", becomes, data), sentFile("stdin", "", nil))
	}
	for i := range pieces {
		pieces[i].path = at(j.dir, pieces[i].path)
	}
	j.started = true
	state := fmt.Sprintf(stateScript, quote(j.dir), 0, startLooks)
	for n := 1; ; n++ {
		if err := j.t.upload(ctx, j.box, pieces); err != nil {
			return nil, err
		}
		words, err := j.t.execIn(ctx, j.box, startScript(j.dir, check)+state, pollLimit)
		if err != nil || words[0] != "damaged" {
			return words, err
		}
		if n == attempts {
			return nil, transient(errors.New("what is uploaded comes damaged"))
		}
	}
}

// feed uploads stdin piece by piece until its end or the script's.
func (j *job) feed(ctx context.Context) error {
	for i := 1; ; i++ {
		data, last, err := j.feeder.next(ctx.Done(), 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("daytona: stdin: %w", err)
		}
		kind := "in."
		if last {
			kind = "end."
		}
		name := "up." + strconv.Itoa(i)
		f := sentFile(name, kind+strconv.Itoa(i), data)
		over, err := j.sendPiece(ctx, piece{at(j.dir, name), data}, f)
		if err != nil || over || last {
			return err
		}
	}
}

// sendPiece uploads one piece of stdin and waits until not too many wait. It says whether the
// script is over.
func (j *job) sendPiece(ctx context.Context, p piece, f sent) (bool, error) {
	send := true
	for n := 1; ; n++ {
		if send {
			if err := j.t.upload(ctx, j.box, []piece{p}); err != nil {
				return false, err
			}
		}
		words, err := j.t.execIn(ctx, j.box, takeScript(j.dir, f), pollLimit)
		if err != nil {
			return false, err
		}
		switch words[0] {
		case "over":
			return true, nil
		case "gone":
			return false, transient(errNoDir)
		case "damaged":
			if send = true; n >= attempts {
				return false, transient(errors.New("what is uploaded comes damaged"))
			}
		default:
			waiting, _ := strconv.Atoi(words[len(words)-1])
			if waiting <= maxWaiting {
				return false, nil
			}
			send, n = false, 0
		}
	}
}

// take acts upon the state of a job, and says whether it is over.
func (j *job) take(ctx context.Context, words []string) (bool, error) {
	size := int64(-1)
	if len(words) > 1 {
		size, _ = strconv.ParseInt(words[1], 10, 64)
	}
	switch {
	case words[0] == "gone":
		return true, transient(errNoDir)
	case words[0] == "dead":
		return true, transient(errors.New("the script vanished from the sandbox"))
	case words[0] == "run" && size >= 0:
		return false, j.fetch(ctx, size)
	case words[0] != "done" || len(words) != 6 || size < j.got:
		return true, &backends.FormatError{What: "answer", Err: fmt.Errorf("the state %.200q", words)}
	}
	if err := j.fetch(ctx, size); err != nil {
		return true, err
	}
	if hex.EncodeToString(j.hash.Sum(nil)) != words[3] {
		return true, transient(errors.New("the output is damaged: its SHA-256 is not what the sandbox says"))
	}
	if words[4] != "0" {
		return true, transient(errors.New("the sandbox has no room for the output"))
	}
	code, err := strconv.Atoi(words[2])
	if err != nil {
		return true, &backends.FormatError{What: "answer", Err: fmt.Errorf("the exit status %.40q", words[2])}
	}
	if code != 0 {
		stderr, _ := base64.StdEncoding.DecodeString(words[5][1:])
		return true, &backends.ScriptError{Op: "daytona", Code: code, Stderr: string(stderr)}
	}
	return true, nil
}

// fetch passes on stdout up to size.
func (j *job) fetch(ctx context.Context, size int64) error {
	for j.got < size {
		to := min(size, j.got+4*pieceBytes)
		if err := j.t.download(ctx, j.box, at(j.dir, "out"), j.got, to, io.MultiWriter(j.hash, j.stdout)); err != nil {
			return err
		}
		j.got = to
	}
	return nil
}

// clean ends the job, if it runs, and removes its files. That of a script that did not come to its
// end is waited for, as long as cancelling may take.
func (j *job) clean(ctx context.Context, wait bool) {
	if !j.started {
		return
	}
	done := make(chan struct{})
	j.t.work.Go(func() {
		defer close(done)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit+execMargin)
		defer cancel()
		if _, err := j.t.execIn(limited, j.box, endScript(j.dir), cleanLimit); err != nil && !errors.Is(err, errStopped) {
			j.t.log.Warn("a script's files stay in the sandbox", "dir", j.dir, "error", err)
		}
	})
	if !wait {
		return
	}
	timer := time.NewTimer(cancelLimit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
