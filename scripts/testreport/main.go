// Command testreport reads what go test -json writes, prints one line a package and the whole
// output of what failed, and fails when a test failed, was skipped, or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

// An event is one line of go test -json.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build events
	Elapsed                       float64
}

type results struct {
	output                  map[[2]string][]string // by package and test, "" for the package itself
	failed, skipped         []string
	packages, passed, tests int
}

func report(in io.Reader, out io.Writer) error {
	r := results{output: map[[2]string][]string{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(out, line) // not of the stream: the toolchain speaks
			} else {
				r.add(e, out)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d tests in %d packages: %d passed, %d failed, %d skipped\n", r.tests, r.packages, r.passed, len(r.failed), len(r.skipped))
	for _, s := range r.skipped {
		fmt.Fprintln(out, "skipped:", s)
	}
	for _, s := range r.failed {
		fmt.Fprintln(out, "failed:", s)
	}
	switch {
	case len(r.failed) > 0:
		return fmt.Errorf("%d failed", len(r.failed))
	case len(r.skipped) > 0:
		return fmt.Errorf("%d skipped where nothing may be", len(r.skipped))
	case r.tests == 0:
		return fmt.Errorf("no tests ran")
	}
	return nil
}

// add takes one event in, and prints what ends with it.
func (r *results) add(e event, out io.Writer) {
	key := [2]string{e.Package, e.Test}
	name := strings.TrimSpace(e.Package + " " + e.Test)
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			r.output[key] = append(r.output[key], e.Output)
		}
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "build-fail":
		r.failed = append(r.failed, e.ImportPath+" does not build")
	case "pass", "fail", "skip":
		r.end(e, key, name, out)
	}
}

func (r *results) end(e event, key [2]string, name string, out io.Writer) {
	if e.Test == "" {
		if e.Action == "skip" {
			return // no test files
		}
		r.packages++
		fmt.Fprintf(out, "%-4s %-40s %6.1fs\n", e.Action, e.Package, e.Elapsed)
	} else {
		r.tests++
	}
	switch {
	case e.Action == "fail":
		// A package fails with its tests; it is a failure of its own when none of them did.
		if e.Test != "" || !slices.ContainsFunc(r.failed, func(s string) bool { return strings.HasPrefix(s, e.Package+" ") }) {
			r.failed = append(r.failed, name)
		}
		fmt.Fprint(out, strings.Join(r.output[key], ""))
	case e.Action == "skip":
		reason := strings.Join(strings.Fields(strings.Join(r.output[key], " ")), " ")
		r.skipped = append(r.skipped, name+": "+reason)
	case e.Test != "":
		r.passed++
	}
	delete(r.output, key)
}
