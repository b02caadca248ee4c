package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

func contextWithCause(t *testing.T, cause error, after time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeoutCause(t.Context(), after, cause)
}

func TestAuth(t *testing.T) {
	s := backendtest.StartSSHD(t)
	if err := dial(t, s, func(o *Options) { o.StrictHostKeys = true }).Run(t.Context(), "true", nil, nil); !errors.Is(err, backends.ErrAuth) || !strings.Contains(err.Error(), "is not known") {
		t.Errorf("strict, unknown host key: %v, want ErrAuth", err)
	}
	tr := dial(t, s)
	output(t, tr, "true") // the host key is known from now on
	output(t, dial(t, s, func(o *Options) { o.StrictHostKeys = true }), "true")

	other := s.Keygen("other")
	public, err := os.ReadFile(other + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	authorized := filepath.Join(s.Dir, "user_key.pub")
	if err := os.WriteFile(authorized, public, 0o600); err != nil {
		t.Fatal(err)
	}
	err = dial(t, s).Run(t.Context(), "true", nil, nil)
	if !errors.Is(err, backends.ErrAuth) || backends.IsTransient(err) || !strings.Contains(err.Error(), "must work first") || !strings.Contains(err.Error(), s.Addr[:9]) {
		t.Errorf("unknown user key: %v, want ErrAuth that names the host", err)
	}
	output(t, dial(t, s, func(o *Options) { o.IdentityFile = other }), "true")

	s.Stop()
	s.Keygen("host_key")
	s.Restart()
	err = tr.Run(t.Context(), "true", nil, nil)
	if !errors.Is(err, backends.ErrAuth) || !strings.Contains(err.Error(), "ssh-keygen -R") {
		t.Errorf("changed host key: %v, want ErrAuth with the way out", err)
	}
}

func TestUnknownHost(t *testing.T) {
	// No resolver is asked for a name like this.
	tr, err := New(Options{Host: "no..such..host", ConfigFile: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close(t.Context(), backends.Default) })
	err = tr.Run(t.Context(), "true", nil, nil)
	if err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), `no host "no..such..host"`) {
		t.Errorf("Run = %v, want a permanent error", err)
	}
}

func TestBanner(t *testing.T) {
	s := backendtest.StartSSHD(t)
	s.PrintBanner()
	tr := dial(t, s)
	var out bytes.Buffer
	err := tr.Run(t.Context(), "echo mine; echo why >&2; exit 3", nil, &out)
	if !strings.HasPrefix(out.String(), "Welcome") || !strings.HasSuffix(out.String(), "\nmine\n") {
		t.Fatalf("stdout %q: the login shell prints no banner: this needs bash or zsh", &out)
	}
	var script *backends.ScriptError
	if !errors.As(err, &script) || script.Stderr != "why\n" {
		t.Errorf("exit 3 = %#v, want its own stderr alone", err)
	}
}

// Cancelling the script that was first must not end the proxy that all go through.
func TestProxyOutlivesTheFirstScript(t *testing.T) {
	s, jump := backendtest.StartSSHD(t), backendtest.StartSSHD(t)
	proxy := fmt.Sprintf("ProxyCommand=ssh -F %s -p %d -o StrictHostKeyChecking=accept-new -W %%h:%%p %s@127.0.0.1", jump.ConfigFile, jump.Port, jump.User)
	tr := dial(t, s, func(o *Options) { o.ExtraArgs = []string{"-o", proxy} })
	ctx, cancel := contextWithCause(t, errors.New("told to stop"), time.Minute)
	first := start(ctx, t, tr, "echo; exec cat", &trickle{})
	release := make(chan struct{})
	other := start(t.Context(), t, tr, "echo; exec cat >/dev/null", untilClosed{release})
	cancel()
	if err := <-first; err == nil {
		t.Error("the cancelled script returned nil")
	}
	close(release)
	if err := <-other; err != nil {
		t.Errorf("the other script: %v, want nil", err)
	}
	if got, through := logins(t, s), logins(t, jump); got != 1 || through != 1 {
		t.Errorf("%d logins, %d through the proxy, want 1 and 1", got, through)
	}
}

// untilClosed ends when told.
type untilClosed struct{ c chan struct{} }

func (u untilClosed) Read(p []byte) (int, error) {
	select {
	case <-u.c:
		return 0, io.EOF
	case <-time.After(time.Millisecond):
		return len(p), nil
	}
}
