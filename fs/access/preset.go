package access

import (
	"errors"
	"fmt"
	"strings"
)

// hermesShown is what hermes-agent itself exposes to a sandbox. Its older cache directories
// (document_cache, image_cache …) are not among them: a home that still uses those needs a rule.
var hermesShown = []string{
	"skills/**",
	"cache/{documents,images,audio,videos,screenshots,web,delegation,spillover}/**",
	"images/**",
	"attachments/**",
}

// hermesExcluded is hidden within what is shown. A rule that spells the last name shows it.
var hermesExcluded = []string{
	"skills/.hub", "skills/.archive", "skills/.curator_backups", "skills/_org",
	"skills/**/.git", "skills/**/node_modules", "skills/**/__pycache__",
	"skills/**/.venv", "skills/**/venv", "skills/**/site-packages",
	"skills/**/.tox", "skills/**/.nox",
	"skills/**/.pytest_cache", "skills/**/.mypy_cache", "skills/**/.ruff_cache",
	"cache/delegation/live",
}

// hermesSecrets never leave the host, unless a rule names the exact path: master credentials, who
// may talk to the agent, sibling homes, the HOME of tools, inline keys in the configuration.
var hermesSecrets = []string{
	".env", "auth.json", "auth.lock", "auth", ".anthropic_oauth.json", "mcp-tokens",
	"webhook_subscriptions.json", "slack_tokens.json", "honcho.json", "bws", "iron-proxy",
	"pairing", "platforms/pairing", "feishu_comment_pairing.json", "whatsapp/session",
	"cache/bws_cache*",
	"config.yaml",
	"profiles", "home",
	// Databases with what lies beside them, but not schema.dbml.
	"**/*.db", "**/*.db[^a-zA-Z]*", "**/*.sqlite*",
}

// liveDatabases must not be read by copying: preset all shows everything else.
var liveDatabases = []string{"**/*.db", "**/*.db-wal", "**/*.db-shm", "**/*.db-journal", "**/*.sqlite*"}

// preset returns the patterns of a preset.
func preset(name string) ([]pattern, error) {
	switch name {
	case "", "hermes":
		list := builtin(hermesShown, Write, ordinary)
		list = append(list, builtin(hermesExcluded, None, excluded)...)
		return append(list, builtin(hermesSecrets, None, secret)...), nil
	case "all":
		list := builtin([]string{"**"}, Write, ordinary)
		return append(list, builtin(liveDatabases, None, secret)...), nil
	}
	return nil, fmt.Errorf("preset %q: want hermes or all", name)
}

func builtin(globs []string, level Level, g guard) []pattern {
	var list []pattern
	for _, glob := range globs {
		compiled, err := compileGlob(glob, level)
		if err != nil {
			panic("access: preset glob " + glob + ": " + err.Error())
		}
		for _, p := range compiled {
			if level == None && p.exact {
				continue // its pattern for the whole tree says the same
			}
			p.guard, p.key = g, glob[strings.LastIndexByte(glob, '/')+1:]
			list = append(list, p)
		}
	}
	return list
}

var (
	errAbsolute = errors.New("must be relative to the home")
	errOutside  = errors.New("leads out of the home")
	errSecret   = errors.New("is a master secret and never leaves the host")
	errNotFile  = errors.New("is not the path of a file")
)
