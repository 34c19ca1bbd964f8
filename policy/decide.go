package policy

import (
	"slices"
	"strings"
	"time"
)

// Rules are what one site demands of a request. They are immutable once in use. The zero value serves nobody.
type Rules struct {
	Catalog *Catalog    // nil: knows no route
	Open    *PathSet    // routes that need no key; nil: none
	Live    bool        // live keys are served here
	Sandbox bool        // sandbox keys are served here
	Version VersionRule // which API versions a request may name

	// The names of the headers, for Decision.Param and for messages. Defaults: Stripe-Context, Stripe-Account,
	// Stripe-Version.
	ContextHeader string
	AccountHeader string
	VersionHeader string
}

func (r *Rules) contextHeader() string { return or(r.ContextHeader, "Stripe-Context") }
func (r *Rules) accountHeader() string { return or(r.AccountHeader, "Stripe-Account") }
func (r *Rules) versionHeader() string { return or(r.VersionHeader, "Stripe-Version") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Decide judges a request: rows 0 to 9 of the order of checks, in that order, and the first that fails is the answer. p is
// the key that was found, nil unless q.Credential is CredentialKnown. Rows 10 to 12 (rate limit, availability) are the
// caller's.
//
// On an open route nothing is needed, so that rows 1, 8 and 9 do not deny there; but a presented key must be good (rows 2
// to 7), so that nobody is anonymous, or somebody else, by mistake. A version must fit also without a key.
//
// Decide does not allocate, and asks dir only where the answer depends on it.
func (r *Rules) Decide(p *Principal, q *Request, dir Directory, now time.Time) (d Decision) {
	// Row 0: what cannot be read in one way only.
	switch {
	case q.Malformed || q.Path == "" || q.Path[0] != '/':
		d.Reason = ReasonRequestMalformed
		return d
	case q.BadMethod || q.Method == "CONNECT" || q.Method == "TRACE":
		d.Reason = ReasonMethodNotAllowed
		return d
	}
	route, open := r.match(q.Method, q.Path)
	if strings.IndexByte(q.Path, ';') >= 0 && r.Ambiguous(q.Method, q.Path) {
		d.Reason = ReasonRequestMalformed
		return d
	}
	if route != nil {
		d.Route = *route
	}
	d.Open = open != nil

	// Rows 1 and 2: a key, and one that we know.
	switch q.Credential {
	case CredentialMissing:
		d.Reason = ReasonAPIKeyMissing
		if d.Open {
			d.enterOpen(r, q)
		}
		return d
	case CredentialKnown:
		if p != nil {
			break
		}
		fallthrough // fail closed
	default:
		d.Reason = ReasonAPIKeyInvalid
		return d
	}
	d.Owner = p.Owner

	// Row 3: the key has not ended.
	if p.Ended || !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt) {
		d.Reason = ReasonAPIKeyExpired
		return d
	}

	// Row 4: from an allowed address. Early data may be a replay, whose sender has not shown that the address is its own.
	if p.Networks != nil {
		if q.EarlyData {
			d.Reason = ReasonTooEarly
			return d
		}
		if !p.Networks.Contains(q.Client) {
			d.Reason = ReasonIPNotAllowed
			return d
		}
	}

	// Row 5: a mode that is served here.
	if !r.serves(p.Mode) {
		d.Reason = ReasonLivemodeMismatch
		return d
	}

	// Row 6: what must be said, and the version.
	if reason, param := r.demand(p, q); reason != ReasonNone {
		d.Reason, d.Param = reason, param
		return d
	}

	// Row 7: the account acted on.
	t, reason, param := r.resolve(p, q, dir)
	d.Account, d.Connected = t.account, t.connected
	if reason != ReasonNone {
		d.Reason, d.Param = reason, param
		return d
	}
	if p.Mode == ModeSandbox && !d.enterSandbox(p, dir) {
		d.Reason, d.Param = ReasonAccountInvalid, r.contextHeader()
		return d
	}
	if q.VersionCount == 1 {
		d.Version = q.Version
	} else if dir != nil {
		d.Version = dir.DefaultVersion(d.Account)
	}

	// Rows 8 and 9: what the key may do.
	if d.Reason = p.permits(&d.Route, q.Origin, d.Connected); d.Open {
		d.Reason = ReasonAllowed
	}
	return d
}

