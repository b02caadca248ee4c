package command

import (
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"hermesfs/backends"
)

// channelVar makes this test binary a channel: it runs its arguments and does to their streams what
// such programs are known to do.
const channelVar = "HERMESFS_TEST_CHANNEL"

func TestMain(m *testing.M) {
	if defect := os.Getenv(channelVar); defect != "" {
		os.Unsetenv(channelVar)
		os.Exit(beChannel(defect, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// withChannel puts a channel with a defect before a prefix.
func withChannel(t testing.TB, defect string, prefix []string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The race detector would sleep a second at the end of each.
	return append([]string{"env", "GORACE=atexit_sleep_ms=0", channelVar + "=" + defect, self}, prefix...)
}

func itoa(n int) string { return strconv.Itoa(n) }

// beChannel does not buffer: what comes is passed on at once.
func beChannel(defect string, args []string) int {
	name, number, _ := strings.Cut(defect, "=")
	limit, _ := strconv.Atoi(number)
	if name == "chatty" {
		fmt.Println("Welcome to this channel.\nIt talks.")
		fmt.Fprintln(os.Stderr, "INFO: connecting")
	}
	if name == "utf8" { // as JSON does to arguments
		for i := range args {
			args[i] = strings.ToValidUTF8(args[i], "\uFFFD")
		}
	}
	cmd := osexec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if name == "chatty" || name == "merged" {
		cmd.Stderr = cmd.Stdout
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go func() {
		var w io.Writer = in
		if name == "text" || name == "bad" {
			w = text{in}
		}
		_, _ = io.Copy(w, os.Stdin)
		if name != "noend" && name != "bad" {
			in.Close()
		}
	}()
	var w io.Writer = os.Stdout
	switch name {
	case "text", "bad":
		w = text{os.Stdout}
	case "mute":
		w = io.Discard
	case "drop":
		w = &dropper{w: os.Stdout, left: limit}
	}
	var g sync.WaitGroup
	g.Go(func() { _, _ = io.Copy(w, out) })
	g.Wait()
	err = cmd.Wait()
	switch name {
	case "chatty":
		fmt.Println("Goodbye.")
	case "drop", "zero":
		return 0
	}
	if err != nil {
		return max(cmd.ProcessState.ExitCode(), 1)
	}
	return 0
}

// text passes what is printed in a line, as a program that decodes and encodes text does.
type text struct{ w io.Writer }

func (t text) Write(p []byte) (int, error) {
	q := bytes.Map(func(r rune) rune {
		if r == 0 || r == '\r' || r == 0x1b {
			return -1
		}
		return r
	}, p)
	if _, err := t.w.Write(bytes.ToValidUTF8(q, []byte("\uFFFD"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A dropper passes so many bytes and drops the tail.
type dropper struct {
	w    io.Writer
	left int
}

func (d *dropper) Write(p []byte) (int, error) {
	n := min(d.left, len(p))
	d.left -= n
	if _, err := d.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// reading is a function for Fetch that keeps the contents.
func reading(w io.Writer) func(backends.Entry, io.Reader) error {
	return func(_ backends.Entry, r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	}
}
