package modal

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"hermesfs/backends"
)

// A profile is a table of Modal's configuration file, as far as it says who one is.
type profile struct {
	TokenID           string `toml:"token_id"`
	TokenSecret       string `toml:"token_secret"`
	OAuthRefreshToken string `toml:"oauth_refresh_token"`
	OAuthClientID     string `toml:"oauth_client_id"`
	Active            bool   `toml:"active"`
}

// checkCredentials looks for credentials where the SDK does, which by itself says nothing of their
// absence before the first call, and then not where it looked. The environment is read here and
// not handed in because the SDK reads it too.
func checkCredentials() error {
	env := profile{
		TokenID: os.Getenv("MODAL_TOKEN_ID"), TokenSecret: os.Getenv("MODAL_TOKEN_SECRET"),
		OAuthRefreshToken: os.Getenv("MODAL_OAUTH_REFRESH_TOKEN"), OAuthClientID: os.Getenv("MODAL_OAUTH_CLIENT_ID"),
	}
	if env.complete() {
		return nil
	}
	found, where, err := fileProfile()
	if err != nil {
		return err
	}
	for _, f := range []struct{ to, from *string }{
		{&env.TokenID, &found.TokenID},
		{&env.TokenSecret, &found.TokenSecret},
		{&env.OAuthRefreshToken, &found.OAuthRefreshToken},
		{&env.OAuthClientID, &found.OAuthClientID},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	if env.complete() {
		return nil
	}
	what := "no credentials for Modal"
	switch {
	case env.TokenID != "":
		what = "a token id for Modal but no token secret"
	case env.TokenSecret != "":
		what = "a token secret for Modal but no token id"
	}
	return fmt.Errorf("%w: %s: looked at MODAL_TOKEN_ID and MODAL_TOKEN_SECRET in the environment, and at %s: run `modal token new`, or set both variables",
		backends.ErrAuth, what, where)
}

func (p *profile) complete() bool {
	return p.TokenID != "" && p.TokenSecret != "" || p.OAuthRefreshToken != "" && p.OAuthClientID != ""
}

// fileProfile reads the profile that the SDK would take, and says which it is.
func fileProfile() (p profile, where string, err error) {
	file := os.Getenv("MODAL_CONFIG_PATH")
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return p, "no configuration file, as there is no home directory", nil
		}
		file = filepath.Join(home, ".modal.toml")
	}
	where = fmt.Sprintf("%q", file)
	content, err := os.ReadFile(file)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return p, where + ", which is not there", nil
	case err != nil:
		return p, where, fmt.Errorf("configuration of Modal: %w", err)
	}
	profiles := map[string]profile{}
	if err := toml.Unmarshal(content, &profiles); err != nil {
		return p, where, fmt.Errorf("configuration of Modal, %s: %w", where, err)
	}
	name := os.Getenv("MODAL_PROFILE")
	if name == "" {
		for n, p := range profiles {
			if p.Active {
				return p, fmt.Sprintf("the active profile %q of %s", n, where), nil
			}
		}
		return p, where + ", where no profile is active", nil
	}
	p, ok := profiles[name]
	if !ok {
		return p, fmt.Sprintf("%s, which has no profile %q (MODAL_PROFILE)", where, name), nil
	}
	return p, fmt.Sprintf("the profile %q of %s", name, where), nil
}