// enterOpen lets a request in that has no key and needs none. The version is what the backend may act on, so it must fit as
// from a key; a context says nothing without a key, and the caller does not hand it on.
func (d *Decision) enterOpen(r *Rules, q *Request) {
	switch {
	case q.VersionCount == 0:
		d.Reason = ReasonOpen
	case q.VersionCount == 1 && r.Version.Match(q.Version):
		d.Reason, d.Version = ReasonOpen, q.Version
	default:
		d.Reason, d.Param = ReasonVersionInvalid, r.versionHeader()
	}
}

// serves says whether keys of the mode are served at this site.
func (r *Rules) serves(m Mode) bool {
	switch m {
	case ModeLive:
		return r.Live
	case ModeSandbox:
		return r.Sandbox
	}
	return false // fail closed: no such mode
}

// match finds the route and the open pattern of a path; each is nil if there is none.
func (r *Rules) match(method, path string) (route, open *Route) {
	return r.Catalog.find(method, path), r.Open.find(path)
}

// Ambiguous says whether the matrix parameters of a canonical path change what it matches: one backend would serve the path
// as it stands, another the path without them. Decide asks it itself.
func (r *Rules) Ambiguous(method, path string) bool {
	if strings.IndexByte(path, ';') < 0 {
		return false
	}
	route, open := r.match(method, path)
	bareRoute, bareOpen := r.match(method, withoutParameters(path))
	return route != bareRoute || open != bareOpen
}

// demand is row 6. The context is asked for before the version.
func (r *Rules) demand(p *Principal, q *Request) (Reason, string) {
	organization := p.Kind == KindOrganization
	switch {
	case organization && q.ContextCount == 0 && q.AccountCount == 0:
		return ReasonContextRequired, r.contextHeader()
	case organization && q.VersionCount == 0:
		return ReasonVersionRequired, r.versionHeader()
	case q.VersionCount > 1 || q.VersionCount == 1 && !r.Version.Match(q.Version):
		return ReasonVersionInvalid, r.versionHeader()
	}
	return ReasonNone, ""
}

// enterSandbox finds the sandbox acted in: the key's own on its own account, else the default one of the account acted on.
// An account without one is not entered (fail closed): the backend could not tell the worlds apart.
func (d *Decision) enterSandbox(p *Principal, dir Directory) bool {
	switch {
	case p.Kind != KindOrganization && !d.Connected:
		d.Sandbox = p.Sandbox
	case dir != nil:
		d.Sandbox = dir.DefaultSandbox(d.Account)
	}
	return d.Sandbox != ""
}

// permits is rows 8 and 9.
func (p *Principal) permits(route *Route, origin string, connected bool) Reason {
	switch p.Kind {
	case KindPublishable:
		if !route.Publishable {
			return ReasonSecretKeyRequired
		}
		if p.Origins != nil && (origin == "" || !slices.Contains(p.Origins, origin)) {
			return ReasonOriginNotAllowed
		}
	case KindSecret, KindRestricted, KindOrganization:
	default:
		return ReasonRouteUnknown // fail closed: no such kind
	}
	rights := p.rightsOn(connected)
	switch {
	case rights.unrestricted():
		return ReasonAllowed
	case !route.Known:
		return ReasonRouteUnknown
	case rights.on(route.Resource) < route.Access:
		return ReasonPermissionDenied
	}
	return ReasonAllowed
}

// Allowed says whether the request goes on to the backend.
func (d *Decision) Allowed() bool { return d.Reason == ReasonAllowed || d.Reason == ReasonOpen }

// Required is the permission that the route needs, "charges_write"; "" if the catalog does not know the route.
func Required(d *Decision) string { return d.Route.Permission }
