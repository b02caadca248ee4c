package ssh

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Parse reads ssh://[user@]host[:port][/home]. The home is an absolute path; /~/x stands for x
// below the far $HOME; none, or a single slash, for $HOME/.hermes. %XX is decoded, and an IPv6
// address stands in brackets.
func Parse(raw string) (Options, error) {
	rest, ok := strings.CutPrefix(raw, "ssh:")
	if !ok || !strings.HasPrefix(rest, "//") {
		return Options{}, fmt.Errorf("%q is not an ssh URL, which looks like ssh://user@host:port/home", raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return Options{}, fmt.Errorf("%q: %w", raw, err)
	}
	if u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#") {
		return Options{}, fmt.Errorf("%q: an ssh URL has no ? and no #: write %%3F and %%23 in a path", raw)
	}
	o := Options{Host: u.Hostname(), User: u.User.Username()}
	if _, has := u.User.Password(); has {
		return Options{}, errors.New("an ssh URL must not hold a password: use a key or an agent")
	}
	if u.User != nil && o.User == "" {
		return Options{}, fmt.Errorf("%q: the user before @ is empty", raw)
	}
	if p := u.Port(); p != "" {
		if o.Port, err = strconv.Atoi(p); err != nil || o.Port == 0 {
			return Options{}, fmt.Errorf("%q: port %s is not between 1 and 65535", raw, p)
		}
	}
	switch home, tilde := strings.CutPrefix(u.Path, "/~/"); {
	case u.Path == "" || u.Path == "/":
	case tilde && strings.Trim(home, "/") != "":
		o.Home = "~" + path.Clean("/"+home)
		if hasDots(home) {
			o.Home = "~/" + home // Validate says what is wrong
		}
	case strings.HasPrefix(u.Path, "/~"):
		return Options{}, fmt.Errorf("%q: only /~/ with a directory after it is known: write the absolute path", raw)
	case hasDots(u.Path):
		o.Home = u.Path
	default:
		o.Home = path.Clean(u.Path)
	}
	if err := o.Validate(); err != nil {
		return Options{}, fmt.Errorf("%q: %w", raw, err)
	}
	return o, nil
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
	u := url.URL{Scheme: "ssh", Host: t.o.Host}
	if strings.ContainsRune(u.Host, ':') {
		u.Host = "[" + u.Host + "]"
	}
	if t.o.Port != 0 {
		u.Host += ":" + strconv.Itoa(t.o.Port)
	}
	if t.o.User != "" {
		u.User = url.User(t.o.User)
	}
	u.Path = t.o.Home
	if strings.HasPrefix(u.Path, "~/") {
		u.Path = "/" + u.Path
	}
	return u.String()
}

// validHost refuses what ssh would take for an option, or a ProxyCommand's shell for more than a
// name. %h is put into such commands as it stands.
func validHost(host string) error {
	switch {
	case host == "":
		return errors.New("no host")
	case host[0] == '-':
		return fmt.Errorf("the host %q begins with a dash", host)
	}
	for _, r := range host {
		if r <= ' ' || r == 0x7f || strings.ContainsRune("'`\"$\\;&<>|(){}@/", r) {
			return fmt.Errorf("the host %q holds %q", host, r)
		}
	}
	return nil
}

func validUser(user string) error {
	if strings.HasPrefix(user, "-") {
		return fmt.Errorf("the user %q begins with a dash", user)
	}
	for _, r := range user {
		if r <= ' ' || r == 0x7f || strings.ContainsRune("'`\"$;&<>|(){}", r) {
			return fmt.Errorf("the user %q holds %q", user, r)
		}
	}
	if strings.HasSuffix(user, `\`) {
		return fmt.Errorf("the user %q ends with a backslash", user)
	}
	return nil
}
