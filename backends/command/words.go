package command

import (
	"errors"
	"strings"
)

// Split splits a line into words as a POSIX shell does: blanks separate, ' and " and \ quote. No
// shell runs, so what a shell would expand or act upon is refused where it is not quoted.
func Split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	open := false // a word has begun, perhaps an empty one
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == 0:
			return nil, errors.New("it holds a NUL byte")
		case c == ' ' || c == '\t' || c == '\n':
			if open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("a ' is not closed")
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			open = true
		case c == '"':
			n, err := quoted(&word, line[i+1:])
			if err != nil {
				return nil, err
			}
			i += n
			open = true
		case c == '\\':
			if i++; i == len(line) {
				return nil, errors.New(`it ends with a \`)
			}
			if line[i] != '\n' { // which only goes on in the next line
				word.WriteByte(line[i])
				open = true
			}
		case strings.IndexByte("|&;<>()$`*?[", c) >= 0 || (c == '#' || c == '~') && !open:
			return nil, errors.New("no shell runs it, so " + string(c) + " must be quoted, as in '" + string(c) + "'")
		default:
			word.WriteByte(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}

// quoted reads what follows a ", up to and with the next, and returns its length.
func quoted(word *strings.Builder, rest string) (int, error) {
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '"':
			return i + 1, nil
		case '$', '`':
			return 0, errors.New("no shell runs it, so " + string(c) + " must stand in '…'")
		case '\\':
			if i+1 < len(rest) && strings.IndexByte("\"\\$`\n", rest[i+1]) >= 0 {
				if i++; rest[i] != '\n' {
					word.WriteByte(rest[i])
				}
				continue
			}
			word.WriteByte(c)
		case 0:
			return 0, errors.New("it holds a NUL byte")
		default:
			word.WriteByte(c)
		}
	}
	return 0, errors.New(`a " is not closed`)
}

// shellQuote makes one word for sh of any bytes but NUL.
func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:%,="
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// join is the reverse of Split.
func join(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellQuote(w)
	}
	return strings.Join(quoted, " ")
}
