package shell

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hermesfs/backends"
)

// take hands an archive to the receiver that asked for files, which are as large as their content.
func take(archive []byte, files map[string]string, f *fetcher) (map[string]string, error) {
	got := map[string]string{}
	f.lim, f.failed = withDefaults(f.lim), map[string]bool{}
	f.fn = func(e backends.Entry, r io.Reader) error {
		c, err := io.ReadAll(r)
		got[e.Path] = string(c)
		return err
	}
	d := newDownload(f)
	for path, content := range files {
		d.before[path] = stated{Entry: backends.Entry{Path: path, Kind: backends.File, Mode: 0o644, Size: int64(len(content))}}
		d.after[path] = d.before[path]
	}
	d.order = keys(d.before)
	sent := make(chan struct{})
	go func() {
		_, err := d.pw.Write(archive)
		d.pw.CloseWithError(err)
		close(sent)
	}()
	err := f.takeIn(d)
	d.pr.CloseWithError(errStopped)
	<-sent
	return got, err
}

// An arc is an archive in the making, by hand where archive/tar would refuse.
type arc struct{ bytes.Buffer }

// raw writes a member with any header.
func (a *arc) raw(kind byte, name string, size string, content string) *arc {
	var h [512]byte
	copy(h[0:100], name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:136], size)
	copy(h[136:], "00000000000\x00        ")
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	a.Write(h[:])
	a.WriteString(content)
	a.Write(make([]byte, (512-len(content)%512)%512))
	return a
}

func octal(n int) string { return fmt.Sprintf("%011o\x00", n) }

func (a *arc) file(name, content string) *arc { return a.raw('0', name, octal(len(content)), content) }

func (a *arc) kind(kind byte, name, target string) *arc {
	start := a.Len()
	a.raw(kind, name, octal(0), "")
	h := a.Bytes()[start:]
	copy(h[157:257], target)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h[:512] {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return a
}

func (a *arc) pax(kind byte, records ...string) *arc {
	var b strings.Builder
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
		}
		fmt.Fprintf(&b, "%d %s\n", n, r)
	}
	return a.raw(kind, "PaxHeaders/x", octal(b.Len()), b.String())
}

func (a *arc) end() []byte {
	a.Write(make([]byte, 1024))
	return a.Bytes()
}

func new1() *arc { return &arc{} }

