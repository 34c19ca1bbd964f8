package caddymodule

import "net/http"

// identityNames are the headers that the gateway writes, under the configured prefix and in canonical form.
type identityNames struct {
	requestID, keyID, keyKind, mode, account, sandbox, owner, connected, resource, access string
	requiredPermission, rateLimitedReason, keyExpires                                     string
}

func newIdentityNames(prefix string) identityNames {
	name := func(s string) string { return http.CanonicalHeaderKey(prefix + s) }
	return identityNames{
		requestID: name("Request-Id"), keyID: name("Key-Id"), keyKind: name("Key-Kind"), mode: name("Mode"),
		account: name("Account"), sandbox: name("Sandbox"), owner: name("Owner"), connected: name("Connected"),
		resource: name("Resource"), access: name("Access"),
		requiredPermission: name("Required-Permission"), rateLimitedReason: name("Rate-Limited-Reason"),
		keyExpires: name("Key-Expires"),
	}
}

// identify writes what the backend is told of the request (contract section 3.4). Every client header under the prefix is
// gone by now. What says nothing is not sent: each header costs the backend's connection about a microsecond.
func (x *exchange) identify(h http.Header) {
	v, names, values := &x.verdict, &x.handler.names, &x.values
	d := &v.decision
	h[names.requestID] = values.one(v.requestID)
	if v.key != nil {
		h[names.keyID] = values.one(v.key.ID)
		h[names.keyKind] = values.one(v.key.Kind.String())
		h[names.mode] = values.one(v.key.Mode.String())
		h[names.account] = values.one(d.Account)
		if d.Sandbox != "" {
			h[names.sandbox] = values.one(d.Sandbox)
		}
		if d.Owner != d.Account {
			h[names.owner] = values.one(d.Owner)
		}
		if d.Connected {
			h[names.connected] = values.one("true")
		}
	}
	if v.key == nil { // nobody has checked that this client may act there
		delete(h, x.handler.headers.context)
		delete(h, x.handler.headers.account)
	}
	if d.Route.Known {
		h[names.resource] = values.one(d.Route.Resource)
		h[names.access] = values.one(d.Route.Access.String())
	}
	if d.Version != "" {
		h[x.handler.headers.version] = values.one(d.Version)
	}
}
