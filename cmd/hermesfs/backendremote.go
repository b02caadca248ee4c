package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"hermesfs/backends"
	"hermesfs/backends/command"
	"hermesfs/backends/daytona"
)

const remoteSchemes = ", command: with --exec PREFIX, docker://NAME[/home], podman://NAME[/home], kubectl://NAMESPACE/POD[/home], apptainer://NAME[/home], daytona://NAME-OR-ID[/home], daytona://?image=IMAGE"

// withExec puts the prefix of --exec into a command: URL, which has it in the mount's config.
func withExec(url, exec string) (string, error) {
	rest, ok := strings.CutPrefix(url, "command:")
	switch query := strings.HasPrefix(rest, "?"); {
	case !ok:
		return "", errors.New("only --backend command: takes one")
	case strings.TrimSpace(exec) == "":
		return "", errors.New("it is empty: want a command, such as 'docker exec -i NAME'")
	case query && !strings.Contains(rest, " "):
		return url + " " + exec, nil
	case rest == "":
		return url + exec, nil
	}
	return "", fmt.Errorf("the backend %s has a command of its own", quote(url))
}

// openCommand makes the transport of a URL that is a command prefix.
func openCommand(url string, user backendUser) (backends.Transport, error) {
	o, err := command.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", quote(url), err)
	}
	o.Log = user.log
	t, err := command.New(o)
	if err != nil { // not a nil pointer in an interface that is not
		return nil, fmt.Errorf("backend %s: %w", quote(url), err)
	}
	return t, nil
}

// openDaytona makes the transport of a daytona: URL, with the credentials of the environment.
func openDaytona(url string, user backendUser) (backends.Transport, error) {
	o, err := daytona.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", quote(url), err)
	}
	o = o.Environ(os.Getenv)
	o.Log = user.log
	if user.owner != "" {
		sum := sha256.Sum256([]byte(user.owner))
		o.Key = hex.EncodeToString(sum[:16])
	}
	t, err := daytona.New(o)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", quote(url), err)
	}
	return t, nil
}
