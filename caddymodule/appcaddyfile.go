package caddymodule

import (
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("keystile", parseApp)
}

// parseApp sets up the app from the global option. The syntax is that of App.UnmarshalCaddyfile.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("duplicate keystile global option")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "keystile", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Every option stands at most once; an unknown word is an
// error, since a typo must never weaken what the operator meant to configure. Syntax:
//
//	keystile {
//		store bolt [<path>] | postgres <dsn>
//		request_log archive [<dir>] | postgres <dsn> {
//			retention <duration>
//			max_size  <size>
//			journal   <dir>
//			otlp <endpoint> {
//				protocol http|grpc
//				header   <name> <value>
//				insecure
//			}
//		}
//		master_key file <path> | env <name>
//		catalog [openapi <file>] {
//			resource <name> {
//				read <method> <pattern...>
//				write <method> <pattern...>
//				publishable <method> <pattern...>
//			}
//		}
//		header_prefix <prefix>
//		context_header <name>
//		account_header <name>
//		version_header <name>
//		api_versions <version...> | pattern <regexp>
//		ipv6_ranges on|off
//		max_staleness <duration>
//		rate_limit live <requests> sandbox <requests>
//		webhooks {
//			allow_private on|off
//		}
//		verification smtp [{ as smtp }] | totp | log
//		verification http <url> {
//			secret env <name> | file <path>
//		}
//		smtp {
//			host <host>
//			port <port>
//			from <address>
//			username <name>
//			password env <name> | file <path>
//			tls starttls|tls|off
//		}
//		oidc {
//			issuer <url>
//			client_id <id>
//			client_secret env <name> | file <path>
//		}
//	}
//
// Relative paths are taken from the working directory of the process, as all of Caddy's paths are.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		option := d.Val()
		parse, known := appOptions[option]
		if !known {
			return d.Errf("unrecognized option %q", option)
		}
		if seen[option] {
			return d.Errf("duplicate option %q", option)
		}
		seen[option] = true
		if err := parse(a, d); err != nil {
			return err
		}
	}
	return nil
}

// appOptions are the options of the global block. Each function is called with the dispenser at the option's name and
// leaves it at the option's last token.
var appOptions = map[string]func(a *App, d *caddyfile.Dispenser) error{
	"store":       (*App).parseStore,
	"request_log": (*App).parseRequestLog,
	"master_key":  (*App).parseMasterKey,
	"catalog":     (*App).parseCatalog,
	"header_prefix": func(a *App, d *caddyfile.Dispenser) error {
		return parseOneArg(d, &a.HeaderPrefix)
	},
	"context_header": func(a *App, d *caddyfile.Dispenser) error {
		return parseOneArg(d, &a.ContextHeader)
	},
	"account_header": func(a *App, d *caddyfile.Dispenser) error {
		return parseOneArg(d, &a.AccountHeader)
	},
	"version_header": func(a *App, d *caddyfile.Dispenser) error {
		return parseOneArg(d, &a.VersionHeader)
	},
	"api_versions": (*App).parseAPIVersions,
	"ipv6_ranges": func(a *App, d *caddyfile.Dispenser) error {
		return parseOnOff(d, &a.IPv6Ranges)
	},
	"max_staleness": (*App).parseMaxStaleness,
	"rate_limit":    (*App).parseRateLimit,
	"webhooks":      (*App).parseWebhooks,
	"verification":  (*App).parseVerification,
	"smtp":          (*App).parseSMTP,
	"oidc":          (*App).parseOIDC,
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.ArgErr()
	}
	a.Store = &StoreConfig{Backend: args[0]}
	switch args[0] {
	case storeBolt:
		if len(args) == 2 {
			a.Store.Path = args[1]
		}
	case storePostgres:
		if len(args) != 2 {
			return d.Errf("store %s: give the address of the database", storePostgres)
		}
		a.Store.DSN = args[1]
	default:
		return d.Errf("unrecognized store %q: this version has %q and %q", args[0], storeBolt, storePostgres)
	}
	return refuseBlock(d, "store")
}

func (a *App) parseMaxStaleness(d *caddyfile.Dispenser) error {
	var text string
	if err := parseOneArg(d, &text); err != nil {
		return err
	}
	limit, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("max_staleness: %q is no duration, such as 60s", text)
	}
	if limit <= 0 {
		return d.Errf("max_staleness: %s is not from %s to %s", text, minStaleness, maxStaleness)
	}
	a.MaxStaleness = caddy.Duration(limit)
	return nil
}

