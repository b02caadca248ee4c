package daytona

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var (
	validName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	validImage = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)
)

// Parse reads a URL:
//
//	daytona://NAME-OR-ID[/home]
//	daytona://?label=KEY=VALUE                   the one sandbox that has it; may be repeated
//	daytona://?image=IMAGE[&cpu=N&memory=GB&disk=GB]
//	daytona://?snapshot=NAME
//
// With image or snapshot, the sandbox is created where none is found; name=, label= and
// autostop=MINUTES are given to it. home=/dir may stand after the ? too; ~/x is below $HOME.
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
	o := Options{URL: raw}
	rest, ok := strings.CutPrefix(raw, "daytona://")
	if !ok {
		return o, errors.New("it must look like daytona://NAME-OR-ID or daytona://?image=IMAGE")
	}
	rest, query, _ := strings.Cut(rest, "?")
	var home string
	o.ID, home, _ = strings.Cut(rest, "/")
	home, err := url.PathUnescape(home)
	if err != nil {
		return o, err
	}
	if home = strings.TrimSuffix(home, "/"); home != "" {
		o.Home = "/" + home
		if strings.HasPrefix(home, "~/") {
			o.Home = home
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, err
	}
	for key, list := range values {
		if key != "label" && len(list) > 1 {
			return o, fmt.Errorf("%s stands there twice", key)
		}
		if err := o.set(key, list); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *Options) set(key string, list []string) error {
	value := list[0]
	number := func(into *int) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("%s is %q, which is no number", key, value)
		}
		*into = n
		return nil
	}
	switch key {
	case "label":
		o.Labels = map[string]string{}
		for _, label := range list {
			k, v, ok := strings.Cut(label, "=")
			if !ok || k == "" {
				return fmt.Errorf("the label %q must be KEY=VALUE", label)
			}
			o.Labels[k] = v
		}
	case "image":
		o.Image = value
	case "snapshot":
		o.Snapshot = value
	case "name":
		o.Name = value
	case "home":
		o.Home = value
	case "cpu":
		return number(&o.CPU)
	case "memory":
		return number(&o.MemoryGB)
	case "disk":
		return number(&o.DiskGB)
	case "autostop":
		o.AutoStop = new(int)
		return number(o.AutoStop)
	default:
		return fmt.Errorf("unknown %q after the ?", key)
	}
	return nil
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	creates := o.Image != "" || o.Snapshot != ""
	abs := o.Home
	if rest, ok := strings.CutPrefix(o.Home, "~/"); ok {
		abs = "/" + rest
	}
	switch {
	case o.ID == "" && !creates && len(o.Labels) == 0:
		return errors.New("which sandbox? Write daytona://NAME-OR-ID, ?label=KEY=VALUE, ?image=IMAGE or ?snapshot=NAME")
	case o.ID != "" && !validName.MatchString(o.ID):
		return fmt.Errorf("%q is no name or id of a sandbox", o.ID)
	case o.ID != "" && (creates || len(o.Labels) > 0 || o.Name != ""):
		return errors.New("a sandbox that is named is not searched for, nor created: leave out what is after the ?")
	case o.Image != "" && o.Snapshot != "":
		return errors.New("both an image and a snapshot are named")
	case o.Image != "" && !validImage.MatchString(o.Image):
		return fmt.Errorf("%q is no image", o.Image)
	case o.Snapshot != "" && !validImage.MatchString(o.Snapshot):
		return fmt.Errorf("%q is no snapshot", o.Snapshot)
	case o.Name != "" && (!creates || !validName.MatchString(o.Name)):
		return fmt.Errorf("%q cannot be the name of a new sandbox", o.Name)
	case o.Image == "" && (o.CPU != 0 || o.MemoryGB != 0 || o.DiskGB != 0):
		return errors.New("cpu, memory and disk go with an image only")
	case !creates && o.AutoStop != nil:
		return errors.New("autostop goes with an image or a snapshot only")
	case o.Home != "" && (abs == "/" || !path.IsAbs(abs) || path.Clean(abs) != abs || strings.IndexByte(abs, 0) >= 0):
		return fmt.Errorf("the home %q must be an absolute path, or one below ~/, and hold no . or .. part", o.Home)
	}
	return nil
}

// quote makes one word for sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
