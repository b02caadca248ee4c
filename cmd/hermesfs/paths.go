package main

import (
	"path"
	"path/filepath"
	"strings"
)

// homePaths turns PATH arguments into home-relative slash paths. One that is absolute must lie
// in the home or in the mount.
func homePaths(cfg mountConfig, args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		p := a
		if filepath.IsAbs(a) {
			var ok bool
			if p, ok = below(cfg.Mountpoint, a); !ok {
				if p, ok = below(cfg.Home, a); !ok {
					return nil, usagef("path %s is neither in the home %s nor in the mount %s",
						quote(a), quote(cfg.Home), quote(cfg.Mountpoint))
				}
			}
		}
		clean := path.Clean(p)
		if a == "" || clean == ".." || strings.HasPrefix(clean, "../") {
			return nil, usagef("path %s is not below the home", quote(a))
		}
		out = append(out, clean)
	}
	return out, nil
}

// below is the path relative to dir of something in it.
func below(dir, p string) (string, bool) {
	rel, err := filepath.Rel(dir, filepath.Clean(p))
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return rel, true
}
