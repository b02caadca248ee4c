package command

import (
	"errors"
	"fmt"
	iofs "io/fs"
	osexec "os/exec"
	"strings"

	"hermesfs/backends"
)

// The statuses with which programs of this kind say that there was no command to run.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// fault makes an error of a program that ended before the script began. What cannot become better
// by trying again is not a plain *TransportError.
func (t *Transport) fault(code int, said string) error {
	has := func(texts ...string) bool {
		low := strings.ToLower(said)
		for _, s := range texts {
			if strings.Contains(low, s) {
				return true
			}
		}
		return false
	}
	by := &backends.TransportError{Op: t.op(), Err: fmt.Errorf("exit status %d before the script began", code), Stderr: said}
	switch {
	case has("unauthorized", "forbidden", "permission denied", "you must be logged in", "authentication", "not logged in", "credentials"):
		by.Err = fmt.Errorf("%w: the command must work first, by hand", backends.ErrAuth)
		return by
	case has("no such container", "no container with name", "is not running", "not found", "no instance", "container state improper", "unknown flag", "unknown shorthand", "error from server (badrequest)"),
		code == codeNotExecutable, code == codeNotFound:
		return fmt.Errorf("%s: exit status %d before the script began: %s", t.op(), code, oneLine(said))
	case code == 0:
		by.Err = errors.New("it ended well, but no script ran")
	}
	return by
}

// noProgram makes an error of a program that could not be started.
func (t *Transport) noProgram(err error) error {
	program := t.o.Prefix[0]
	switch {
	case errors.Is(err, osexec.ErrNotFound), errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("there is no program %q here: install it, or write its path", program)
	case errors.Is(err, iofs.ErrPermission):
		return fmt.Errorf("the program %q cannot be run: %w", program, err)
	}
	return &backends.TransportError{Op: t.op(), Err: err}
}

// oneLine quotes the last of what a program said.
func oneLine(said string) string {
	said = strings.TrimSpace(said)
	if said == "" {
		return "it said nothing"
	}
	lines := strings.Split(said, "\n")
	return fmt.Sprintf("%.300q", strings.TrimSpace(lines[len(lines)-1]))
}
