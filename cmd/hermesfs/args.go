package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// completionFlag is what the completion scripts append; cli wants it last.
const completionFlag = "--generate-bash-completion"

// flagsFirst moves the flags of a command line before its other arguments, because cli stops
// looking for flags at the first argument that is none. What follows "--" is left alone. For a
// command in keepsDashes (run) the "--" itself is kept among the arguments.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	if args[len(args)-1] == completionFlag {
		return args
	}
	out := args[:1:1]
	rest := args[1:]
	commands, flags := app.Commands, app.Flags
	var cmd *cli.Command
	// The command's own name comes first, with a subcommand after it where it has some.
	for len(rest) > 0 {
		if strings.HasPrefix(rest[0], "-") {
			return args
		}
		next := commandNamed(commands, rest[0])
		if next == nil {
			break
		}
		cmd, commands, flags = next, next.Subcommands, next.Flags
		out, rest = append(out, rest[0]), rest[1:]
		if len(commands) == 0 {
			break
		}
	}
	if cmd == nil || len(commands) > 0 || cmd.SkipFlagParsing {
		return args
	}
	named, others := splitFlags(flags, rest, cmd.Name == "run")
	out = append(out, named...)
	if len(others) > 0 {
		out = append(append(out, "--"), others...)
	}
	return out
}

// splitFlags separates flags, with their values, from other arguments.
func splitFlags(flags []cli.Flag, args []string, keepDashes bool) (named, others []string) {
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			if keepDashes {
				others = append(others, a)
			}
			return named, append(others, args...)
		case a == "-" || !strings.HasPrefix(a, "-"):
			others = append(others, a)
		default:
			named = append(named, a)
			if takesValue(flags, a) && len(args) > 0 {
				named = append(named, args[0])
				args = args[1:]
			}
		}
	}
	return named, others
}

func commandNamed(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// takesValue says whether the flag written as arg takes the next argument as its value.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}
