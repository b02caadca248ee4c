package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself, which knows the names of the mounts.
const (
	bashCompletion = `# hermesfs: put this in ~/.bashrc:  source <(hermesfs completion bash)
_hermesfs() {
    local cur=${COMP_WORDS[COMP_CWORD]} words
    words=("${COMP_WORDS[@]:0:COMP_CWORD}")
    [[ $cur == -* ]] && words+=("$cur")
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _hermesfs hermesfs
`
	zshCompletion = `#compdef hermesfs
# hermesfs: put this in ~/.zshrc:  source <(hermesfs completion zsh)
_hermesfs() {
    local -a opts
    local cur=${words[-1]}
    if [[ $cur == -* ]]; then
        opts=("${(@f)$(${words[@]:0:#words[@]-1} ${cur} --generate-bash-completion 2>/dev/null)}")
    else
        opts=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
    fi
    if [[ -n ${opts[1]} ]]; then _describe values opts; fi
    _files
}
compdef _hermesfs hermesfs
`
)

func completionCommand(*env) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", ArgsUsage: "bash|zsh|fish",
		BashComplete: func(c *cli.Context) { fmt.Fprintln(c.App.Writer, "bash\nzsh\nfish") },
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1, "a shell: bash, zsh or fish"); err != nil {
				return err
			}
			script := ""
			switch c.Args().First() {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				s, err := c.App.ToFishCompletion()
				if err != nil {
					return err
				}
				script = s
			default:
				return usagef("completion: no script for %s: bash, zsh and fish have one", quote(c.Args().First()))
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

func manCommand(*env) *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page (troff)",
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0, ""); err != nil {
				return err
			}
			page, err := c.App.ToManWithSection(1)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.App.Writer, page)
			return err
		},
	}
}

// completeNames completes the names of mounts, and flags.
func completeNames(e *env) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		args := c.Args().Slice()
		if len(args) > 0 && strings.HasPrefix(args[len(args)-1], "-") {
			cli.DefaultCompleteWithFlags(c.Command)(c)
			return
		}
		cli.DefaultCompleteWithFlags(c.Command)(c)
		if c.NArg() > 0 || !strings.Contains(c.Command.ArgsUsage, "NAME") {
			return
		}
		state, err := findStateDir(e.getenv)
		if err != nil {
			return
		}
		dirs, _ := state.list()
		for _, m := range dirs {
			fmt.Fprintln(c.App.Writer, m.name)
		}
	}
}
