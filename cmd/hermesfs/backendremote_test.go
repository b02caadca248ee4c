package main

import (
	"errors"
	"strings"
	"testing"

	"hermesfs/backends"
)

func TestWithExec(t *testing.T) {
	for _, tc := range []struct{ url, exec, want, err string }{
		{"command:", "docker exec -i 'a b'", "command:docker exec -i 'a b'", ""},
		{"command:?home=/h", "ctr", "command:?home=/h ctr", ""},
		{"command:x", "y", "", "of its own"},
		{"command:?home=/h x", "y", "", "of its own"},
		{"command:", " ", "", "empty"},
		{"docker://box", "y", "", "only --backend command:"},
		{"", "y", "", "only --backend command:"},
	} {
		got, err := withExec(tc.url, tc.exec)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("withExec(%q, %q) = %q, %v, want %q, %q", tc.url, tc.exec, got, err, tc.want, tc.err)
		}
	}
}

func TestOpenRemoteBackends(t *testing.T) {
	t.Setenv("DAYTONA_JWT_TOKEN", "")
	t.Setenv("DAYTONA_API_URL", "")
	t.Setenv("DAYTONA_SERVER_URL", "")
	t.Setenv("DAYTONA_API_KEY", "key")
	for _, url := range []string{"docker://box", "podman://box/h", "kubectl://ns/pod", "apptainer://inst", "command:?home=/h chroot /x", "daytona://box", "daytona://?image=debian:12"} {
		tr, err := openBackend(url, backendUser{owner: "me"})
		if err != nil || tr.URL() != url {
			t.Errorf("openBackend(%q) = %v, %v", url, tr, err)
		}
	}
	for url, says := range map[string]string{"docker://-v": "no name of a container", "command:": "no command", "daytona://": "which sandbox"} {
		if _, err := openBackend(url, backendUser{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("openBackend(%q) = %v, want %q", url, err, says)
		}
	}
	t.Setenv("DAYTONA_API_KEY", "")
	if _, err := openBackend("daytona://box", backendUser{}); !errors.Is(err, backends.ErrAuth) || !strings.Contains(err.Error(), "DAYTONA_API_KEY") {
		t.Errorf("without credentials: %v, want ErrAuth that names the variable", err)
	}
}
