package shell

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Hash returns the SHA-256 of regular files; what vanished, is no regular file, cannot be read
// or stands behind a symlink is absent.
func (s *Sandbox) Hash(ctx context.Context, paths []string) (map[string][32]byte, error) {
	sums := make(map[string][32]byte, len(paths))
	if len(paths) == 0 {
		return sums, nil
	}
	for _, path := range paths {
		if !validPath(path, maxName) {
			return nil, fmt.Errorf("hash: %q is not a path in the home", path)
		}
	}
	err := s.call(ctx, &verb{name: "hash", inner: []string{"hash_list"}, list: nulList(paths), body: func(r *bufio.Reader) error {
		for _, path := range paths {
			sum, ok, err := readSum(r)
			if err != nil {
				return err
			}
			if ok {
				sums[path] = sum
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

// readSum reads a line that is a SHA-256 in hex, or "-" for none.
func readSum(r *bufio.Reader) (sum [32]byte, ok bool, err error) {
	var line [65]byte
	if line[0], err = r.ReadByte(); err != nil {
		return sum, false, errCut
	}
	if line[0] == '\n' {
		return sum, false, errCut // the end line: the list did not come whole
	}
	if line[0] == '-' {
		if line[1], err = r.ReadByte(); err != nil {
			return sum, false, errCut
		}
		if line[1] != '\n' {
			return sum, false, badRecord("a sum %q", line[:2])
		}
		return sum, false, nil
	}
	if _, err := io.ReadFull(r, line[1:]); err != nil {
		return sum, false, errCut
	}
	if _, err := hex.Decode(sum[:], line[:64]); err != nil || line[64] != '\n' {
		return sum, false, badRecord("a sum %q", line[:])
	}
	return sum, true, nil
}

// nulList is a list of paths as the scripts take it.
func nulList(paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		b.WriteString(dotted(path))
		b.WriteByte(0)
	}
	return b.String()
}
