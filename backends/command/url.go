package command

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Schemes are those that Parse knows.
const Schemes = "command:PREFIX, docker://NAME, podman://NAME, kubectl://NAMESPACE/POD, apptainer://NAME"

// What the programs themselves allow. None begins with a dash, which would be an option.
var (
	containerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	kubeName      = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	contextName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$`)
	userName      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)
)

// Parse reads a URL:
//
//	command:PREFIX                            words as a shell splits them
//	command:?home=/dir PREFIX
//	docker://NAME[/home][?user=USER]          also podman://
//	kubectl://NAMESPACE/POD[/home][?container=NAME&context=NAME]
//	apptainer://NAME[/home]                   of a running instance
//
// channel=raw or channel=text, after the ?, spares the probe. The home is an absolute path; /~/x
// and home=~/x stand for x below the sandbox's $HOME; none, for $HOME/.hermes.
func Parse(raw string) (Options, error) {
	o, err := parse(raw)
	if err == nil {
		err = o.Validate()
	}
	if err != nil {
		return Options{}, fmt.Errorf("%q: %w", raw, err)
	}
	return o, nil
}

func parse(raw string) (Options, error) {
	scheme, rest, _ := strings.Cut(raw, ":")
	if scheme == "command" {
		return parseCommand(rest)
	}
	o := Options{Name: raw}
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return o, errors.New("it must look like one of " + Schemes)
	}
	rest, query, _ := strings.Cut(rest, "?")
	name, home, _ := strings.Cut(rest, "/")
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, err
	}
	named := func(what string, re *regexp.Regexp, s string) {
		if err == nil && !re.MatchString(s) {
			err = fmt.Errorf("%q is no %s", s, what)
		}
	}
	take := func(key, what string, re *regexp.Regexp) (s string) {
		if values.Has(key) {
			s = values.Get(key)
			named(what, re, s)
			values.Del(key)
		}
		return s
	}
	switch scheme {
	case "docker", "podman":
		named("name of a container", containerName, name)
		o.Prefix = []string{scheme, "exec", "-i"}
		if user := take("user", "user", userName); user != "" {
			o.Prefix = append(o.Prefix, "-u", user)
		}
		o.Prefix = append(o.Prefix, name)
	case "kubectl":
		var pod string
		pod, home, _ = strings.Cut(home, "/")
		named("namespace", kubeName, name)
		named("name of a pod", kubeName, pod)
		o.Prefix = []string{"kubectl", "exec", "-i", "-n", name}
		if context := take("context", "name of a context", contextName); context != "" {
			o.Prefix = append(o.Prefix, "--context", context)
		}
		if container := take("container", "name of a container", kubeName); container != "" {
			o.Prefix = append(o.Prefix, "-c", container)
		}
		o.Prefix = append(o.Prefix, pod, "--")
	case "apptainer":
		named("name of an instance", containerName, name)
		o.Prefix = []string{"apptainer", "exec", "instance://" + name}
	default:
		return o, errors.New("it must look like one of " + Schemes)
	}
	if err != nil {
		return o, err
	}
	if home, err = url.PathUnescape(home); err != nil {
		return o, err
	}
	if home != "" {
		o.Home = homePath("/" + home)
	}
	return o, o.common(values)
}

// parseCommand reads what follows command:.
func parseCommand(rest string) (Options, error) {
	o := Options{Name: "command:" + rest}
	if query, ok := strings.CutPrefix(rest, "?"); ok {
		query, rest, _ = strings.Cut(query, " ")
		values, err := url.ParseQuery(query)
		if err != nil {
			return o, err
		}
		if home := values.Get("home"); home != "" {
			o.Home = homePath(home)
		}
		values.Del("home")
		if err := o.common(values); err != nil {
			return o, err
		}
	}
	words, err := Split(rest)
	if err != nil {
		return o, fmt.Errorf("the prefix: %w", err)
	}
	o.Prefix = words
	return o, nil
}

// common takes what every scheme has, and refuses what is left.
func (o *Options) common(values url.Values) error {
	o.Channel = Channel(values.Get("channel"))
	values.Del("channel")
	for key := range values {
		return fmt.Errorf("unknown %q after the ?", key)
	}
	return nil
}

func homePath(home string) string {
	if rest, ok := strings.CutPrefix(home, "/~/"); ok {
		home = "~/" + rest
	}
	if rest, ok := strings.CutPrefix(home, "~/"); ok {
		if path.Clean("/"+rest) == "/"+strings.TrimSuffix(rest, "/") {
			return "~/" + strings.TrimSuffix(rest, "/")
		}
		return home // Validate says what is wrong
	}
	if strings.HasSuffix(home, "/") && home != "/" {
		home = strings.TrimSuffix(home, "/")
	}
	return home
}
