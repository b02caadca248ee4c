package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A kind is a file system to measure. mount makes it of a lower tree in an empty directory.
type kind struct {
	name  string
	mount func(lower, dir string) (root string, end func() error, err error)
}

// The first one is what the others are compared with.
var kinds = []kind{
	{"plain", mountPlain}, {"overlayfs", mountKernel}, {"fuse-overlayfs", mountFuseOverlay}, {"hermesfs", mountHermes},
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func mountPlain(lower, dir string) (string, func() error, error) {
	root := filepath.Join(dir, "plain")
	return root, func() error { return nil }, command("cp", "-a", lower, root)
}

func layers(dir string) (upper, work, root string, err error) {
	upper, work, root = filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "mnt")
	for _, d := range []string{upper, work, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return "", "", "", err
		}
	}
	return upper, work, root, nil
}

func unmount(root string) func() error { return func() error { return command("umount", root) } }

func mountKernel(lower, dir string) (string, func() error, error) {
	upper, work, root, err := layers(dir)
	if err != nil {
		return "", nil, err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	return root, unmount(root), command("mount", "-t", "overlay", "overlay", "-o", options, root)
}

func mountFuseOverlay(lower, dir string) (string, func() error, error) {
	upper, work, root, err := layers(dir)
	if err != nil {
		return "", nil, err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	return root, unmount(root), command("fuse-overlayfs", "-o", options, root)
}

// mountHermes mounts without a sandbox, and ends without a commit: it is the overlay that is
// measured.
func mountHermes(lower, dir string) (string, func() error, error) {
	root := filepath.Join(dir, "mnt")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", nil, err
	}
	// Nothing of level review goes home by itself.
	state := filepath.Join(dir, "state")
	hermesfs := func(args ...string) error {
		cmd := exec.Command("hermesfs", args...)
		cmd.Env = append(os.Environ(), "HERMESFS_STATE_DIR="+state)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("hermesfs %s: %w: %s", args[0], err, out)
		}
		return nil
	}
	err := hermesfs("mount", "--name", "bench", "--preset", "all", "--rule", "**=review", lower, root)
	return root, func() error { return hermesfs("unmount", "bench") }, err
}
