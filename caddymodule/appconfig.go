package caddymodule

import (
	"errors"
	"fmt"
	"net/textproto"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/awskms"
)

// The backends of the key store that this version has. The words are those of the Caddyfile and of JSON.
const (
	storeBolt     = "bolt"
	storePostgres = "postgres"
)

// StoreConfig says where keys live.
type StoreConfig struct {
	// The kind of store: "bolt" (one local file, held by one process) or "postgres" (a database that any number of
	// processes share). Default: bolt.
	Backend string `json:"backend,omitempty"`

	// The file of a bolt store. A relative path is taken from the working directory of the process, as all of Caddy's
	// paths are. Global placeholders are replaced. Default: `keystile/keys.db` under Caddy's data directory.
	Path string `json:"path,omitempty"`

	// The address of the database of a postgres store, as postgres://user:password@host:5432/database or as key=value
	// pairs. Global placeholders are replaced: Caddy shows its configuration at /config/, so a password is better given as
	// {env.NAME} or {file.PATH}.
	DSN string `json:"dsn,omitempty"`
}

// MasterKeyConfig says where the master keyset is, under which the tokens that may be revealed later are sealed. At most
// one of its fields is set.
type MasterKeyConfig struct {
	// A file that only its owner may read. It is made on first start if the store is new, and never replaced: without it,
	// sealed tokens are lost. Default: `keystile/master.key` under Caddy's data directory.
	File string `json:"file,omitempty"`

	// The name of an environment variable that holds the keyset. The keyset itself never stands in the configuration,
	// because Caddy shows its configuration at /config/ and saves it.
	Env string `json:"env,omitempty"`

	// A key of a key management service, which encrypts the keyset: aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID. The
	// encrypted keyset is a file, `keystile/master.kms` under Caddy's data directory, made on first start. The service is
	// asked at start and when the master key is rotated, never for a request. Credentials come from where the AWS SDK
	// finds them.
	KMS string `json:"kms,omitempty"`
}

// VersionsConfig says which API versions clients may ask for. At most one of its fields is set.
type VersionsConfig struct {
	// A regular expression that the whole version must match. Default: a date, YYYY-MM-DD, with an optional `.name`.
	Pattern string `json:"pattern,omitempty"`

	// The versions themselves, if only some are served.
	List []string `json:"list,omitempty"`
}

// resolved is the configuration with defaults filled in and placeholders replaced. The exported fields of App stay as
// they were written: Caddy shows them at /config/, and a replaced {env.X} may be a secret.
type resolved struct {
	store      storePlace
	staleness  time.Duration
	rates      keystore.RateLimit
	requests   logPlace
	log        logTuning
	masterFile string // absolute; "" if the master keyset comes from the environment
	masterEnv  string // name of the variable; "" if it comes from a file
	masterKMS  string // URI of the key that the file is encrypted by; "" if it is not
	headers    headerNames
}

// resolve fills in the defaults and refuses what no backend of this version can do. It touches no file.
func (a *App) resolve(repl *caddy.Replacer) (resolved, error) {
	var r resolved
	data := filepath.Join(caddy.AppDataDir(), "keystile")

	var err error
	if r.store, err = a.resolveStore(repl, data); err != nil {
		return r, err
	}
	if r.staleness, err = a.resolveStaleness(); err != nil {
		return r, err
	}
	if r.rates, err = a.resolveRates(); err != nil {
		return r, err
	}

	log := RequestLogConfig{}
	if a.RequestLog != nil {
		log = *a.RequestLog
	}
	if r.requests, err = log.resolve(repl, data); err != nil {
		return r, fmt.Errorf("request_log: %w", err)
	}
	if r.log, err = log.tuning(repl); err != nil {
		return r, fmt.Errorf("request_log: %w", err)
	}

	master := MasterKeyConfig{}
	if a.MasterKey != nil {
		master = *a.MasterKey
	}
	switch {
	case master.File != "" && master.Env != "", master.KMS != "" && master.File+master.Env != "":
		return r, errors.New("master_key: file, env and kms exclude each other")
	case master.KMS != "":
		if err := awskms.Check(master.KMS); err != nil {
			return r, fmt.Errorf("master_key: kms: %w", err)
		}
		r.masterKMS, r.masterFile = master.KMS, filepath.Join(data, "master.kms")
	case master.Env != "":
		if strings.ContainsAny(master.Env, "={}$ ") {
			return r, errors.New("master_key: env takes the name of an environment variable, not its value")
		}
		r.masterEnv = master.Env
	default:
		if r.masterFile, err = dataPath(repl, master.File, filepath.Join(data, "master.key")); err != nil {
			return r, fmt.Errorf("master_key: file: %w", err)
		}
		if r.masterFile == r.store.file {
			return r, fmt.Errorf("master_key: file %s is the store itself", r.masterFile)
		}
	}

	r.headers, err = a.resolveHeaders()
	return r, err
}

