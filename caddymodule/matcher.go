package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Matcher{})
}

// Matcher matches requests by what the keystile handler found out about them. A request matches if, for every field that
// is set, its own value is one of the field's.
//
// It works only after the handler: before it, or on a route without it, nothing is known, and the matcher matches
// nothing. So put `keystile` first (in a site block Caddy does), and rather name what a route is for (`keystile mode
// live`) than what it is not for: `not keystile mode sandbox` also matches where nothing is known. The same goes for a
// request without a key on an open route: it has no mode, kind, account or key.
type Matcher struct {
	// The key's mode: live or sandbox.
	Mode []string `json:"mode,omitempty"`

	// The key's kind: secret, publishable, restricted or organization.
	Kind []string `json:"kind,omitempty"`

	// The account acted on, acct_…
	Account []string `json:"account,omitempty"`

	// The account or organization that the key belongs to, acct_… or org_…
	Owner []string `json:"owner,omitempty"`

	// The sandbox acted in, sbx_…
	Sandbox []string `json:"sandbox,omitempty"`

	// The key's id, key_…
	Key []string `json:"key,omitempty"`

	// The resource of the route, a name of the catalog.
	Resource []string `json:"resource,omitempty"`

	// The access that the route needs: read or write.
	Access []string `json:"access,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.keystile",
		New: func() caddy.Module { return new(Matcher) },
	}
}

// matcherField is one field of a Matcher: its word, what its values may be, and where they stand.
type matcherField struct {
	word   string
	values *[]string
	closed []string // the only values there are
	prefix []string // how a value starts, for ids
}

func (m *Matcher) fields() []matcherField {
	return []matcherField{
		{word: "mode", values: &m.Mode, closed: []string{"live", "sandbox"}},
		{word: "kind", values: &m.Kind, closed: []string{"secret", "publishable", "restricted", "organization"}},
		{word: "account", values: &m.Account, prefix: []string{"acct_"}},
		{word: "owner", values: &m.Owner, prefix: []string{"acct_", "org_"}},
		{word: "sandbox", values: &m.Sandbox, prefix: []string{"sbx_"}},
		{word: "key", values: &m.Key, prefix: []string{"key_"}},
		{word: "resource", values: &m.Resource},
		{word: "access", values: &m.Access, closed: []string{"read", "write"}},
	}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Several fields of one matcher must all match; several
// values of a field are alternatives. Syntax:
//
//	@name keystile <field> <value...>
//
//	@name keystile {
//		mode live|sandbox
//		kind secret|publishable|restricted|organization
//		account <id...>
//		owner <id...>
//		sandbox <id...>
//		key <id...>
//		resource <name...>
//		access read|write
//	}
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	// more than one definition under one name are merged by Caddy into one dispenser
	for d.Next() { // consume matcher name
		if args := d.RemainingArgs(); len(args) > 0 {
			if err := m.parseField(d, args); err != nil {
				return err
			}
			if err := refuseBlock(d, "keystile "+args[0]); err != nil {
				return err
			}
			continue
		}
		for d.NextBlock(0) {
			args := append([]string{d.Val()}, d.RemainingArgs()...)
			if err := m.parseField(d, args); err != nil {
				return err
			}
			if err := refuseBlock(d, args[0]); err != nil {
				return err
			}
		}
	}
	if err := m.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (m *Matcher) parseField(d *caddyfile.Dispenser, args []string) error {
	for _, f := range m.fields() {
		if f.word != args[0] {
			continue
		}
		if len(args) < 2 {
			return d.ArgErr()
		}
		if *f.values != nil {
			return d.Errf("duplicate field %q: several values stand on one line", f.word)
		}
		*f.values = args[1:]
		return nil
	}
	return d.Errf("unrecognized field %q", args[0])
}

// Validate refuses a matcher that can match nothing or everything: a misspelt value would silently send requests
// elsewhere.
func (m *Matcher) Validate() error {
	empty := true
	for _, f := range m.fields() {
		for _, v := range *f.values {
			empty = false
			if f.closed != nil && !slices.Contains(f.closed, v) {
				return fmt.Errorf("keystile matcher: %s %q is none of %s", f.word, v, strings.Join(f.closed, ", "))
			}
			hasPrefix := func(p string) bool { return strings.HasPrefix(v, p) }
			if f.prefix != nil && !slices.ContainsFunc(f.prefix, hasPrefix) {
				return fmt.Errorf("keystile matcher: %s %q does not start with %s", f.word, v, strings.Join(f.prefix, " or "))
			}
			if v == "" {
				return fmt.Errorf("keystile matcher: empty %s", f.word)
			}
		}
	}
	if empty {
		return fmt.Errorf("keystile matcher: names no field to match")
	}
	return nil
}

// MatchWithError says whether the request fits every field that is set.
func (m Matcher) MatchWithError(r *http.Request) (bool, error) {
	v := verdictOf(r)
	if v == nil {
		return false, nil
	}
	d := &v.decision
	if !fits(m.Account, d.Account) || !fits(m.Owner, d.Owner) || !fits(m.Sandbox, d.Sandbox) ||
		!fits(m.Resource, d.Route.Resource) || !fits(m.Access, routeAccess(d)) || !fits(m.Mode, v.mode()) {
		return false, nil
	}
	if m.Kind == nil && m.Key == nil {
		return true, nil
	}
	return v.key != nil && fits(m.Kind, v.key.Kind.String()) && fits(m.Key, v.key.ID), nil
}

// fits says whether a field without values, or one of its values, allows this one. An unknown value, "", fits no value.
func fits(values []string, value string) bool {
	return values == nil || slices.Contains(values, value)
}

// Interface guards
var (
	_ caddyfile.Unmarshaler             = (*Matcher)(nil)
	_ caddy.Validator                   = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
)
