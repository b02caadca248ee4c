package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hermesfs/backends"
)

var (
	errPath     = errors.New("not a path that can be written in the home")
	errTwice    = errors.New("the batch has the path twice")
	errBelow    = errors.New("the batch has a file or symlink above it")
	errTarget   = errors.New("not a target that a symlink can have")
	errSpecial  = errors.New("only files, directories and symlinks can be written")
	errParent   = errors.New("a directory above it is a symlink or a file in the sandbox")
	errNotEmpty = errors.New("the sandbox's directory there cannot be removed: it is not empty")
	errPlace    = errors.New("the sandbox could not put it into place")
	errNoAnswer = errors.New("the sandbox does not say what became of it")
)

// Push applies a batch, see backends.Batch. The bytes go first, into a private directory of the
// sandbox; only when the last list of what to do is there and the SHA-256 of all that was sent is
// right does anything change in the home. A path that already holds what is sent counts as
// expected: a push that was cut can be repeated. When Push returns an error nothing is known of
// what was applied after Ready.
func (s *Sandbox) Push(ctx context.Context, b *backends.Batch) (*backends.PushResult, error) {
	t, err := s.needTools(ctx)
	if err != nil {
		return nil, err
	}
	p := newPusher(b, t)
	if p.empty() {
		if b.Ready != nil {
			if err := b.Ready(nil); err != nil {
				return nil, fmt.Errorf("push: %w", err)
			}
		}
		return &p.result, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pr, pw := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := p.send(ctx, pw)
		pw.CloseWithError(err)
		if err != nil && !errors.Is(err, errStopped) {
			cancel(err)
		}
		sent <- err
	}()
	err = s.call(ctx, &verb{
		name:  "push",
		inner: []string{"push_lib", "push_state", "push_judge", "push_clear", "push_dirs", "push_files", "push_modes", "push_done", "stat_list"},
		vars:  map[string]string{"lists": "./" + strings.Join(listNames, " ./")},
		stdin: pr,
		body:  p.read,
	})
	pr.CloseWithError(errStopped)
	sendErr := <-sent
	switch {
	case sendErr != nil && !errors.Is(sendErr, errStopped):
		return nil, fmt.Errorf("push: %w", sendErr)
	case err != nil:
		return nil, err
	}
	// A script may end before it has read the padding: it said that all of the rest was right.
	p.settle()
	return &p.result, nil
}

// errStopped is what writing to a script that has ended gives.
var errStopped = errors.New("the script has ended")

// read reads the answer: what became of the paths.
func (p *pusher) read(r *bufio.Reader) error {
	p.refused, p.gone, p.failed, p.stats = map[string]bool{}, map[string]bool{}, map[string]error{}, map[string]backends.Entry{}
	_, _, err := records(r, handler{
		entry:      func(e stated) error { p.stats[e.Path] = e.Entry; return nil },
		unreadable: func(string) error { return nil },
		other: func(kind byte, field string) error {
			var code byte
			if kind == 'E' && field != "" {
				code, field = field[0], field[1:]
			}
			path, err := cleanPath(field)
			if err != nil {
				return err
			}
			switch {
			case kind == 'R':
				p.refused[path] = true
			case kind == 'D':
				p.gone[path] = true
			case p.failed[path] != nil: // the first reason is the better one
			case code == '1':
				p.failed[path] = errParent
			case code == '2':
				p.failed[path] = errNotEmpty
			case code == '3':
				p.failed[path] = errPlace
			default:
				return badRecord("a record of kind %q", kind)
			}
			return nil
		},
	})
	return err
}

// settle makes the result of the answer, in the order in which things were sent.
func (p *pusher) settle() {
	told := map[string]bool{}
	for _, sent := range p.sent {
		path := sent.Path
		switch {
		case p.failed[path] != nil:
			if !told[path] {
				p.result.Problems = append(p.result.Problems, backends.Problem{Path: path, Err: p.failed[path]})
			}
			told[path] = true
		case p.refused[path]:
			if !told[path] {
				p.result.Refused = append(p.result.Refused, path)
			}
			told[path] = true
		case sent.Deleted && !p.gone[path]:
			p.result.Problems = append(p.result.Problems, backends.Problem{Path: path, Err: errNoAnswer})
		case sent.Deleted:
			p.result.Done = append(p.result.Done, backends.Done{Sent: sent})
		default:
			// One that something removed at once has no stat.
			p.result.Done = append(p.result.Done, backends.Done{Sent: sent, Entry: p.stats[path]})
		}
	}
}
