package caddymodule

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/keystile/keystile/requestlog/otlp"
)

// RequestLogConfig says where request records live, and for how long.
type RequestLogConfig struct {
	// The kind of request log: "archive" (files in a local directory, of one process) or "postgres" (a database that any number of
	// processes share). Default: archive.
	Backend string `json:"backend,omitempty"`

	// The directory of an archive, used by one process. A relative path is taken from the working directory of the
	// process. Global placeholders are replaced. Default: `keystile/requests` under Caddy's data directory.
	Dir string `json:"dir,omitempty"`

	// The address of the database of a postgres log, as postgres://user:password@host:5432/database or as key=value pairs. Global
	// placeholders are replaced: Caddy shows its configuration at /config/, so a password is better given as {env.NAME} or
	// {file.PATH}.
	DSN string `json:"dsn,omitempty"`

	// The directory in which a postgres log keeps records until they are in the database, used by one process. Global placeholders
	// are replaced. Default: `keystile/requests-postgres` under Caddy's data directory.
	Journal string `json:"journal,omitempty"`

	// How long records are kept, at least a minute. Default: 30d.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How many bytes records may take, at least 1 MiB; the oldest go first. In a database whole days go, and the newest stays. It also
	// bounds what waits for a database that is away. Default: 10 GiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// Where records are also sent, as OpenTelemetry logs. Default: nowhere.
	OTLP *OTLPConfig `json:"otlp,omitempty"`
}

// OTLPConfig says how records are sent to an OpenTelemetry collector. They are sent once they are stored, from a queue of
// their own; what the collector does not take in time is dropped there and counted.
type OTLPConfig struct {
	// The collector's address, as `http://localhost:4318` or `https://otlp.example.com`. Over HTTP, an address without a
	// path means `/v1/logs`. Global placeholders are replaced.
	Endpoint string `json:"endpoint,omitempty"`

	// `http` (protobuf over HTTP) or `grpc`. Default: `http`.
	Protocol string `json:"protocol,omitempty"`

	// Headers that go with each request. A value must be a placeholder, as `{env.OTLP_KEY}` or `{file./run/secrets/otlp}`:
	// Caddy shows its configuration at /config/ and saves it.
	Headers map[string]string `json:"headers,omitempty"`

	// Whether the address of a collector on another machine may be http. Default: false.
	Insecure bool `json:"insecure,omitempty"`
}

// logTuning is what a config says of the request log beside its place. It may change with a reload.
type logTuning struct {
	retention time.Duration // 0: the default
	maxSize   int64         // 0: the default
	otlp      *exportTuning // nil: nothing is exported
}

// exportTuning are the options of an exporter. They may hold credentials, and are never printed.
type exportTuning struct{ options otlp.Options }

func (t *exportTuning) equal(other *exportTuning) bool {
	if t == nil || other == nil {
		return t == other
	}
	a, b := &t.options, &other.options
	return a.Endpoint == b.Endpoint && a.Protocol == b.Protocol && a.Insecure == b.Insecure && maps.Equal(a.Headers, b.Headers)
}

// String keeps the credentials out of whatever is printed.
func (t *exportTuning) String() string { return "[otlp]" }

// GoString is String for %#v.
func (t *exportTuning) GoString() string { return "[otlp]" }

// What may be asked for. Less is a slip of the pen that would cost records.
const (
	minRetention = time.Minute
	maxRetention = 100 * 365 * 24 * time.Hour
	minMaxSize   = 1 << 20
)

// tuning checks the words and fills in the placeholders.
func (c *RequestLogConfig) tuning(repl *caddy.Replacer) (t logTuning, err error) {
	t.retention, t.maxSize = time.Duration(c.Retention), c.MaxSize
	switch {
	case t.retention != 0 && (t.retention < minRetention || t.retention > maxRetention):
		return t, fmt.Errorf("retention: %v; it may be %v to 100 years", t.retention, minRetention)
	case t.maxSize != 0 && t.maxSize < minMaxSize:
		return t, fmt.Errorf("max_size: %d bytes; it must be at least 1MiB", t.maxSize)
	}
	if c.OTLP != nil {
		if t.otlp, err = c.OTLP.tuning(repl); err != nil {
			return t, fmt.Errorf("otlp: %w", err)
		}
	}
	return t, nil
}

