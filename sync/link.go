package syncer

import (
	"errors"
	"path"
	"strings"

	"hermesfs/fs/access"
)

var (
	errLinkAbsolute = errors.New("symlink to an absolute path")
	errLinkLeaves   = errors.New("symlink that leaves the home")
	errLinkHidden   = errors.New("symlink to what access hides")
	errLinkDangling = errors.New("dangling symlink")
	errLinkEmpty    = errors.New("symlink with a bad target")
)

// linkTarget answers the path in the home that a symlink at path points to, by its text alone, or
// why it is refused: it must be relative, stay in the home, and not point at what is hidden.
func linkTarget(policy *access.Policy, at, target string) (string, error) {
	switch {
	case target == "" || strings.IndexByte(target, 0) >= 0:
		return "", errLinkEmpty
	case path.IsAbs(target):
		return "", errLinkAbsolute
	}
	// ".." counts from the link's own directory at each step: one that leaves and comes back is
	// refused as well.
	dir := parentOf(at)
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			if dir == "." {
				return "", errLinkLeaves
			}
			dir = parentOf(dir)
		default:
			dir = path.Join(dir, name)
		}
	}
	if dir != "." && (policy.Hidden(dir) || policy.Level(dir) < access.Read && !policy.Enter(dir)) {
		return "", errLinkHidden
	}
	return dir, nil
}