// dataPath is the absolute form of a configured path, or of the default if none is.
func dataPath(repl *caddy.Replacer, path, standard string) (string, error) {
	if path == "" {
		return filepath.Abs(standard)
	}
	expanded, err := repl.ReplaceOrErr(path, true, true)
	if err != nil {
		return "", err
	}
	return filepath.Abs(expanded)
}

// resolveHeaders checks the header names. Two names that fold to one would make an input of the client's into an
// identity header, or the other way about, so they are refused.
func (a *App) resolveHeaders() (headerNames, error) {
	h := headerNames{
		prefix:  withDefault(a.HeaderPrefix, "Keystile-"),
		context: withDefault(a.ContextHeader, "Stripe-Context"),
		account: withDefault(a.AccountHeader, "Stripe-Account"),
		version: withDefault(a.VersionHeader, "Stripe-Version"),
	}
	named := []struct {
		option string
		value  *string
	}{
		{"header_prefix", &h.prefix},
		{"context_header", &h.context},
		{"account_header", &h.account},
		{"version_header", &h.version},
	}
	fixed := newHeaderScreen(headerNames{prefix: "-"}, "", nil)
	for i, n := range named {
		if !validHeaderName(*n.value) {
			return h, fmt.Errorf("%s: %q is no header name: letters, digits and dashes, a letter first", n.option, *n.value)
		}
		*n.value = textproto.CanonicalMIMEHeaderKey(*n.value)
		if i == 0 {
			if !strings.HasSuffix(h.prefix, "-") || len(h.prefix) < 3 {
				return h, fmt.Errorf("header_prefix: %q must be at least two characters and a dash at the end, as %q", h.prefix, "Keystile-")
			}
			continue
		}
		if strings.HasPrefix(*n.value, h.prefix) {
			return h, fmt.Errorf("%s: %q lies under the header prefix %q, which is stripped from every request", n.option, *n.value, h.prefix)
		}
		if class, _ := fixed.classify(*n.value); reservedHeaders[*n.value] || class != classPlain {
			return h, fmt.Errorf("%s: %q has a meaning of its own in HTTP or in the gateway", n.option, *n.value)
		}
		for _, earlier := range named[1:i] {
			if *earlier.value == *n.value {
				return h, fmt.Errorf("%s and %s are both %q", earlier.option, n.option, *n.value)
			}
		}
	}
	if name := strippedBy(h.prefix); name != "" {
		return h, fmt.Errorf("header_prefix: %q would strip the header %q from every request", h.prefix, name)
	}
	return h, nil
}

// strippedBy names a header with a meaning of its own that lies under the prefix, "" if there is none.
func strippedBy(prefix string) string {
	for name := range reservedHeaders {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	for _, names := range fixedHeaders {
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				return name
			}
		}
	}
	return ""
}

// reservedHeaders cannot be given another meaning: the gateway, the HTTP library or the proxy reads them.
var reservedHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Access-Control-Request-Method": true, "Authorization": true, "Connection": true, "Content-Encoding": true, "Content-Length": true,
	"Content-Type": true, "Cookie": true, "Date": true, "Early-Data": true, "Expect": true, "Forwarded": true,
	"Host": true, "Idempotency-Key": true, "Keep-Alive": true, "Origin": true, "Proxy-Authorization": true,
	"Proxy-Connection": true, "Request-Id": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Sec-Websocket-Extensions": true, "Sec-Websocket-Key": true, "Sec-Websocket-Version": true, "Upgrade": true, "User-Agent": true, "X-Forwarded-For": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true,
}

// validHeaderName is narrower than HTTP's own grammar: underscores and dots fold to dashes in many backends, so a name
// with them would stand for several headers.
func validHeaderName(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && (c == '-' || '0' <= c && c <= '9'):
		default:
			return false
		}
	}
	return true
}

func withDefault(value, standard string) string {
	if value == "" {
		return standard
	}
	return value
}
