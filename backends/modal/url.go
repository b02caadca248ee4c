package modal

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Parse reads modal://SANDBOX-ID[/home], modal://[/home]?app=A&name=N for a sandbox that runs, or
// modal://[/home]?app=A&image=I for one that is made. environment= goes with each, snapshot=true
// too; name, timeout, idle_timeout (as 90m), cpu (cores) and memory (MiB) go with image. The home is
// an absolute path; /~/x stands for x below the far $HOME.
func Parse(raw string) (Options, error) {
	rest, ok := strings.CutPrefix(raw, "modal:")
	if !ok || !strings.HasPrefix(rest, "//") {
		return Options{}, fmt.Errorf("%q is not a modal URL, which looks like modal://SANDBOX-ID or modal://?app=APP&image=IMAGE", raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return Options{}, fmt.Errorf("%q: %w", raw, err)
	}
	if u.User != nil || u.Port() != "" || strings.Contains(raw, "#") {
		return Options{}, fmt.Errorf("%q: a modal URL has no user, port or #", raw)
	}
	o := Options{SandboxID: u.Host}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Options{}, fmt.Errorf("%q: %w", raw, err)
	}
	for key, values := range query {
		if len(values) != 1 || values[0] == "" {
			return Options{}, fmt.Errorf("%q: %s must be given once, with a value", raw, key)
		}
		if err := o.set(key, values[0]); err != nil {
			return Options{}, fmt.Errorf("%q: %s: %w", raw, key, err)
		}
	}
	home, tilde := strings.CutPrefix(u.Path, "/~/")
	switch {
	case u.Path == "" || u.Path == "/":
	case strings.HasPrefix(u.Path, "/~") && (!tilde || strings.Trim(home, "/") == ""):
		return Options{}, fmt.Errorf("%q: only /~/ with a directory after it is known: write the absolute path", raw)
	case tilde:
		o.Home = "~/" + strings.TrimSuffix(home, "/")
	default:
		o.Home = path.Join("/", strings.TrimSuffix(u.Path, "/"))
		if hasDots(u.Path) {
			o.Home = u.Path // Validate says what is wrong
		}
	}
	if err := o.Validate(); err != nil {
		return Options{}, fmt.Errorf("%q: %w", raw, err)
	}
	return o, nil
}

func (o *Options) set(key, value string) (err error) {
	switch key {
	case "app":
		o.App = value
	case "name":
		o.Name = value
	case "image":
		o.Image = value
	case "environment":
		o.Environment = value
	case "timeout":
		o.Timeout, err = duration(value)
	case "idle_timeout":
		o.IdleTimeout, err = duration(value)
	case "cpu":
		o.CPU, err = strconv.ParseFloat(value, 64)
		if err == nil && !(o.CPU > 0 && o.CPU < 1000) {
			err = errors.New("not a number of cores")
		}
	case "memory":
		o.MemoryMiB, err = strconv.Atoi(value)
	case "snapshot":
		o.Snapshot, err = strconv.ParseBool(value)
	default:
		err = errors.New("is not known: app, name, image, environment, timeout, idle_timeout, cpu, memory and snapshot are")
	}
	return err
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = errors.New("is not positive")
	}
	return d, err
}

func hasDots(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// URL is what Parse takes, without defaults.
func (t *Transport) URL() string {
	query := url.Values{}
	set := func(key, value string) {
		if value != "" && value != "0s" && value != "0" && value != "false" {
			query.Set(key, value)
		}
	}
	set("app", t.o.App)
	set("name", t.o.Name)
	set("image", t.o.Image)
	set("environment", t.o.Environment)
	if t.o.Image != "" {
		if t.o.Timeout != maxLife {
			set("timeout", t.o.Timeout.String())
		}
		set("idle_timeout", t.o.IdleTimeout.String())
		set("cpu", strconv.FormatFloat(t.o.CPU, 'g', -1, 64))
		set("memory", strconv.Itoa(t.o.MemoryMiB))
	}
	set("snapshot", strconv.FormatBool(t.o.Snapshot))
	home := t.o.Home
	if strings.HasPrefix(home, "~/") {
		home = "/" + home
	}
	// url.URL would leave out the slashes before an empty host.
	s := "modal://" + t.o.SandboxID + (&url.URL{Path: home}).EscapedPath()
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func isName(s string) bool {
	return len(s) <= 64 && strings.Trim(s, nameBytes+"._-") == ""
}

func isID(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && rest != "" && len(rest) <= 128 && strings.Trim(rest, nameBytes+"_-") == ""
}
