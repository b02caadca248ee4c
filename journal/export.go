package journal

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"
)

// Export writes everything as NDJSON, all of one moment: one object a line, whose "type" is meta, base,
// pending, foreign, commit, step or event. Hashes are hex, times RFC 3339 in UTC. A text that is not
// UTF-8 has its exact bytes, in base64, under the same name with "_base64".
func (j *Journal) Export(w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return j.view("export", func(t *txn) error {
		// Writing is the caller's: a slow or broken w is not damage.
		line := func(v any) error { return t.call(func() error { return enc.Encode(v) }) }
		for _, part := range []func(*txn, func(any) error) error{
			exportMeta, exportBases, exportPending, exportForeign, exportCommits, exportLog,
		} {
			if err := part(t, line); err != nil {
				return err
			}
		}
		return t.call(out.Flush)
	})
}

func exportMeta(t *txn, line func(any) error) error {
	m, err := t.meta()
	if err != nil {
		return err
	}
	return line(struct {
		Type       string     `json:"type"`
		Format     int        `json:"format"`
		Mount      string     `json:"mount"`
		MountID    string     `json:"mount_id"`
		Home       string     `json:"home"`
		SandboxURL string     `json:"sandbox_url"`
		SandboxID  string     `json:"sandbox_id"`
		CreatedAt  *time.Time `json:"created_at,omitempty"`
		Generation uint64     `json:"generation"`
		Probe      string     `json:"probe,omitempty"`
	}{"meta", Format, m.Mount, m.MountID, m.Home, m.SandboxURL, m.SandboxID, timeJSON(m.CreatedAt), m.Generation, m.Probe})
}

type baseJSON struct {
	Type         string     `json:"type"`
	Path         string     `json:"path"`
	PathBase64   string     `json:"path_base64,omitempty"`
	Delete       bool       `json:"delete,omitempty"` // pending only: then nothing follows
	Kind         string     `json:"kind,omitempty"`
	SHA256       string     `json:"sha256,omitempty"`
	Size         *int64     `json:"size,omitempty"`
	Mode         *uint32    `json:"mode,omitempty"`
	Mtime        *time.Time `json:"mtime,omitempty"`
	Target       string     `json:"target,omitempty"`
	TargetBase64 string     `json:"target_base64,omitempty"`
	Generation   uint64     `json:"generation,omitempty"`
	PushedAt     *time.Time `json:"pushed_at,omitempty"`
	HashedAt     *time.Time `json:"hashed_at,omitempty"`
	Ours         *statJSON  `json:"ours,omitempty"`
	Theirs       *statJSON  `json:"theirs,omitempty"`
}

type statJSON struct {
	Dev   uint64     `json:"dev"`
	Ino   uint64     `json:"ino"`
	Size  int64      `json:"size"`
	Mtime *time.Time `json:"mtime,omitempty"`
	Ctime *time.Time `json:"ctime,omitempty"`
}

func exportBases(t *txn, line func(any) error) error {
	return t.each(bucketBase, nil, func(key, body []byte) error {
		b, err := decodeBase(body)
		if err != nil {
			return corrupt(bucketBase, key, err)
		}
		return line(newBaseJSON("base", string(key), b))
	})
}

func exportPending(t *txn, line func(any) error) error {
	return t.pending(func(path string, b *Base) error {
		if b == nil {
			return line(baseJSON{Type: "pending", Path: path, PathBase64: exactBytes(path), Delete: true})
		}
		return line(newBaseJSON("pending", path, *b))
	})
}

func newBaseJSON(kind, path string, b Base) baseJSON {
	return baseJSON{
		Type: kind, Path: path, PathBase64: exactBytes(path),
		Kind: b.Kind.String(), SHA256: hashJSON(b.SHA256), Size: &b.Size, Mode: &b.Mode, Mtime: nsJSON(b.Mtime),
		Target: b.Target, TargetBase64: exactBytes(b.Target),
		Generation: b.Generation, PushedAt: nsJSON(b.PushedAt), HashedAt: nsJSON(b.HashedAt),
		Ours: newStatJSON(b.Ours), Theirs: newStatJSON(b.Theirs),
	}
}

func newStatJSON(s Stat) *statJSON {
	if s == (Stat{}) {
		return nil
	}
	return &statJSON{s.Dev, s.Ino, s.Size, nsJSON(s.Mtime), nsJSON(s.Ctime)}
}

