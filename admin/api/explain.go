package api

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// Explain is a request as a client would send it, and the key it would present.
type Explain struct {
	Key           Optional[string] `json:"key,omitzero" doc:"The id of the key presented"`
	Token         Optional[string] `json:"token,omitzero" writeOnly:"true" doc:"Or its token. With neither, a request without a key is judged"`
	Method        string           `json:"method" minLength:"1" maxLength:"32" example:"POST"`
	Path          string           `json:"path" minLength:"1" maxLength:"8192" example:"/v1/charges" doc:"As a client sends it, percent-encoded; a query is cut off"`
	ClientAddress Optional[string] `json:"client_address,omitzero" doc:"IP address of the client; absent: unknown, which no IP range contains"`
	Context       Optional[string] `json:"context,omitzero" doc:"The context header"`
	Origin        Optional[string] `json:"origin,omitzero" doc:"The Origin header"`
	Host          Optional[string] `json:"host,omitzero" doc:"The site that is asked; default: the first one with the gateway"`
	Version       Optional[string] `json:"version,omitzero" doc:"The version header"`
}

// Explanation is what the gateway would decide on the request now.
type Explanation struct {
	Allowed            bool    `json:"allowed"`
	Decision           string  `json:"decision" doc:"allowed, open, or the error code of the denial"`
	RequiredPermission *string `json:"required_permission" doc:"What the route asks of a restricted key; null if the catalog does not know it"`
	Account            *string `json:"account" doc:"The account acted on; null if it was not resolved"`
	Resource           *string `json:"resource"`
	Access             *string `json:"access" enum:"read,write"`
	Explanation        string  `json:"explanation" doc:"Why, and what would allow it"`
}

type explainInput struct {
	Body Explain
}

func (a *API) registerExplain() {
	handle(a, operation{
		method: http.MethodPost, path: "/v1/explain", id: "explain", tag: "resources", summary: "Explain what the gateway would decide",
		errors:      []int{http.StatusNotFound},
		description: "Runs the gateway's own decision on a request that is described and not sent. Rate limits and availability are not part of it.",
	}, a.explain)
}

func (a *API) explain(c *call, in *explainInput) (Explanation, error) {
	b := &in.Body
	rules := a.Rules(b.Host.Value)
	if rules == nil {
		if b.Host.Value == "" {
			return Explanation{}, badParam("host", "no site with the gateway is configured: there are no rules to explain")
		}
		return Explanation{}, badParam("host", "no site with the gateway serves this host")
	}
	key, credential, err := a.explainedKey(c, b)
	if err != nil {
		return Explanation{}, err
	}
	q, err := explainedRequest(b)
	if err != nil {
		return Explanation{}, err
	}
	q.Credential = credential
	var principal *policy.Principal
	now := c.now
	mask := policy.TokenFrom(b.Token.Value).Mask()
	if key != nil {
		principal, mask, now = &key.Principal, key.Mask, a.Store.JudgedAt(key, now)
	}
	d := rules.Decide(principal, q, a.Store.Directory(), now)
	out := Explanation{
		Allowed: d.Allowed(), Decision: d.Reason.Code(), RequiredPermission: some(policy.Required(&d)), Account: some(d.Account),
		Explanation: explanation(&d, q, key, mask),
	}
	if d.Route.Known {
		out.Resource, out.Access = some(d.Route.Resource), some(d.Route.Access.String())
	}
	return out, nil
}

// explainedKey finds the key that the request is to present, the same way as the gateway does.
func (a *API) explainedKey(c *call, b *Explain) (*keystore.Key, policy.Credential, error) {
	id, token := b.Key.Value, b.Token.Value
	switch {
	case id != "" && token != "":
		return nil, 0, badParam("token", "give key or token, not both")
	case id != "":
		k, ok := a.Store.Snapshot().Key(id)
		if !ok || !c.coversKey(k) {
			e := notFound("key", id)
			e.Param = "key"
			return nil, 0, e
		}
		return k, policy.CredentialKnown, nil
	case token == "":
		return nil, policy.CredentialMissing, nil
	}
	_, _, class := policy.ParseToken(token)
	if class == policy.TokenInvalid || class != policy.TokenOurs && !a.Store.HasImported() {
		return nil, policy.CredentialInvalid, nil
	}
	digest := policy.TokenFrom(token).Digest()
	k, _ := a.Store.Lookup(&digest)
	if k == nil || !c.coversKey(k) {
		return nil, policy.CredentialInvalid, nil
	}
	return k, policy.CredentialKnown, nil
}

// explainedRequest is the policy's form of the request.
func explainedRequest(b *Explain) (*policy.Request, error) {
	if printable(b.Method, 32) != b.Method {
		return nil, badParam("method", "method must be an HTTP method, such as GET")
	}
	q := &policy.Request{Method: b.Method, Origin: b.Origin.Value, Context: b.Context.Value, Version: b.Version.Value}
	path, _, _ := strings.Cut(b.Path, "?")
	var ok bool
	if q.Path, ok = policy.CanonicalPath(path); !ok {
		q.Malformed = true
	}
	if q.Context != "" {
		q.ContextCount = 1
	}
	if q.Version != "" {
		q.VersionCount = 1
	}
	if text := b.ClientAddress.Value; text != "" {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return nil, badParam("client_address", "client_address must be an IP address, such as 203.0.113.7")
		}
		q.Client = address.Unmap()
	}
	return q, nil
}

// explanation is the gateway's own message, with what an operator may know and a client may not.
func explanation(d *policy.Decision, q *policy.Request, key *keystore.Key, mask string) string {
	message := policy.Message(d, mask)
	switch d.Reason { // the others have nothing to add to the message
	case policy.ReasonAllowed:
		return allowedText(d, key)
	case policy.ReasonOpen:
		return "The route is open: it needs no key."
	case policy.ReasonAPIKeyExpired:
		if key != nil {
			return strings.TrimSuffix(message, ".") + ". It is " + endText(key) + "; a new or rotated key would be allowed."
		}
	case policy.ReasonIPNotAllowed:
		if key == nil {
			break
		}
		if !q.Client.IsValid() {
			message += " No client_address was given."
		}
		return message + " The key may be used from " + strings.Join(key.IPRanges, ", ") + "."
	case policy.ReasonOriginNotAllowed:
		if key != nil {
			return message + " The key may be used from " + strings.Join(key.AllowedOrigins, ", ") + "."
		}
	case policy.ReasonRouteUnknown:
		return message + " No rule of the catalog covers this method and path: a rule for it, or an unrestricted key, would allow this request."
	case policy.ReasonSecretKeyRequired:
		return message + " Marking the route publishable in the catalog would allow it."
	}
	return message
}

func allowedText(d *policy.Decision, key *keystore.Key) string {
	if key == nil {
		return "The request is allowed."
	}
	text := "The " + key.Kind.String() + " key '" + key.Mask + "' may make this request on account '" + d.Account + "'"
	switch {
	case d.Open:
		text += ": the route is open"
	case d.Route.Known && key.Kind == policy.KindPublishable:
		text += ": " + d.Route.Pattern + " is marked publishable"
	case d.Route.Known:
		text += ": " + d.Route.Pattern + " needs '" + d.Route.Permission + "'"
		if key.Principal.Permissions == nil {
			text += ", and the key is unrestricted"
		}
	default:
		text += ": the catalog does not know the route, and the key is unrestricted"
	}
	return text + "."
}

// endText says how a key ended.
func endText(k *keystore.Key) string {
	switch {
	case k.Deleted:
		return "deleted"
	case k.Successor != "":
		return "rotated away, its successor is " + k.Successor
	}
	return "past its expiry"
}