func (a *App) parseMasterKey(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.ArgErr()
	}
	switch args[0] {
	case "file":
		a.MasterKey = &MasterKeyConfig{File: args[1]}
	case "env":
		a.MasterKey = &MasterKeyConfig{Env: args[1]}
	case "kms":
		a.MasterKey = &MasterKeyConfig{KMS: args[1]}
	default:
		return d.Errf("unrecognized master key source %q: this version has %q, %q and %q", args[0], "file", "env", "kms")
	}
	return refuseBlock(d, "master_key")
}

func (a *App) parseCatalog(d *caddyfile.Dispenser) error {
	a.Catalog = new(CatalogConfig)
	switch args := d.RemainingArgs(); {
	case len(args) == 0:
	case args[0] != "openapi":
		return d.Errf("unrecognized catalog source %q: this version has %q", args[0], "openapi")
	case len(args) != 2:
		return d.ArgErr()
	default:
		a.Catalog.OpenAPI = args[1]
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "resource" {
			return d.Errf("unrecognized catalog option %q", d.Val())
		}
		resource, err := parseResource(d)
		if err != nil {
			return err
		}
		same := func(r ResourceConfig) bool { return r.Name == resource.Name }
		if i := slices.IndexFunc(a.Catalog.Resources, same); i >= 0 {
			return d.Errf("duplicate resource %q, first at %s", resource.Name, a.Catalog.Resources[i].At)
		}
		a.Catalog.Resources = append(a.Catalog.Resources, resource)
	}
	if a.Catalog.OpenAPI == "" && a.Catalog.Resources == nil {
		return d.Err("a catalog needs a source, a resource, or both")
	}
	return nil
}

func parseResource(d *caddyfile.Dispenser) (ResourceConfig, error) {
	resource := ResourceConfig{At: position(d)}
	if !d.NextArg() {
		return resource, d.ArgErr()
	}
	resource.Name = d.Val()
	if d.NextArg() {
		return resource, d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		rule := RuleConfig{Rule: d.Val(), At: position(d)}
		if !slices.Contains(ruleWords, rule.Rule) {
			return resource, d.Errf("unrecognized rule %q: a resource has %q, %q and %q rules", rule.Rule, ruleRead, ruleWrite, rulePublishable)
		}
		args := d.RemainingArgs()
		if len(args) < 2 {
			return resource, d.Errf("wrong argument count or unexpected line ending after %q: a rule is a method and at least one path pattern", rule.Rule)
		}
		rule.Method, rule.Paths = args[0], args[1:]
		if err := refuseBlock(d, rule.Rule); err != nil {
			return resource, err
		}
		resource.Rules = append(resource.Rules, rule)
	}
	if len(resource.Rules) == 0 {
		return resource, d.Errf("resource %q has no rules", resource.Name)
	}
	return resource, nil
}

func (a *App) parseAPIVersions(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0:
		return d.ArgErr()
	case args[0] != "pattern":
		a.APIVersions = &VersionsConfig{List: args}
	case len(args) != 2:
		return d.ArgErr()
	default:
		a.APIVersions = &VersionsConfig{Pattern: args[1]}
	}
	return refuseBlock(d, "api_versions")
}

// parseOneArg reads an option with exactly one argument, which may not be empty.
func parseOneArg(d *caddyfile.Dispenser, value *string) error {
	option := d.Val()
	if !d.AllArgs(value) || *value == "" {
		return d.ArgErr()
	}
	return refuseBlock(d, option)
}

// parseOnOff reads an option whose argument is the word on or off. It takes no default: `ipv6_ranges` alone would leave
// open which of the two was meant.
func parseOnOff(d *caddyfile.Dispenser, value *bool) error {
	option := d.Val()
	var word string
	if !d.AllArgs(&word) {
		return d.ArgErr()
	}
	switch word {
	case "on":
		*value = true
	case "off":
		*value = false
	default:
		return d.Errf("%s: %q is neither on nor off", option, word)
	}
	return refuseBlock(d, option)
}

// refuseBlock refuses a block after an option that has none, by the first word in it: it is a word of a later version or a
// typo, and either way not in force.
func refuseBlock(d *caddyfile.Dispenser, option string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("unrecognized option %q of %s", d.Val(), option)
	}
	return nil
}

// position is where the dispenser stands, as error messages name it.
func position(d *caddyfile.Dispenser) string {
	return d.File() + ":" + strconv.Itoa(d.Line())
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
)
