package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// requireFUSE skips where nothing can be mounted, unless HERMESFS_TEST_REQUIRE asks for fuse.
func requireFUSE(t *testing.T) {
	t.Helper()
	err := checkFUSE()
	if err == nil {
		return
	}
	wanted := strings.Split(os.Getenv("HERMESFS_TEST_REQUIRE"), ",")
	if slices.Contains(wanted, "fuse") || slices.Contains(wanted, "all") {
		t.Fatalf("fuse is required: %v", err)
	}
	t.Skipf("no fuse: %v", err)
}
