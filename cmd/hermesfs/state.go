package main

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"time"

	syncer "hermesfs/sync"
)

// configFormat is the number of config.json's format.
const configFormat = 1

var errFormat = errors.New("unknown format")

// A stateDir is where hermesfs keeps what must outlive its processes.
type stateDir string

// findStateDir says where the state is, without creating it.
func findStateDir(getenv func(string) string) (stateDir, error) {
	if d := getenv("HERMESFS_STATE_DIR"); d != "" {
		abs, err := filepath.Abs(d)
		return stateDir(abs), err
	}
	if d := getenv("XDG_STATE_HOME"); filepath.IsAbs(d) { // a relative one is to be ignored
		return stateDir(filepath.Join(d, "hermesfs")), nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("no place for the state: set HOME or HERMESFS_STATE_DIR")
	}
	return stateDir(filepath.Join(home, ".local", "state", "hermesfs")), nil
}

// create makes the state directory and shows that it can be written.
func (s stateDir) create() error {
	for _, d := range []string{string(s), s.mounts(), s.objects()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("state directory %s cannot be created: %w: set HERMESFS_STATE_DIR to another",
				quote(string(s)), bare(err))
		}
	}
	probe, err := os.CreateTemp(string(s), ".writable-")
	if err != nil {
		return fmt.Errorf("state directory %s is not writable: %w: set HERMESFS_STATE_DIR to another",
			quote(string(s)), bare(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func (s stateDir) mounts() string  { return filepath.Join(string(s), "mounts") }
func (s stateDir) objects() string { return filepath.Join(string(s), "objects") }

// mount is the directory of one mount's state. It need not exist.
func (s stateDir) mount(name string) mountDir {
	return mountDir{state: s, name: name}
}

// list returns every mount that has state, sorted by name.
func (s stateDir) list() ([]mountDir, error) {
	entries, err := os.ReadDir(s.mounts())
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var out []mountDir
	for _, e := range entries {
		if e.IsDir() && validName(e.Name()) == nil {
			out = append(out, s.mount(e.Name()))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out, nil
}

// A mountDir is the state of one mount.
type mountDir struct {
	state stateDir
	name  string
}

func (m mountDir) path() string    { return filepath.Join(m.state.mounts(), m.name) }
func (m mountDir) upper() string   { return filepath.Join(m.path(), "upper") }
func (m mountDir) work() string    { return filepath.Join(m.path(), "work") }
func (m mountDir) journal() string { return filepath.Join(m.path(), "journal.db") }
func (m mountDir) log() string     { return filepath.Join(m.path(), "daemon.log") }

// A mountConfig is what a mount was asked to be; config.json.
type mountConfig struct {
	Format      int       `json:"format"`
	Name        string    `json:"name"`
	Home        string    `json:"home"`
	Mountpoint  string    `json:"mountpoint"`
	Backend     string    `json:"backend"`
	Preset      string    `json:"preset"`
	Rules       []string  `json:"rules,omitempty"`
	Conflict    string    `json:"conflict"`
	OnUnmount   string    `json:"on_unmount,omitempty"`
	Checkpoint  duration  `json:"checkpoint,omitempty"`
	AllowOther  bool      `json:"allow_other,omitempty"`
	AllowDelete bool      `json:"allow_deletes,omitempty"`
	Ephemeral   bool      `json:"ephemeral,omitempty"` // made by run, forgotten after it
	CreatedAt   time.Time `json:"created_at"`
}

// A duration is written as "90s".
type duration time.Duration

// MarshalText writes it as time.Duration does.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

// config reads config.json. It is iofs.ErrNotExist when there is no such mount.
func (m mountDir) config() (mountConfig, error) {
	var c mountConfig
	err := readState(filepath.Join(m.path(), "config.json"), &c)
	if err == nil && c.Format != configFormat {
		err = fmt.Errorf("%w %d: made by another version of hermesfs", errFormat, c.Format)
	}
	if err != nil {
		return c, fmt.Errorf("mount %s: config.json: %w", m.name, err)
	}
	return c, nil
}

// setConfig writes config.json, and the directory where it is missing.
func (m mountDir) setConfig(c mountConfig) error {
	c.Format, c.Name = configFormat, m.name
	return writeState(filepath.Join(m.path(), "config.json"), c)
}

// A history is what the last actions of a mount came to; history.json.
type history struct {
	Format     int              `json:"format"`
	LastPush   *time.Time       `json:"last_push,omitempty"`
	LastPull   *time.Time       `json:"last_pull,omitempty"`
	LastCommit *time.Time       `json:"last_commit,omitempty"`
	Incomplete bool             `json:"incomplete"`      // the sandbox has, or may have, what is not home yet
	Err        string           `json:"error,omitempty"` // of the last action, "" when it succeeded
	Problems   []syncer.Problem `json:"problems,omitempty"`
}

// history reads history.json; a missing one is empty.
func (m mountDir) history() (history, error) {
	var h history
	err := readState(filepath.Join(m.path(), "history.json"), &h)
	if errors.Is(err, iofs.ErrNotExist) {
		return history{Format: configFormat}, nil
	}
	if err == nil && h.Format != configFormat {
		err = fmt.Errorf("%w %d: made by another version of hermesfs", errFormat, h.Format)
	}
	if err != nil {
		return h, fmt.Errorf("mount %s: history.json: %w", m.name, err)
	}
	return h, nil
}

func (m mountDir) setHistory(h history) error {
	h.Format = configFormat
	return writeState(filepath.Join(m.path(), "history.json"), h)
}

func readState(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// writeState replaces a small state file so that a crash leaves the old or the new one.
func writeState(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".state-") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

// validName says what is wrong with the name of a mount.
func validName(name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%s cannot be the name of a mount: 1 to 64 letters, digits, '.', '_' and '-', "+
		"not beginning with '-' or '.'", quote(name))
}
