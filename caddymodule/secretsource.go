package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// SecretSource says where a secret is read from. The secret itself never stands in the configuration, because Caddy shows
// its configuration at /config/ and saves it. Exactly one of its fields is set.
type SecretSource struct {
	// The name of an environment variable that holds the secret.
	Env string `json:"env,omitempty"`

	// A file that holds the secret and nothing else but white space around it. One that others may read or change is refused, as
	// is one of another user than root or the one who runs this. The group of a file of root's may read it, and so may all who are
	// in a container into which Kubernetes mounts it.
	File string `json:"file,omitempty"`
}

// maxSecret bounds the file of a secret.
const maxSecret = 64 << 10

// read reads the secret. Nil is no secret.
func (s *SecretSource) read() (policy.Token, error) {
	if s == nil {
		return policy.Token{}, nil
	}
	var text string
	switch {
	case (s.Env == "") == (s.File == ""):
		return policy.Token{}, errors.New("give either env or file")
	case s.Env != "":
		if strings.ContainsAny(s.Env, "={}$ ") {
			return policy.Token{}, errors.New("env takes the name of an environment variable, not its value")
		}
		text = os.Getenv(s.Env)
		if text == "" {
			return policy.Token{}, fmt.Errorf("the environment variable %s is empty", s.Env)
		}
	default:
		data, err := keystore.ReadSecretFile(s.File, maxSecret)
		if err != nil {
			return policy.Token{}, err
		}
		text = string(data)
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return policy.Token{}, errors.New("the secret is empty")
	}
	return policy.TokenFrom(text), nil
}

// parseSecretSource reads `env <name>` or `file <path>` behind an option's name.
func parseSecretSource(d *caddyfile.Dispenser) (*SecretSource, error) {
	option, args := d.Val(), d.RemainingArgs()
	if len(args) != 2 || args[1] == "" {
		return nil, d.Errf("%s: want env and the name of a variable, or file and a path", option)
	}
	s := new(SecretSource)
	switch args[0] {
	case "env":
		s.Env = args[1]
	case "file":
		s.File = args[1]
	default:
		return nil, d.Errf("%s: unrecognized source %q: this version has %q and %q", option, args[0], "env", "file")
	}
	return s, refuseBlock(d, option)
}
