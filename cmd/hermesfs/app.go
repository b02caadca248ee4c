package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// jsonFlag is on every command that reports.
func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print one JSON object in place of text"}
}

// allowDeletesFlag says yes to what a StopError asks.
func allowDeletesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "allow-deletes", Usage: "let a sandbox that lost most of its files delete them at home too"}
}

// wantArgs checks the number of arguments; most < 0 is any number.
func wantArgs(c *cli.Context, least, most int, usage string) error {
	n := c.NArg()
	name := c.Command.HelpName
	switch {
	case n < least && usage != "":
		return usagef("%s needs %s: see '%s --help'", c.Command.Name, usage, name)
	case most >= 0 && n > most:
		extra := c.Args().Get(most)
		return usagef("%s: unexpected argument %s: see '%s --help'", c.Command.Name, quote(extra), name)
	}
	return nil
}

// newApp is the command tree.
func newApp(e *env) *cli.App {
	app := &cli.App{
		Name:  "hermesfs",
		Usage: "give a sandbox its own copy of a home and bring back what it changed",
		Description: `hermesfs shows a home directory as a mount whose changes stay apart, pushes it to a sandbox, and on
unmount brings home what the sandbox changed, without losing either side's work.

NAME stands for the name of a mount or its mountpoint. Flags may stand anywhere before "--".

Exit codes: 0 done; 1 failed, nothing changed; 2 wrong usage; 3 sync back is incomplete, everything is
kept, 'hermesfs sync-back NAME' tries again; 4 stopped to ask, the message names the flag that says yes;
130 and 143 interrupted, after the commit in hand.`,
		Writer: e.out, ErrWriter: e.err, Reader: e.in,
		HideVersion: true, HideHelpCommand: true,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true, // globs have commas: {a,b}
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError: func(c *cli.Context, err error, _ bool) error {
			return usagef("%w: see 'hermesfs --help'", err)
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return cli.ShowAppHelp(c)
			}
			return unknownCommand(c, c.App.Commands)
		},
		Commands: []*cli.Command{
			mountCommand(e), unmountCommand(e), runCommand(e), listCommand(e), statusCommand(e),
			pushCommand(e), pullCommand(e), diffCommand(e), commitCommand(e), discardCommand(e),
			syncBackCommand(e), journalCommand(e), historyCommand(e), conflictsCommand(e), restoreCommand(e), pruneCommand(e),
			recoverCommand(e), forgetCommand(e),
			doctorCommand(e), versionCommand(e), completionCommand(e), manCommand(e), daemonCommand(e), serveCommand(e),
		},
	}
	for _, c := range app.Commands {
		complete(e, c, app.Name)
	}
	return app
}

// complete gives a command what all have.
func complete(e *env, c *cli.Command, parent string) {
	c.HideHelpCommand = true // "help" may be the name of a mount
	path := parent + " " + c.Name
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usagef("%s: %w: see '%s --help'", c.Name, err, path)
	}
	if len(c.Subcommands) == 0 {
		c.UsageText = strings.TrimSpace(path + " [FLAGS] " + c.ArgsUsage)
		if c.BashComplete == nil {
			c.BashComplete = completeNames(e)
		}
	}
	for _, sub := range c.Subcommands {
		complete(e, sub, path)
	}
}

func unknownCommand(c *cli.Context, commands []*cli.Command) error {
	name := c.Args().First()
	hint := ""
	for _, cmd := range commands {
		for _, n := range cmd.Names() {
			if !cmd.Hidden && hint == "" && alike(n, name) {
				hint = fmt.Sprintf(": did you mean %s?", n)
			}
		}
	}
	path := "hermesfs"
	if c.Command.Name != path {
		path += " " + c.Command.Name
	}
	return usagef("no command %s%s: see '%s --help'", quote(name), hint, path)
}

// alike says whether one name was probably meant by the other: a beginning of it, or a letter
// too many, too few or wrong.
func alike(name, typed string) bool {
	if len(typed) >= 2 && strings.HasPrefix(name, typed) {
		return true
	}
	if len(name) < 3 || len(typed) < 3 {
		return false
	}
	i := 0
	for i < len(name) && i < len(typed) && name[i] == typed[i] {
		i++
	}
	a, b := name[i:], typed[i:]
	switch {
	case len(a) == 0 && len(b) == 0:
		return true
	case len(a) == len(b):
		return a[1:] == b[1:] || len(a) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
	case len(a) == len(b)+1:
		return a[1:] == b
	case len(b) == len(a)+1:
		return b[1:] == a
	}
	return false
}
