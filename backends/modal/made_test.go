package modal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"hermesfs/backends"
	"hermesfs/backends/modal/modaltest"
)

func mounted(name, owner string) func(*Options) {
	return func(o *Options) { o.Mount, o.Owner = name, owner }
}

func TestMake(t *testing.T) {
	s := modaltest.Start(t)
	tr := dial(t, "modal://?app=app&image=debian:12&timeout=90m", mounted("my mount", "one"))
	if len(s.Sandboxes()) != 0 {
		t.Fatal("New has made a sandbox")
	}
	output(t, tr, "touch ~/mine")
	b := s.Sandboxes()[0]
	if b.App != "app" || b.Image != "FROM debian:12" || b.TimeoutSecs != 5400 || !slices.Equal(b.Command, []string{"sleep", "infinity"}) {
		t.Errorf("made %+v", b)
	}
	if !strings.HasPrefix(b.Name, "hermesfs-my-mount-") || !isName(b.Name) || b.Tags["hermesfs"] == "" {
		t.Errorf("made with the name %q and the tags %v", b.Name, b.Tags)
	}
	// As after a crash: it is found, and still ours.
	again := dial(t, "modal://?app=app&image=debian:12", mounted("my mount", "one"))
	output(t, again, "cat ~/mine")
	other := dial(t, "modal://?app=app&image=debian:12", mounted("my mount", "two"))
	output(t, other, "[ ! -e ~/mine ]")
	if n := len(s.Sandboxes()); n != 2 {
		t.Fatalf("%d sandboxes, want one for each owner", n)
	}
	thief := dial(t, "modal://?app=app&image=debian:12&name="+b.Name, mounted("my mount", "three"))
	if err := thief.Run(t.Context(), "true", nil, nil); err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), b.ID) {
		t.Errorf("another's name: Run = %v, want a permanent error that names %s", err, b.ID)
	}
	for range 2 {
		if err := again.Close(t.Context(), backends.Default); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if !b.Ended() || s.Sandboxes()[1].Ended() {
		t.Error("Close must terminate the sandbox of its mount, and no other")
	}
	if err := tr.Run(t.Context(), "true", nil, nil); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "mount again") {
		t.Errorf("Run = %v, want ErrGone that says what to do", err)
	}
	// The next mount makes another.
	output(t, dial(t, "modal://?app=app&image=debian:12", mounted("my mount", "one")), "[ ! -e ~/mine ]")
	if n := len(s.Sandboxes()); n != 3 {
		t.Errorf("%d sandboxes, want 3", n)
	}
}

func TestDispositions(t *testing.T) {
	for _, tc := range []struct {
		name        string
		made        bool
		snapshot    bool
		disposition backends.Disposition
		ends        bool
		images      int
	}{
		{"made", true, false, backends.Default, true, 0},
		{"made, snapshot", true, true, backends.Default, true, 1},
		{"made, keep", true, false, backends.Keep, false, 0},
		{"made, stop", true, false, backends.Stop, true, 1},
		{"attached", false, false, backends.Default, false, 0},
		{"attached, snapshot", false, true, backends.Default, false, 1},
		{"attached, stop", false, false, backends.Stop, true, 1},
		{"attached, terminate", false, false, backends.Terminate, true, 0},
	} {
		for _, used := range []bool{true, false} {
			s := modaltest.Start(t)
			var images []string
			change := func(o *Options) {
				o.Mount, o.Snapshot = "m", tc.snapshot
				o.OnSnapshot = func(id string) { images = append(images, id) }
			}
			url := "modal://?app=app&image=debian:12"
			if tc.made {
				output(t, dial(t, url, change), "echo content >~/f") // or an earlier process did
			} else {
				url = "modal://" + s.Add("app", "", false).ID
				output(t, dial(t, url), "echo content >~/f")
			}
			tr := dial(t, url, change)
			ends, count := tc.ends, tc.images
			if used {
				output(t, tr, "true")
			} else if tc.disposition == backends.Default || tc.disposition == backends.Keep {
				ends, count = false, 0 // it knows of nothing
			}
			if err := tr.Close(t.Context(), tc.disposition); err != nil {
				t.Errorf("%s: Close = %v", tc.name, err)
			}
			if got := s.Sandboxes()[0].Ended(); got != ends || len(s.Sandboxes()) != 1 {
				t.Errorf("%s, used %v: ended is %v, want %v", tc.name, used, got, ends)
			}
			if len(images) != count {
				t.Errorf("%s, used %v: snapshots %q, want %d", tc.name, used, images, count)
			}
			if len(images) == 0 {
				continue
			}
			from := dial(t, "modal://?app=new&image="+images[0])
			if got := output(t, from, "cat ~/f"); got != "content\n" {
				t.Errorf("%s: of the snapshot: %q", tc.name, got)
			}
		}
	}
}

