package command

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// One argument of a program is at most 128 KiB on Linux.
const maxCommand = 120 << 10

// newMark is a word that no script prints.
func newMark() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "hermesfs-" + hex.EncodeToString(b)
}

// rawScript runs the script in a sh of its own, so that nothing that it does to itself keeps the
// last line from being written. Both lines go to stderr, which is not the payload's.
const rawScript = `%[2]s
rc=$?
printf '\n%%s:end %%s\n' %[1]s $rc >&2
exit $rc`

// textScript has all on stdout, in lines: its beginning, stdout in base64, and its end with the
// last of stderr and the exit status. Blocks are encoded as they come, not when a buffer is full.
const textScript = `m=%[1]s
command -v base64 >/dev/null || { printf '\n%%s:none\n' "$m"; exit 127; }
enc() { while c=$(dd bs=49152 count=1 2>/dev/null | base64) && [ -n "$c" ]; do printf '%%s\n' "$c"; done; }
exec 3>&1
sed -n '/^\.$/q;p' | base64 -d 2>/dev/null 3>&- | {
e=$({ { %[2]s 2>&4 4>&-; printf '\n%%s' "$?" >&4; } | enc >&3 4>&-; } 4>&1 | tail -c 4200 | base64 | tr -d '\n')
printf '\n%%s:end %%s\n' "$m" "$e"
}`

// A framing is how a script stands in its frame. The inner sh says its process id, which is the
// script's, in the first line.
type framing struct{ outer, first string }

var (
	rawFraming  = framing{rawScript, `printf '%[1]s:begin %%s\n' $$ >&2`}
	textFraming = framing{textScript, `printf '\n%[1]s:begin %%s\n' $$ >&3; exec 3>&-`}
)

// argv is the whole command line that runs a script in a frame.
func (t *Transport) argv(f framing, mark, script string) ([]string, error) {
	load := `s=$1; set --; eval "$s"`
	if !plain(script) { // what carries arguments as JSON, or in a terminal's lines, changes such bytes
		load, script = `s=$(printf %%b "$1"); set --; eval "$s"`, encode(script)
	}
	inner := shellQuote(fmt.Sprintf(f.first+"; "+load, mark))
	command := []string{"sh", "-c", fmt.Sprintf(f.outer, mark, "sh -c "+inner+` sh "$1"`), "sh", script}
	args := slices.Clone(t.o.Prefix)
	if i := slices.Index(args, placeholder); i >= 0 {
		args[i] = join(command)
		command = nil
	}
	args = append(args, command...)
	for _, a := range args {
		if len(a) > maxCommand {
			return nil, fmt.Errorf("%s: a script of %d bytes is too long", t.op(), len(script))
		}
	}
	return args, nil
}

func plain(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\t' }) < 0
}

// encode makes what printf %b makes the script of again.
func encode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c == '\\' || c > '~' || c < ' ' && c != '\n' && c != '\t' {
			fmt.Fprintf(&b, `\0%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// killScript ends a process with all its descendants: what `docker exec` started outlives it. The
// command line of the first one holds the mark, as long as the process id is still the script's.
func killScript(pid int, mark string) string {
	return fmt.Sprintf(`p=%d
case $(tr '\0' ' ' </proc/$p/cmdline) in *%s*) ;; *) exit 0 ;; esac 2>/dev/null
tree() {
	for s in /proc/[0-9]*/stat; do
		read -r l <"$s" || continue
		q=${l%%%% *}
		set -- ${l##*) }
		echo "$2 $q"
	done 2>/dev/null
}
all=$(tree)
list=$p
todo=$p
while [ -n "$todo" ]; do
	next=
	while read -r parent child; do
		case " $todo " in *" $parent "*) next="$next $child" ;; esac
	done <<X
$all
X
	todo=$next
	list="$list $next"
done
kill -TERM $list 2>/dev/null
exit 0`, pid, mark)
}
