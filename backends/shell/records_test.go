package shell

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"

	"hermesfs/backends"
)

func parse(b []byte, h handler) (string, string, error) {
	return records(bufio.NewReader(bytes.NewReader(b)), h)
}

func TestRecordsRefuse(t *testing.T) {
	const stat = "Ff 644 1 1.5 2.5 3 1\x00"
	all := handler{
		entry: func(stated) error { return nil }, unreadable: func(string) error { return nil }, behind: func(string) error { return nil },
	}
	for _, tc := range []struct{ name, in string }{
		{"absolute path", stat + "/etc/x\x00\x00"},
		{"path above", stat + "./../x\x00\x00"},
		{"bare path", stat + "x\x00\x00"},
		{"empty path", stat + "\x00\x00"},
		{"dot within", stat + "./a/./b\x00\x00"},
		{"two slashes", stat + "./a//b\x00\x00"},
		{"too long a path", stat + "./" + strings.Repeat("x", maxName) + "\x00\x00"},
		{"short stat", "Ff 644 1\x00./x\x00\x00"},
		{"mode", "Ff 999 1 1.5 2.5 3 1\x00./x\x00\x00"},
		{"negative size", "Ff 644 -1 1.5 2.5 3 1\x00./x\x00\x00"},
		{"time", "Ff 644 1 1.x 2.5 3 1\x00./x\x00\x00"},
		{"no kind", "\x00"},
		{"unknown kind", "Q./x\x00"},
		{"batch of none", "B0\x00"},
		{"batch without number", "Bx\x00"},
		{"batch that is too large", "B99999999999\x00"},
		{"batch with a bad path", "B1\x00../x\x0081a4 3 1 1|2026-11-24 09:36:05.964108803 +0000|2026-11-24 09:36:05.964108803 +0000\n"},
		{"batch with a bad stat", "B1\x00./x\x00nonsense\n"},
		{"batch with a bad date", "B1\x00./x\x0081a4 3 1 1|2026-13-24 09:36:05.9|2026-11-24 09:36:05.9\n"},
		{"stat without end", "B1\x00./x\x00" + strings.Repeat("1", 100_000)},
		{"unreadable above", "U..\x00"},
	} {
		var fe *backends.FormatError
		if _, _, err := parse([]byte(tc.in+"Z0\x00\x00"), all); !errors.As(err, &fe) || backends.IsTransient(err) {
			t.Errorf("%s: %v, want a FormatError", tc.name, err)
		}
	}
	whole := stat + "./x\x00\x00" + "B1\x00./y\x00a1ff 3 1 1|2026-11-24 09:36:05.964108803 +0000|1.5\n" // wrong on purpose: mixed times
	if _, _, err := parse([]byte(whole+"Z0\x00\x00"), all); err == nil {
		t.Error("a stat with two kinds of time was taken")
	}
}

func TestTimes(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want int64
	}{
		{"0.0000000000", 0},
		{"1700000000.1234567890", 1_700_000_000_123_456_789},
		{"1700000000", 1_700_000_000_000_000_000},
		{"5.5", 5_500_000_000},
		{"99999999999999.0", 9_223_372_035_000_000_000},
	} {
		if got, err := parseSeconds(tc.in); err != nil || got != tc.want {
			t.Errorf("parseSeconds(%q) = %d, %v, want %d", tc.in, got, err, tc.want)
		}
	}
	if got, err := parseDate("2023-11-14 22:13:20.123456789 +0000"); err != nil || got != 1_700_000_000_123_456_789 {
		t.Errorf("parseDate = %d, %v", got, err)
	}
}

func TestToolMessage(t *testing.T) {
	for _, tc := range []struct{ line, path, reason string }{
		{"find: './a': Permission denied", "a", "Permission denied"},
		{`find: './a\nb\303\251\\': Input/output error`, "a\nb\xc3\xa9\\", "Input/output error"},
		{"find: ./a: b: Permission denied", "a: b", "Permission denied"},
		{"find: out of memory", "", ""},
		{"find: '/etc': Permission denied", "", ""},
		{"xargs: find: terminated by signal 9", "", ""},
	} {
		path, reason, ok := toolMessage(tc.line, "find")
		if ok != (tc.path != "") || ok && (path != tc.path || reason != tc.reason) {
			t.Errorf("toolMessage(%q) = %q, %q, %v", tc.line, path, reason, ok)
		}
	}
	asked := func(path string) bool { return path == "a: b" || path == "c'd" || path == "é" }
	for _, tc := range []struct{ line, path, reason string }{
		{"tar: ./a: b: Cannot open: Permission denied", "a: b", "Cannot open: Permission denied"},
		{"tar: can't open './c'd': Permission denied", "c'd", "Permission denied"},
		{`tar: ./\303\251: Cannot stat: No such file or directory`, "é", "Cannot stat: No such file or directory"},
		{"tar: ./other: Cannot open: Permission denied", "", ""},
		{"tar: Exiting with failure status due to previous errors", "", ""},
	} {
		path, reason, ok := tarMessage(tc.line, asked)
		if ok != (tc.path != "") || path != tc.path || reason != tc.reason {
			t.Errorf("tarMessage(%q) = %q, %q, %v", tc.line, path, reason, ok)
		}
	}
}

func TestProbeIsNotTrusted(t *testing.T) {
	for _, probe := range []string{"", "1", "2;gnu;sha256sum;find", "1;gnu;sha256sum;rm", "1;gnu;$(reboot);find", "1;tar;sha256sum;c", "1;gnu;sha256sum;find;"} {
		if got, err := parseProbe(probe); err == nil {
			t.Errorf("parseProbe(%q) = %v, want an error", probe, got)
		}
	}
	want := tools{tar: "busybox", sum: "shasum -a 256", stat: "f"}
	if got, err := parseProbe(want.probe()); err != nil || got != want {
		t.Errorf("parseProbe(%q) = %v, %v", want.probe(), got, err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte("Ff 644 1 1.5 2.5 3 1\x00./x\x00\x00Fl 777 1 1.5 2.5 3 1\x00./l\x00x\x00U./d\x00Z0\x00\x00"))
	f.Add([]byte("B2\x00./y\x00./z\n\x00a1ff 3 1 1|2026-11-24 09:36:05.964108803 +0000|2026-11-24 09:36:05.9 +0000\n100644 3 1 1|1.5|2.5\nT./y\x00t\x00Z123\x00find: './x': no\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(path string) error {
			if path != "." && !validPath(path, maxName) {
				t.Errorf("path %q", path)
			}
			return nil
		}
		_, messages, err := parse(b, handler{
			entry: func(e stated) error {
				if e.Size < 0 || e.Mode > 0o7777 || e.Kind < backends.File || e.Kind > backends.Other || (e.Target != "") && e.Kind != backends.Symlink {
					t.Errorf("entry %+v", e)
				}
				return check(e.Path)
			},
			unreadable: check, behind: check,
		})
		if err == nil {
			m := &manifest{unknown: map[string]error{}}
			if m.explain(messages) == nil {
				for path := range m.unknown {
					_ = check(path)
				}
			}
		}
	})
}
