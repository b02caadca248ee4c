package syncer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A process of the host saves after the plan was made.
func TestCommitHostSavesMeanwhile(t *testing.T) {
	type want struct {
		home   tree
		object string
	}
	for _, tc := range []struct {
		name   string
		policy Policy
		mount  func(r *rig)
		host   func(t *testing.T, home string)
		want   want
	}{
		{"by rename", Theirs, edited, byRename, want{tree{"a.md": "mount"}, "host"}},
		{"in place", Theirs, edited, inPlace, want{tree{"a.md": "mount"}, "host"}},
		{"by rename, ours", Ours, edited, byRename, want{tree{"a.md": "host"}, "mount"}},
		{"in place, both", Both, edited, inPlace, want{tree{"a.md": "host"}, "mount"}},
		{"the same", Theirs, edited, func(t *testing.T, home string) { tree{"a.md": "mount"}.write(t, home) }, want{tree{"a.md": "mount"}, ""}},
		{"chmod", Theirs, edited, func(t *testing.T, home string) { must(t, os.Chmod(home+"/a.md", 0o600)) }, want{tree{"a.md": "mount|0600"}, "base"}},
		{"delete against edit", Theirs, edited, func(t *testing.T, home string) { must(t, os.Remove(home+"/a.md")) }, want{tree{"a.md": "mount"}, ""}},
		{"edit against delete", Theirs, deleted, byRename, want{tree{"a.md": "host"}, ""}},
		{"delete against delete", Theirs, deleted, func(t *testing.T, home string) { must(t, os.Remove(home+"/a.md")) }, want{tree{}, ""}},
		{"create against create", Theirs, func(r *rig) { r.put("n", "mount", 0o644) }, func(t *testing.T, home string) { tree{"n": "host"}.write(t, home) }, want{tree{"a.md": "base", "n": "mount"}, "host"}},
		{"became a directory", Theirs, edited, func(t *testing.T, home string) {
			must(t, os.Remove(home+"/a.md"))
			tree{"a.md/in": "x"}.write(t, home)
		}, want{tree{"a.md/in": "x"}, ""}},
		{"made in a deleted directory", Theirs, func(r *rig) {
			r.put("d/x", "x", 0o644)
			r.commit()
			r.remove("d/x")
			r.remove("d")
		}, func(t *testing.T, home string) { tree{"d/y": "y"}.write(t, home) }, want{tree{"a.md": "base", "d/y": "y"}, "x"}},
	} {
		for _, exchange := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, exchange %t", tc.name, exchange), func(t *testing.T) {
				armed := false
				r := newRig(t, tree{"a.md": "base"}, noSandbox, func(r *rig) {
					r.options.Conflict = tc.policy
					r.options.Fail = func(point string) error {
						if point == "commit-staged" && armed {
							armed = false
							tc.host(t, r.home)
						}
						return nil
					}
				})
				r.Engine.noExchange = !exchange
				tc.mount(r)
				armed = true
				report := r.commit()
				r.wantHome(tc.want.home)
				if tc.want.object != "" && !slices.Contains(r.allObjects(), tc.want.object) {
					t.Errorf("%q is no object: %q, report %+v", tc.want.object, r.allObjects(), report)
				}
				if (tc.want.object == "host") != (len(report.Conflicts) == 1) && tc.policy == Theirs {
					t.Errorf("conflicts %+v", report.Conflicts)
				}
			})
		}
	}
}

func edited(r *rig)  { r.put("a.md", "mount", 0o644) }
func deleted(r *rig) { r.remove("a.md") }

func byRename(t *testing.T, home string) {
	tree{".a.md.swp": "host"}.write(t, home)
	must(t, os.Rename(home+"/.a.md.swp", home+"/a.md"))
}

func inPlace(t *testing.T, home string) {
	must(t, os.WriteFile(home+"/a.md", []byte("host"), 0o644))
}