func (c *OTLPConfig) tuning(repl *caddy.Replacer) (*exportTuning, error) {
	endpoint, err := repl.ReplaceOrErr(c.Endpoint, true, true)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	t := &exportTuning{otlp.Options{Endpoint: endpoint, Protocol: c.Protocol, Insecure: c.Insecure, Headers: make(map[string]string, len(c.Headers))}}
	for name, value := range c.Headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("header: %q is no header name", name)
		}
		if !isPlaceholder(value) {
			return nil, fmt.Errorf("header %s: the value must be a placeholder, as {env.NAME} or {file./path}: a configuration is no place for credentials", name)
		}
		filled, err := repl.ReplaceOrErr(value, true, true)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		filled = strings.TrimSpace(filled) // files end with a newline
		if !httpguts.ValidHeaderFieldValue(filled) {
			return nil, fmt.Errorf("header %s: what %s stands for is no header value", name, value)
		}
		t.options.Headers[strings.ToLower(name)] = filled
	}
	return t, t.options.Validate()
}

// isPlaceholder says whether a value comes from outside of the configuration: from the environment or a file. A scheme such
// as Bearer may stand before it.
func isPlaceholder(value string) bool {
	if scheme, rest, ok := strings.Cut(value, " "); ok && (scheme == "Bearer" || scheme == "Basic") {
		value = rest
	}
	inner, ok := strings.CutPrefix(value, "{")
	if !ok || strings.Count(value, "{") != 1 || strings.Index(value, "}") != len(value)-1 {
		return false
	}
	return strings.HasPrefix(inner, "env.") || strings.HasPrefix(inner, "file.")
}

// parseRequestLog reads the option. Its syntax is at App.UnmarshalCaddyfile.
func (a *App) parseRequestLog(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.ArgErr()
	}
	c := &RequestLogConfig{Backend: args[0]}
	switch args[0] {
	case requestLogArchive:
		if len(args) == 2 {
			c.Dir = args[1]
		}
	case requestLogPostgres:
		if len(args) != 2 {
			return d.Errf("request_log %s: give the address of the database", requestLogPostgres)
		}
		c.DSN = args[1]
	default:
		return d.Errf("unrecognized request log %q: this version has %q and %q", args[0], requestLogArchive, requestLogPostgres)
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if seen[word] {
			return d.Errf("duplicate option %q of request_log", word)
		}
		seen[word] = true
		if err := c.parseWord(d, word); err != nil {
			return err
		}
	}
	a.RequestLog = c
	return nil
}

func (c *RequestLogConfig) parseWord(d *caddyfile.Dispenser, word string) error {
	var text string
	switch word {
	case "retention":
		if err := parseOneArg(d, &text); err != nil {
			return err
		}
		age, err := caddy.ParseDuration(text)
		if err != nil || age <= 0 {
			return d.Errf("retention: %q is no duration; write it as 30d or 12h", text)
		}
		c.Retention = caddy.Duration(age)
	case "max_size":
		if err := parseOneArg(d, &text); err != nil {
			return err
		}
		size, err := parseSize(text)
		if err != nil || size == 0 {
			return d.Errf("max_size: %q is no size; write it as 10GiB", text)
		}
		c.MaxSize = size
	case "journal":
		if c.Backend != requestLogPostgres {
			return d.Errf("journal is of request_log %s", requestLogPostgres)
		}
		return parseOneArg(d, &c.Journal)
	case "otlp":
		return c.parseOTLP(d)
	default:
		return d.Errf("unrecognized option %q of request_log", word)
	}
	bounds := RequestLogConfig{Retention: c.Retention, MaxSize: c.MaxSize}
	if _, err := bounds.tuning(nil); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (c *RequestLogConfig) parseOTLP(d *caddyfile.Dispenser) error {
	c.OTLP = new(OTLPConfig)
	if !d.AllArgs(&c.OTLP.Endpoint) || c.OTLP.Endpoint == "" {
		return d.Errf("otlp: give the collector's address, as http://localhost:4318")
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if seen[word] && word != "header" {
			return d.Errf("duplicate option %q of otlp", word)
		}
		seen[word] = true
		switch word {
		case "protocol":
			if err := oneWord(d, &c.OTLP.Protocol, otlp.ProtocolHTTP, otlp.ProtocolGRPC); err != nil {
				return err
			}
		case "insecure":
			if d.NextArg() {
				return d.ArgErr()
			}
			c.OTLP.Insecure = true
		case "header":
			if err := c.OTLP.parseHeader(d); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized option %q of otlp", word)
		}
		if err := refuseBlock(d, word); err != nil {
			return err
		}
	}
	return nil
}

func (c *OTLPConfig) parseHeader(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.ArgErr()
	}
	name, value := args[0], args[1]
	if !isPlaceholder(value) {
		return d.Errf("otlp: header %s: the value must be a placeholder, as {env.NAME} or {file./path}: a configuration is no place for credentials", name)
	}
	for other := range c.Headers {
		if strings.EqualFold(other, name) {
			return d.Errf("otlp: duplicate header %q", name)
		}
	}
	if c.Headers == nil {
		c.Headers = make(map[string]string)
	}
	c.Headers[name] = value
	return nil
}
