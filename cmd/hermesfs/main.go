// Command hermesfs gives a sandbox its own copy of a home directory and brings home what the
// sandbox changed.
//
// A mount is one daemon process (daemon.go) that serves the overlay, pushes what changes and
// listens on a control socket (control.go). The other commands ask it; where no daemon runs
// they open the mount's state themselves, under its lock (ask.go). Both do the work through a
// session (session.go), which joins the packages below. Only main exits: commands return
// errors, exitcode.go maps them.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

func main() {
	os.Exit(run(newEnv(), os.Args))
}

// run is the whole program but for the exit.
func run(e *env, args []string) int {
	ctx, stop := e.sigs.watch(context.Background(), func() {
		e.say("heard; what is being finished now cannot be cut short, hermesfs ends after it")
	})
	defer stop()
	before, _, _ := cutAt(args, "--")
	e.json = slices.Contains(before, "--json")
	app := newApp(e)
	err := interrupted(ctx, app.RunContext(ctx, flagsFirst(app, args)))
	code := codeOf(err)
	printError(e, err, code)
	return code
}

// printError writes the one line, or with --json the one object, that says what went wrong.
func printError(e *env, err error, code int) {
	if err == nil {
		return
	}
	if ee, ok := err.(*exitError); ok && ee.err == nil { //nolint:errorlint // a quiet exit is never wrapped
		return
	}
	if e.json {
		b, _ := json.Marshal(struct {
			Error string `json:"error"`
			Exit  int    `json:"exit"`
		}{oneLine(err), code})
		fmt.Fprintf(e.err, "%s\n", b)
		return
	}
	e.say("%s", oneLine(err))
}

// oneLine is the text of an error, also of joined ones, in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// cutAt splits args around the first occurrence of sep.
func cutAt(args []string, sep string) (before, after []string, found bool) {
	if i := slices.Index(args, sep); i >= 0 {
		return args[:i], args[i+1:], true
	}
	return args, nil, false
}