func TestHostileArchives(t *testing.T) {
	// What was asked for, each time; "ok" comes last and must come whatever came before.
	files := map[string]string{"f": "12345", "d/g": "67890", "ok": "fine"}
	first := func() *arc { return new1().file("./f", "12345").file("./d/g", "67890") }
	ok := func(a *arc) []byte { return a.file("./ok", "fine").end() }
	all := "d/g f ok"
	const format, limit = "format", "limit"
	for _, tc := range []struct {
		name     string
		archive  []byte
		got      string // the paths that came, with the right content
		problems string
		err      string
	}{
		{"honest", ok(first()), all, "", ""},
		{"honest without ./", new1().file("f", "12345").file("d/g", "67890").file("ok", "fine").end(), all, "", ""},
		{"honest, padded", append(ok(first()), make([]byte, 8192)...), all, "", ""},
		{"parent", ok(first().file("../f", "x")), all, "../f", ""},
		{"parent within", ok(first().file("./d/../../f", "x")), all, "./d/../../f", ""},
		{"absolute", ok(first().file("/etc/passwd", "x")), all, "/etc/passwd", ""},
		{"not asked for", ok(first().file("./config.yaml", "x")), all, "./config.yaml", ""},
		{"below a file", ok(first().file("./f/x", "x")), all, "./f/x", ""},
		{"dot", ok(first().file(".", "x").file("./", "x")), all, ". ./", ""},
		{"dots within", ok(first().file("././f", "54321").file("./d/./g", "54321").file("d//g", "54321")), all, "././f ./d/./g d//g", ""},
		{"empty name", ok(first().file("", "x")), all, " ", ""},
		{"control characters", ok(first().file("\x1b[31m\n", "x")), all, "\x1b[31m\n", ""},
		{"symlink", ok(new1().kind('2', "./f", "/etc/passwd").file("./d/g", "67890")), "d/g ok", "f", ""},
		{"symlink, then through it", ok(new1().kind('2', "./d", "/etc").file("./d/g", "67890").file("./f", "12345")), all, "./d", ""},
		{"symlink, then a file of its name", ok(new1().kind('2', "./f", "/etc/passwd").file("./f", "12345").file("./d/g", "67890")), all, "f", ""},
		{"symlink with a slash", ok(first().kind('2', "./d/", "/etc")), all, "./d/", ""},
		{"device", ok(new1().kind('3', "./f", "").file("./d/g", "67890")), "d/g ok", "f", ""},
		{"block device", ok(new1().kind('4', "./f", "").file("./d/g", "67890")), "d/g ok", "f", ""},
		{"fifo", ok(new1().kind('6', "./f", "").file("./d/g", "67890")), "d/g ok", "f", ""},
		{"directory", ok(new1().kind('5', "./f/", "").file("./d/g", "67890")), "d/g ok", "./f/ f", ""},
		{"contiguous", ok(new1().raw('7', "./f", octal(5), "12345").file("./d/g", "67890")), "d/g ok", "f", ""},
		{"old volume label", ok(first().raw('V', "label", octal(0), "")), all, "label", ""},
		{"twice, the last counts", ok(new1().file("./f", "wrong").file("./d/g", "67890").file("./f", "12345")), all, "", ""},
		{"missing", ok(new1().file("./f", "12345")), "f ok", "d/g", ""},
		{"another size", ok(new1().file("./f", "1").file("./d/g", "6789012")), "ok", "d/g f", ""},
		{"sparse", ok(new1().raw('S', "./f", octal(512), strings.Repeat("x", 512)).file("./d/g", "67890")), "", "", format},
		{"PAX sparse", ok(new1().pax('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=./f", "GNU.sparse.realsize=5").
			raw('0', "./f", octal(512), "1\n0\n5\n"+strings.Repeat("\x00", 506)).file("./d/g", "67890")), "d/g ok", "f", ""},
		{"PAX sparse map bomb", ok(new1().pax('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=./f", "GNU.sparse.realsize=5").
			raw('0', "./f", octal(512), "1099511627776\n"+strings.Repeat("0\n", 249)).file("./d/g", "67890")), "", "", format},
		{"PAX size, the ustar field lies", ok(new1().pax('x', "size=1024").raw('0', "./f", octal(0), new1().file("./d/g", "evil!").String())), "ok", "d/g f", ""},
		{"PAX path", ok(first().pax('x', "path=../../f").file("./f", "wrong")), all, "../../f", ""},
		{"PAX path of another", ok(new1().pax('x', "path=./f").file("./nothing", "12345").file("./d/g", "67890")), all, "", ""},
		{"PAX path with NUL", ok(first().pax('x', "path=f\x00x").file("./f", "wrong")), "d/g f", "", format},
		{"PAX size negative", ok(new1().pax('x', "size=-1").file("./f", "12345")), "", "", format},
		{"PAX header of 2 MiB", ok(first().pax('x', "comment="+strings.Repeat("x", 2<<20)).file("./f", "wrong")), "d/g f", "", format},
		{"PAX header of many records", ok(new1().pax('x', strings.Split(strings.Repeat("a=b ", 100_000), " ")[:100_000]...).file("./f", "12345").file("./d/g", "67890")), all, "", ""},
		{"PAX header without a file", first().pax('x', "path=./ok").end(), "d/g f", "ok", ""},
		{"global PAX header", ok(new1().pax('g', "path=../../f", "size=3").file("./f", "12345").file("./d/g", "67890")), all, "../../f", ""},
		{"long name", ok(first().raw('L', "././@LongLink", octal(3000), strings.Repeat("x/", 1499)+"x\x00").file("x", "x")), all, strings.Repeat("x/", 1499) + "x", ""},
		{"long name without end", first().raw('L', "././@LongLink", octal(7_000_000_000), "x").end(), "d/g f", "", format},
		{"size of 2^62", new1().raw('0', "./f", "\x80\x00\x00\x00@\x00\x00\x00\x00\x00\x00\x00", "x").end(), "", "f", format},
		{"negative size", new1().raw('0', "./f", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "x").end(), "", "", format},
		{"cut within a file", first().Bytes()[:512+3], "", "", format},
		{"cut within a header", first().Bytes()[:1024+100], "f", "", format},
		{"no end blocks", first().file("./ok", "fine").Bytes(), all, "", format},
		{"one end block", append(first().file("./ok", "fine").Bytes(), make([]byte, 512)...), all, "", format},
		{"empty", nil, "", "", format},
		{"only an end", new1().end(), "", "", format},
		{"bad checksum in the middle", append(first().Bytes(), append(bytes.Repeat([]byte("x"), 512), ok(new1())...)...), "d/g f", "", format},
		{"no archive", []byte(strings.Repeat("no such file\n", 100)), "", "", format},
		{"something after the end", append(ok(first()), ok(new1())...), all, "", format},
		{"too many members", ok(manyMembers(5000)), "", "*", limit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fetcher{t: tools{tar: "gnu"}, lim: backends.Limits{MaxMembers: 1000}}
			got, err := take(tc.archive, files, f)
			var came []string
			for path, content := range got {
				if content == files[path] {
					came = append(came, path)
				} else if tc.err == "" {
					t.Errorf("%q = %q, want %q", path, content, files[path])
				}
			}
			if diff := cmp.Diff(strings.Fields(tc.got), sorted(came)); diff != "" && len(came)+len(tc.got) > 0 {
				t.Errorf("came (-want +got):\n%s", diff)
			}
			var bad []string
			for _, p := range f.problems {
				bad = append(bad, p.Path)
			}
			if tc.problems != "*" && strings.Join(sorted(bad), " ") != strings.TrimSpace(tc.problems) && strings.Join(bad, "") != tc.problems {
				t.Errorf("problems %q, want %.200q", bad, tc.problems)
			}
			var fe *backends.FormatError
			var le *backends.LimitError
			switch {
			case tc.err == "" && err != nil, tc.err == format && !errors.As(err, &fe), tc.err == limit && !errors.As(err, &le):
				t.Errorf("error %v, want %q", err, tc.err)
			case err != nil && backends.IsTransient(err):
				t.Errorf("%v is transient", err)
			}
		})
	}
}

func manyMembers(n int) *arc {
	a := new1()
	for i := range n {
		a.file(fmt.Sprint("x", i), "")
	}
	return a
}

// A name of a stranger may be long, and there may be many.
func TestStrangersAreBounded(t *testing.T) {
	a := manyMembers(5000)
	f := &fetcher{t: tools{tar: "gnu"}}
	got, err := take(a.file("./ok", "fine").end(), map[string]string{"ok": "fine"}, f)
	if err != nil || got["ok"] != "fine" || len(f.problems) != maxStrangers {
		t.Errorf("got %v, %v, %d problems, want ok and %d", got, err, len(f.problems), maxStrangers)
	}
}

// A hard link is asked for again by itself, and if it comes as one then too, it is a problem.
func TestHardLinks(t *testing.T) {
	archive := new1().file("./a", "one").kind('1', "./b", "./a").end()
	files := map[string]string{"a": "one", "b": "one"}
	f := &fetcher{t: tools{tar: "busybox"}}
	got, err := take(archive, files, f)
	if err != nil || len(got) != 1 || len(f.problems) != 0 || len(f.want) != 1 || f.want[0] != "b" || !f.one {
		t.Errorf("got %v, %v, problems %v, again %q", got, err, f.problems, f.want)
	}
	if got, err := take(archive, files, f); err != nil || len(got) != 1 || len(f.problems) != 1 || !errors.Is(f.problems[0].Err, errHardLink) || len(f.want) != 0 {
		t.Errorf("the second time: got %v, %v, problems %v, again %q", got, err, f.problems, f.want)
	}
}

func TestArchivesInARow(t *testing.T) {
	one := new1().file("./a", "one").end()
	two := append(new1().file("./b", "two").end(), make([]byte, 3*512)...)
	files := map[string]string{"a": "one", "b": "two"}
	for _, flavour := range []string{"busybox", "bsd"} {
		f := &fetcher{t: tools{tar: flavour}}
		if got, err := take(append(bytes.Clone(one), two...), files, f); err != nil || !cmp.Equal(got, files) {
			t.Errorf("%s: got %v, %v", flavour, got, err)
		}
		cut := append(bytes.Clone(one), new1().file("./b", "two").Bytes()...)
		var fe *backends.FormatError
		if _, err := take(cut, files, f); !errors.As(err, &fe) {
			t.Errorf("%s without the last end: %v, want a FormatError", flavour, err)
		}
	}
}

func FuzzReceive(f *testing.F) {
	files := map[string]string{"f": "12345", "d/g": "67890"}
	f.Add(new1().file("./f", "12345").file("./d/g", "67890").end(), true)
	f.Add(new1().pax('x', "path=./f", "size=5").raw('0', "x", octal(0), "12345").kind('1', "./d/g", "./f").end(), false)
	f.Add(new1().raw('L', "././@LongLink", octal(4), "./f\x00").file("x", "12345").end(), true)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "./f", Size: 5, Mode: 0o644, Format: tar.FormatGNU}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), false)
	f.Fuzz(func(t *testing.T, archive []byte, busybox bool) {
		flavour := "gnu"
		if busybox {
			flavour = "busybox"
		}
		ft := &fetcher{t: tools{tar: flavour}}
		got, err := take(archive, files, ft)
		for path, content := range got {
			if _, asked := files[path]; !asked || len(content) > 5 {
				t.Errorf("came: %q with %d bytes", path, len(content))
			}
		}
		if err == nil {
			// Each that was asked for came, is asked for again, or is a problem.
			for path := range files {
				if _, ok := got[path]; !ok && !ft.failed[path] && !contains(ft.want, path) {
					t.Errorf("nothing is said of %q", path)
				}
			}
		}
	})
}
