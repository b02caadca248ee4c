package syncer

import (
	"errors"
	"testing"

	"hermesfs/fs/access"
)

func TestLinkTarget(t *testing.T) {
	policy, err := access.New(access.Options{})
	must(t, err)
	for _, tc := range []struct {
		at, target, want string
		err              error
	}{
		{"skills/a/l", "b", "skills/a/b", nil},
		{"skills/a/l", "./b/../c", "skills/a/c", nil},
		{"skills/a/l", "../../skills", "skills", nil},
		{"skills/a/l", "b/", "skills/a/b", nil},
		{"skills/l", "..", ".", nil},
		{"skills/l", "../cache", "cache", nil},
		{"skills/l", "/etc/passwd", "", errLinkAbsolute},
		{"skills/l", "../../etc", "", errLinkLeaves},
		{"skills/l", "../../.hermes/skills/a", "", errLinkLeaves},
		{"l", "..", "", errLinkLeaves},
		{"skills/l", "../.env", "", errLinkHidden},
		{"skills/l", "../.sync.lock", "", errLinkHidden},
		{"skills/l", "../.hermesfs/marker", "", errLinkHidden},
		{"skills/l", "", "", errLinkEmpty},
		{"skills/l", "a\x00b", "", errLinkEmpty},
	} {
		got, err := linkTarget(policy, tc.at, tc.target)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("linkTarget(%q, %q) = %q, %v, want %q, %v", tc.at, tc.target, got, err, tc.want, tc.err)
		}
	}
}
