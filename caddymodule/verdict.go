package caddymodule

import (
	"net/http"

	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// verdictVar is the request variable that holds the *verdict.
const verdictVar = "keystile"

// verdict is what was decided on one request, kept for whatever runs after the directive: placeholders, the matcher,
// Caddy's access log. It is written before the next handler runs and constant from then on, save for the reason, which
// becomes upstream_unavailable if the backend was not there.
type verdict struct {
	requestID string
	decision  policy.Decision
	// key is nil unless the request presented a key that exists, ended or not.
	key *keystore.Key
	// upstream is the backend that the short way has chosen; nil: none, or reverse_proxy has chosen it.
	upstream *backend
}

// verdictOf answers what the directive decided on the request, nil if it has not run.
func verdictOf(r *http.Request) *verdict {
	v, _ := caddyhttp.GetVar(r.Context(), verdictVar).(*verdict)
	return v
}

// String is the request id, which is also what the placeholder {http.vars.keystile} shows.
func (v *verdict) String() string { return v.requestID }

// principal is the key's compiled rights, nil without a key.
func (v *verdict) principal() *policy.Principal {
	if v.key == nil {
		return nil
	}
	return &v.key.Principal
}

// mode is the mode of the key in words, "" without one.
func (v *verdict) mode() string {
	if v.key == nil {
		return ""
	}
	return v.key.Mode.String()
}

// MarshalLogObject writes the fields that Caddy's access log carries for each request: ids and codes only.
func (v *verdict) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("request_id", v.requestID)
	enc.AddString("decision", v.decision.Reason.Code())
	if v.key != nil {
		enc.AddString("key_id", v.key.ID)
		enc.AddString("mode", v.mode())
	}
	if v.decision.Account != "" {
		enc.AddString("account", v.decision.Account)
	}
	return nil
}

// placeholder answers Caddy's placeholders of a request, lazily: none is computed unless a configuration names it.
//
// http.auth.user.id is what Caddy's access log shows as user_id.
func (v *verdict) placeholder(name string) (any, bool) {
	const prefix = "keystile."
	if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
		if name == "http.auth.user.id" && v.key != nil {
			return v.key.ID, true
		}
		return v.upstream.placeholder(name)
	}
	d := &v.decision
	switch name[len(prefix):] {
	case "request_id":
		return v.requestID, true
	case "decision":
		return d.Reason.Code(), true
	case "required_permission":
		return policy.Required(d), true
	case "account":
		return d.Account, true
	case "owner":
		return d.Owner, true
	case "connected":
		return d.Connected, true
	case "sandbox":
		return d.Sandbox, true
	case "resource":
		return d.Route.Resource, true
	case "access":
		return routeAccess(d), true
	case "version":
		return d.Version, true
	case "mode":
		return v.mode(), true
	case "key_id":
		if v.key != nil {
			return v.key.ID, true
		}
		return "", true
	case "key_kind":
		if v.key != nil {
			return v.key.Kind.String(), true
		}
		return "", true
	default:
		return nil, false
	}
}

// routeAccess is the access that the route asks for in words, "" if the catalog does not know the route.
func routeAccess(d *policy.Decision) string {
	if !d.Route.Known {
		return ""
	}
	return d.Route.Access.String()
}
