package access

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CredentialFiles reads terminal.credential_files of a home's config.yaml: the files that the
// home's owner wants in the sandbox. It returns the clean paths of the good entries also when the
// error tells of bad ones: absolute paths, those that lead out of the home, master secrets.
func CredentialFiles(configYAML []byte) ([]string, error) {
	var config struct {
		Terminal struct {
			Files yaml.Node `yaml:"credential_files"`
		} `yaml:"terminal"`
	}
	if err := yaml.Unmarshal(configYAML, &config); err != nil {
		return nil, fmt.Errorf("config.yaml: %w", err)
	}
	node := &config.Terminal.Files
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.IsZero() || node.Tag == "!!null" {
		return nil, nil
	}
	if node.Kind != yaml.SequenceNode {
		return nil, errors.New("config.yaml: terminal.credential_files is not a list")
	}
	var files []string
	var bad error
	for _, item := range node.Content {
		var name string
		if item.Kind != yaml.ScalarNode || item.Decode(&name) != nil {
			bad = errors.Join(bad, fmt.Errorf("config.yaml: terminal.credential_files, line %d: not a string", item.Line))
			continue
		}
		clean, err := credentialFile(name)
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("config.yaml: terminal.%w", err))
			continue
		}
		files = append(files, clean)
	}
	return files, bad
}

// credentialFile checks one entry and returns it clean.
func credentialFile(name string) (string, error) {
	clean := path.Clean(name)
	var err error
	switch {
	case path.IsAbs(name) || strings.HasPrefix(name, "~/"):
		err = errAbsolute
	case clean == ".." || strings.HasPrefix(clean, "../"):
		err = errOutside
	case clean == "." || strings.IndexByte(name, 0) >= 0 || strings.HasSuffix(name, "/"):
		err = errNotFile
	case matchesBelow(hermesSecrets, clean) || new(Policy).Hidden(clean):
		err = errSecret
	default:
		return clean, nil
	}
	return "", fmt.Errorf("credential_files: %q %w", name, err)
}
