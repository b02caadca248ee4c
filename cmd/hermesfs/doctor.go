package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

type doctorOptions struct{ json bool }

// A finding is one line of doctor.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // hermesfs does not work without it
	Detail string `json:"detail"` // what was found, or the way out
}

func doctorCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "say whether this machine has what hermesfs needs",
		Description: "One line for each thing, with the way out where it is bad. Ends with 1 when something needed is bad.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0, ""); err != nil {
				return err
			}
			return runDoctor(c.Context, doctorOptions{json: c.Bool("json")}, e)
		},
	}
}

func runDoctor(_ context.Context, o doctorOptions, e *env) error {
	found := examine(e)
	bad := 0
	for _, f := range found {
		if !f.OK && f.Needed {
			bad++
		}
	}
	if o.json {
		if err := e.printJSON(struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}{bad == 0, found}); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			word := "ok"
			if !f.OK {
				word = "bad"
				if !f.Needed {
					word = "no" // something works less well
				}
			}
			fmt.Fprintf(e.out, "%-4s%s: %s\n", word, f.Name, f.Detail)
		}
	}
	if bad > 0 {
		return failf(exitFailed, "doctor: %d of what hermesfs needs is missing", bad)
	}
	return nil
}

func examine(e *env) []finding {
	found := []finding{fuseFinding(), helperFinding(), kernelFinding()}
	state, err := findStateDir(e.getenv)
	if err == nil {
		err = state.create()
	}
	if err != nil {
		return append(found, finding{"state directory", false, true, err.Error()}, sshFinding())
	}
	return append(found,
		finding{"state directory", true, true, quote(string(state))},
		xattrFinding(string(state)), sshFinding())
}

func fuseFinding() finding {
	f := finding{Name: "/dev/fuse", Needed: true, OK: true, Detail: "there"}
	if err := checkFUSE(); err != nil && !strings.Contains(err.Error(), "fusermount3") {
		f.OK, f.Detail = false, err.Error()
	}
	return f
}

func helperFinding() finding {
	f := finding{Name: "fusermount3", Needed: os.Geteuid() != 0}
	p, err := fusermount()
	if err != nil {
		f.Detail = "not found: install the package fuse3"
		if !f.Needed {
			f.Detail += " (root can do without)"
		}
		return f
	}
	f.OK, f.Detail = true, quote(p)
	return f
}

// kernelFinding asks for renameat2 and the FUSE features of Linux 5.4 and later.
func kernelFinding() finding {
	f := finding{Name: "kernel", Needed: true}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.Detail = err.Error()
		return f
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	fmt.Sscanf(release, "%d.%d", &major, &minor) //nolint:errcheck // zero is too old
	f.OK = major > 5 || major == 5 && minor >= 6 // openat2
	f.Detail = "Linux " + quote(release)
	if !f.OK {
		f.Detail += ": 5.6 or newer is needed"
	}
	return f
}

// xattrFinding tries the extended attributes that mark whiteouts and origins.
func xattrFinding(dir string) finding {
	f := finding{Name: "overlay attributes", Needed: true}
	d, err := os.MkdirTemp(dir, ".xattr-")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer os.Remove(d)
	if err := unix.Setxattr(d, "trusted.overlay.hermesfs", []byte("y"), 0); err == nil {
		f.OK, f.Detail = true, "trusted.overlay (privileged form)"
		return f
	}
	err = unix.Setxattr(d, "user.overlay.hermesfs", []byte("y"), 0)
	switch {
	case err == nil:
		f.OK, f.Detail = true, "user.overlay (unprivileged form)"
	case errors.Is(err, unix.ENOTSUP):
		f.Detail = "the file system of the state directory has no user attributes: set HERMESFS_STATE_DIR to one that has (ext4, xfs, btrfs, tmpfs of Linux 6.6)"
	default:
		f.Detail = fmt.Sprintf("the state directory takes no user attributes: %v: set HERMESFS_STATE_DIR to another", err)
	}
	return f
}

func sshFinding() finding {
	f := finding{Name: "ssh"}
	p, err := exec.LookPath("ssh")
	if err != nil {
		f.Detail = "not found: install the package openssh-client for ssh:// sandboxes"
		return f
	}
	f.OK, f.Detail = true, quote(p)
	return f
}
