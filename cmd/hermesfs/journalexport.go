package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"hermesfs/journal"
)

func journalExportCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "print the whole journal as NDJSON", ArgsUsage: "NAME",
		Description: `One object a line, all of one moment; "type" is meta, base, pending, foreign, commit, step or event. Hashes are
hexadecimal, times RFC 3339 in UTC; a text that is not UTF-8 has its bytes under the same name with "_base64".`,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "the NAME of a mount"); err != nil {
				return err
			}
			return runJournalExport(c.Context, c.Args().First(), e)
		},
	}
}

// An exportChunk is a piece of an export on the control socket.
type exportChunk struct {
	NDJSON []byte `json:"ndjson"`
}

func runJournalExport(ctx context.Context, name string, e *env) error {
	m, _, err := find(e, name)
	if err != nil {
		return err
	}
	c, lock, err := m.reach(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(e.out)
	if c == nil {
		defer lock.Close()
		j, err := journal.Open(m.journal(), journal.Options{ReadOnly: true, Timeout: lockWait})
		if err != nil {
			return err
		}
		return errors.Join(j.Export(out), out.Flush(), j.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_, err = c.do(ctx, "journal-export", actionArgs{}, func(raw json.RawMessage) {
		var chunk exportChunk
		err := json.Unmarshal(raw, &chunk)
		if err == nil {
			_, err = out.Write(chunk.NDJSON)
		}
		if err != nil {
			cancel(err)
		}
	})
	return errors.Join(err, out.Flush())
}

// journalExport sends the journal in chunks. It is spooled first: no reader of the socket, however
// slow, keeps the journal's pages from being used again or the session from being closed.
func (s *session) journalExport(send func(any)) error {
	f, err := s.spoolJournal()
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			send(exportChunk{NDJSON: buf[:n]})
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
}

// spoolJournal exports to a file that has no name any more.
func (s *session) spoolJournal() (*os.File, error) {
	done, err := s.read()
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := os.CreateTemp(s.dir.path(), ".export-")
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if err := errors.Join(os.Remove(f.Name()), s.journal.Export(f)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("export: %w", err), f.Close())
	}
	return f, nil
}
