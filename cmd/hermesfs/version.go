package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

type versionOptions struct{ json bool }

// A versionReport says which build this is.
type versionReport struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func versionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version of this program",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0, ""); err != nil {
				return err
			}
			return runVersion(c.Context, versionOptions{json: c.Bool("json")}, e)
		},
	}
}

func runVersion(_ context.Context, o versionOptions, e *env) error {
	v := buildVersion()
	if o.json {
		return e.printJSON(v)
	}
	_, err := fmt.Fprintf(e.out, "hermesfs %s %s %s/%s\n", v.Version, v.Go, v.OS, v.Arch)
	return err
}

// buildVersion is what the toolchain wrote into the binary.
func buildVersion() versionReport {
	v := versionReport{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}