// Nothing is lost for a snapshot that fails, and nothing left running in silence.
func TestCloseFails(t *testing.T) {
	s := modaltest.Start(t)
	tr := dial(t, "modal://?app=app&image=debian:12")
	output(t, tr, "true")
	b := s.Sandboxes()[0]
	s.Set(modaltest.Faults{SnapshotBad: true})
	if err := tr.Close(t.Context(), backends.Stop); err == nil || !strings.Contains(err.Error(), "still runs") || b.Ended() {
		t.Errorf("Close = %v, ended %v, want an error and a sandbox that runs", err, b.Ended())
	}
	s.Set(modaltest.Faults{Control: codes.PermissionDenied})
	if err := tr.Close(t.Context(), backends.Default); err == nil || !strings.Contains(err.Error(), b.ID) || b.Ended() {
		t.Errorf("Close = %v, want an error that names %s", err, b.ID)
	}
	s.Set(modaltest.Faults{})
	if err := tr.Close(t.Context(), backends.Default); err != nil || !b.Ended() {
		t.Errorf("Close once more = %v, ended %v", err, b.Ended())
	}
	if err := tr.Run(t.Context(), "true", nil, nil); !errors.Is(err, errClosed) {
		t.Errorf("Run after Close = %v, want %v", err, errClosed)
	}
	if err := dial(t, "modal://?app=app&image=im-none").Run(t.Context(), "true", nil, nil); err == nil || !strings.Contains(err.Error(), "im-none") {
		t.Errorf("an image that is gone: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	s := modaltest.Start(t)
	b := s.Add("app", "", false)
	file := filepath.Join(t.TempDir(), "modal.toml")
	for _, tc := range []struct {
		name, config, profile, id, secret string
		says                              string // "": it works
	}{
		{"environment", "", "", modaltest.TokenID, modaltest.TokenSecret, ""},
		{"active profile", "[a]\ntoken_id='x'\n[b]\nactive=true\ntoken_id='ak-test'\ntoken_secret='as-test'\n", "", "", "", ""},
		{"named profile", "[a]\nactive=true\n[b]\ntoken_id='ak-test'\ntoken_secret='as-test'\n", "b", "", "", ""},
		{"mixed", "[a]\nactive=true\ntoken_secret='as-test'\n", "", modaltest.TokenID, "", ""},
		{"no file", "", "", "", "", "is not there"},
		{"none active", "[a]\ntoken_id='x'\ntoken_secret='y'\n", "", "", "", "no profile is active"},
		{"no such profile", "[a]\n", "b", "", "", `no profile "b"`},
		{"no secret", "", "", modaltest.TokenID, "", "no token secret"},
		{"no id", "[a]\nactive=true\ntoken_secret='y'\n", "", "", "", "no token id"},
		{"bad file", "[a\n", "", "", "", "modal.toml"},
		{"wrong", "", "", modaltest.TokenID, "as-wrong", "refuses the token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_ = os.Remove(file)
			if tc.config != "" {
				if err := os.WriteFile(file, []byte(tc.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("MODAL_CONFIG_PATH", file)
			t.Setenv("MODAL_PROFILE", tc.profile)
			t.Setenv("MODAL_TOKEN_ID", tc.id)
			t.Setenv("MODAL_TOKEN_SECRET", tc.secret)
			tr, err := New(Options{SandboxID: b.ID})
			if err == nil {
				err = tr.Run(t.Context(), "true", nil, io.Discard)
				if err := tr.Close(t.Context(), backends.Default); err != nil {
					t.Errorf("Close = %v", err)
				}
			}
			if tc.says == "" {
				if err != nil {
					t.Errorf("Run = %v", err)
				}
				return
			}
			if err == nil || backends.IsTransient(err) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("error = %v, want one that says %q", err, tc.says)
			}
			if tc.name == "bad file" {
				return
			}
			if !errors.Is(err, backends.ErrAuth) || !strings.Contains(err.Error(), "MODAL_TOKEN_ID") {
				t.Errorf("error = %v, want ErrAuth that says where credentials go", err)
			}
			if tc.secret == "" && !strings.Contains(err.Error(), file) {
				t.Errorf("error = %v, want the file %s in it", err, file)
			}
		})
	}
}