func exportForeign(t *txn, line func(any) error) error {
	return t.foreign(func(path string, s Stat) error {
		return line(struct {
			Type       string    `json:"type"`
			Path       string    `json:"path"`
			PathBase64 string    `json:"path_base64,omitempty"`
			Theirs     *statJSON `json:"theirs,omitempty"`
		}{"foreign", path, exactBytes(path), newStatJSON(s)})
	})
}

func exportCommits(t *txn, line func(any) error) error {
	return t.commits(func(c Commit) error {
		err := line(struct {
			Type      string     `json:"type"`
			Commit    uint64     `json:"commit"`
			Kind      string     `json:"kind"`
			Mount     string     `json:"mount"`
			Home      string     `json:"home"`
			StartedAt *time.Time `json:"started_at,omitempty"`
			EndedAt   *time.Time `json:"ended_at,omitempty"`
			Open      bool       `json:"open"`
			Steps     int        `json:"steps"`
		}{"commit", c.Seq, c.Kind, c.Mount, c.Home, timeJSON(c.StartedAt), timeJSON(c.EndedAt), c.Open, c.Steps})
		if err != nil {
			return err
		}
		return t.steps(c.Seq, func(i int, s Step) error { return line(newStepJSON(c.Seq, i, s)) })
	})
}

type stepJSON struct {
	Type         string     `json:"type"`
	Commit       uint64     `json:"commit"`
	Step         int        `json:"step"`
	Path         string     `json:"path"`
	PathBase64   string     `json:"path_base64,omitempty"`
	Op           string     `json:"op"`
	Kind         string     `json:"kind"`
	Mode         uint32     `json:"mode"`
	Mtime        *time.Time `json:"mtime,omitempty"`
	SHA256       string     `json:"sha256,omitempty"`
	Object       string     `json:"object,omitempty"`
	Target       string     `json:"target,omitempty"`
	TargetBase64 string     `json:"target_base64,omitempty"`
	Before       beforeJSON `json:"before"`
	Result       string     `json:"result"`
	Conflict     string     `json:"conflict,omitempty"`
	Message      string     `json:"message,omitempty"`
}

type beforeJSON struct {
	Kind         string     `json:"kind"`
	Mode         uint32     `json:"mode,omitempty"`
	Mtime        *time.Time `json:"mtime,omitempty"`
	Object       string     `json:"object,omitempty"`
	Size         int64      `json:"size,omitempty"`
	Target       string     `json:"target,omitempty"`
	TargetBase64 string     `json:"target_base64,omitempty"`
}

func newStepJSON(seq uint64, i int, s Step) stepJSON {
	b := s.Before
	return stepJSON{
		Type: "step", Commit: seq, Step: i, Path: s.Path, PathBase64: exactBytes(s.Path), Op: s.Op,
		Kind: s.Kind.String(), Mode: s.Mode, Mtime: nsJSON(s.Mtime), SHA256: hashJSON(s.SHA256), Object: hashJSON(s.Object),
		Target: s.Target, TargetBase64: exactBytes(s.Target),
		Before: beforeJSON{b.Kind.String(), b.Mode, nsJSON(b.Mtime), hashJSON(b.Object), b.Size, b.Target, exactBytes(b.Target)},
		Result: s.Result, Conflict: s.Conflict, Message: s.Message,
	}
}

func exportLog(t *txn, line func(any) error) error {
	return t.log(func(first uint64, events []Event) error {
		for i, e := range events {
			err := line(struct {
				Type       string     `json:"type"`
				Event      uint64     `json:"event"`
				At         *time.Time `json:"at,omitempty"`
				Path       string     `json:"path"`
				PathBase64 string     `json:"path_base64,omitempty"`
				What       string     `json:"what"`
				Detail     string     `json:"detail,omitempty"`
			}{"event", first + uint64(i), timeJSON(e.At), e.Path, exactBytes(e.Path), e.What, e.Detail})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// exactBytes is what JSON's text cannot carry.
func exactBytes(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

func hashJSON(h [32]byte) string {
	if h == ([32]byte{}) {
		return ""
	}
	return hex.EncodeToString(h[:])
}

func timeJSON(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func nsJSON(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns).UTC()
	return &t
}