// Editors save by rename and in place while commits go on. Every version saved must be in the
// home, an object, or have been overwritten by its own editor.
func TestCommitAgainstEditors(t *testing.T) {
	r := newFastRig(t, tree{"renamed": "r0", "inplace": "i0", "other": "o"}, noSandbox)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	saves := map[string]*[]string{"renamed": {}, "inplace": {}}
	edit := func(name string, save func(full, value string) error) {
		defer wg.Done()
		full := filepath.Join(r.home, name)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			value := fmt.Sprintf("%s-%d", name, n)
			seen, _ := os.ReadFile(full)
			if err := save(full, value); err != nil {
				t.Errorf("save: %v", err)
				return
			}
			// What the editor had read before, it has overwritten knowingly.
			*saves[name] = append(*saves[name], value+" over "+string(seen))
		}
	}
	wg.Add(2)
	go edit("renamed", func(full, value string) error {
		tmp := full + "~"
		if err := os.WriteFile(tmp, []byte(value), 0o644); err != nil {
			return err
		}
		return os.Rename(tmp, full)
	})
	go edit("inplace", func(full, value string) error { return os.WriteFile(full, []byte(value), 0o644) })
	commits, conflicts := 0, 0
	for deadline := time.Now().Add(editorsFor()); time.Now().Before(deadline); commits++ {
		for _, name := range []string{"renamed", "inplace"} {
			r.put(name, fmt.Sprintf("mount-%s-%d", name, commits), 0o644)
		}
		conflicts += len(r.commit().Conflicts)
	}
	close(stop)
	wg.Wait()
	kept := map[string]bool{}
	for _, v := range r.allObjects() {
		kept[v] = true
	}
	for _, v := range readTree(t, r.home) {
		kept[v] = true
	}
	lost := 0
	for name, all := range saves {
		for i, s := range *all {
			value, _, _ := strings.Cut(s, " over ")
			if kept[value] {
				continue
			}
			// Overwritten by the editor itself, which had read it.
			if i+1 < len(*all) && strings.HasSuffix((*all)[i+1], " over "+value) {
				continue
			}
			lost++
			if lost < 5 {
				t.Errorf("%s: %s is lost, then %q", name, value, (*all)[min(i+1, len(*all)-1)])
			}
		}
	}
	t.Logf("%d commits, %d conflicts, %d and %d saves, %d lost", commits, conflicts, len(*saves["renamed"]), len(*saves["inplace"]), lost)
	if conflicts == 0 {
		t.Error("no save met a commit: the test shows nothing")
	}
}

func editorsFor() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("HERMESFS_TEST_EDITORS")); err == nil {
		return d
	}
	return 2 * time.Second
}

// A process that opened the home's version before the exchange and writes after it.
func TestCommitLateWriter(t *testing.T) {
	for _, tc := range []struct {
		name     string
		closes   bool
		problems int
		home     string
	}{{"that closes in time", true, 0, "mount"}, {"that does not", false, 1, "late"}} {
		t.Run(tc.name, func(t *testing.T) {
			var f *os.File
			r := newFastRig(t, tree{"a": "base"}, noSandbox, func(r *rig) {
				r.options.Fail = func(point string) error {
					if point != "commit-swapped" || f != nil {
						return nil
					}
					old, err := filepath.Glob(r.home + "/.hermesfs-*")
					must(t, err)
					f, err = os.OpenFile(old[0], os.O_WRONLY|os.O_TRUNC, 0)
					must(t, err)
					_, err = f.WriteString("late")
					if tc.closes {
						time.AfterFunc(100*time.Millisecond, func() { _ = f.Close() })
					}
					return err
				}
			})
			r.put("a", "mount", 0o644)
			report := r.commit()
			if len(report.Problems) != tc.problems {
				t.Errorf("problems %+v, want %d", report.Problems, tc.problems)
			}
			r.wantHome(tree{"a": tc.home})
			if tc.closes && !slices.Contains(r.allObjects(), "late") {
				t.Errorf("what was written late is lost: %q", r.allObjects())
			}
			_ = f.Close()
			r.commit()
			r.wantHome(tree{"a": "mount"})
			if !slices.Contains(r.allObjects(), "late") {
				t.Errorf("what was written late is lost: %q", r.allObjects())
			}
		})
	}
}
