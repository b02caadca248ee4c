package ssh

import (
	"fmt"
	"strings"
)

// One argument of a program is at most 128 KiB on Linux, and the login shell gets the command as
// one.
const maxCommand = 120 << 10

// remoteCommand is what the login shell of the far side is given to run script with sh. In the
// single quotes of fish a backslash quotes another one, in those of csh ! and newlines have
// meanings: such bytes travel as @0ooo, of which tr and printf %b make the script again.
// The script begins with the mark on stderr, with the process id, which is its group's too.
func remoteCommand(script, mark string) (string, error) {
	if strings.IndexByte(script, 0) >= 0 {
		return "", fmt.Errorf("the script holds a NUL byte")
	}
	var b strings.Builder
	b.WriteString(`exec sh -c 'eval "set --;$(printf %b "$(printf %s "$1" | tr @ "\134")")"' sh '`)
	encode(&b, `printf '`+mark+`%s\n' "$$" >&2`+"\n"+script)
	b.WriteString("'")
	if b.Len() > maxCommand {
		return "", fmt.Errorf("a script of %d bytes is too long for ssh", len(script))
	}
	return b.String(), nil
}

func encode(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~' || strings.IndexByte(`'\!@`, c) >= 0:
			fmt.Fprintf(b, "@0%03o", c)
		default:
			b.WriteByte(c)
		}
	}
}
