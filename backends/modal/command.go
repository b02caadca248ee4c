package modal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"hermesfs/backends"
)

// The SDK refuses more than 65,536 bytes of arguments.
const maxArgs = 60 << 10

// command returns the arguments that run script with sh, and the stdin that goes with them, nil for
// none. A script that is no argument, being too long or not UTF-8 as protocol buffers want strings,
// stands before stdin; dd reads no byte more than it. The first line of stderr is the mark with the
// process id. Where an exec has no HOME it is the user's, as of a login.
func command(script, mark string, stdin io.Reader) ([]string, io.Reader, error) {
	if strings.IndexByte(script, 0) >= 0 {
		return nil, nil, errors.New("the script holds a NUL byte")
	}
	begin := `printf '` + mark + `%s\n' "$$" >&2
[ -n "$HOME" ] || { eval "HOME=~$(id -un)"; export HOME; }
`
	if len(script) > maxArgs || !utf8.ValidString(script) {
		begin += fmt.Sprintf("eval \"$(dd bs=1 count=%d 2>/dev/null)\"", len(script))
		if stdin == nil {
			stdin = strings.NewReader("")
		}
		return []string{"sh", "-c", begin}, io.MultiReader(strings.NewReader(script), stdin), nil
	}
	if stdin == nil {
		begin += "exec </dev/null\n"
	}
	return []string{"sh", "-c", begin + script}, stdin, nil
}

// killCommand ends the process group of a script: it may clean up for three seconds. It is told
// again and again, for a shell that is just about to start a program waits for that. Where the
// process id is not known, 0, it is looked for by the mark, which a script's arguments hold until it execs;
// in two parts, so that the command does not find itself.
func killCommand(pid int, mark string) []string {
	half := len(mark) / 2
	return []string{"sh", "-c", `p=$1
if [ "$p" = 0 ]; then
	for d in /proc/[0-9]*; do
		case $(tr '\0' ' ' <"$d/cmdline") in *"$2$3"*) p=${d#/proc/} ;; esac
	done 2>/dev/null
	[ "$p" != 0 ] || exit 0
fi
k() { kill -$1 -$p || kill -$1 $p; } 2>/dev/null
k TERM || exit 0
for i in 1 2 3 4 5 6; do
	for j in 1 2 3 4 5; do
		kill -0 $p 2>/dev/null || exit 0
		sleep 0.1 2>/dev/null || { sleep 1; break; }
	done
	k TERM
done
k KILL
exit 0`, "sh", strconv.Itoa(pid), mark[:half], strings.TrimSpace(mark[half:])}
}

// newMark makes a word that no other script prints.
func newMark() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return "hermesfs-" + hex.EncodeToString(b) + " "
}

// markedStderr is a Writer that takes the mark off what a script writes, and keeps the end of the
// rest.
type markedStderr struct {
	mark string
	rest backends.StderrTail

	mu   sync.Mutex // guards what follows
	line []byte     // the first line, while it is not whole
	pid  int
	done chan struct{} // closed when pid is known, or never will be
	over bool
	lost bool // the stream broke before pid was known
}

func newStderr(mark string) *markedStderr {
	return &markedStderr{mark: mark, done: make(chan struct{})}
}

func (m *markedStderr) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return m.rest.Write(p)
	}
	m.line = append(m.line, p...)
	line, after, whole := bytes.Cut(m.line, []byte("\n"))
	if !whole && len(m.line) < 200 {
		return len(p), nil
	}
	digits, ok := strings.CutPrefix(string(line), m.mark)
	if pid, err := strconv.Atoi(digits); ok && err == nil && pid > 1 {
		m.pid = pid
		m.line = after
	}
	m.endLocked()
	return len(p), nil
}

// end says that nothing more comes, for a reason or none.
func (m *markedStderr) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.over {
		m.lost = err != nil
		m.endLocked()
	}
}

func (m *markedStderr) endLocked() {
	_, _ = m.rest.Write(m.line)
	m.line, m.over = nil, true
	close(m.done)
}

// process waits for the process id. It is 0 when it is lost; without an id that there could be, ok
// is false.
func (m *markedStderr) process(ctx context.Context) (pid int, ok bool) {
	select {
	case <-m.done:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pid, m.pid != 0 || m.lost
}
