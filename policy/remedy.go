package policy

// ReasonOf is the reason with this code, ReasonNone if there is none: what a record or a metric names can be explained.
func ReasonOf(code string) Reason {
	for r := ReasonAllowed; r < reasonCount; r++ {
		if reasons[r].code == code {
			return r
		}
	}
	return ReasonNone
}

// Remedy is one sentence on what would allow such a request, for who manages keys: [Message] is what the client is told, and
// names what may be named to anybody. Of a request that was not refused it says why nothing was needed. It is "" for what is
// no reason.
func (r Reason) Remedy() string {
	if r >= reasonCount {
		return ""
	}
	return remedies[r]
}

var remedies = [reasonCount]string{
	ReasonAllowed:             "The key may make this request.",
	ReasonOpen:                "The route is open: it needs no key.",
	ReasonPreflight:           "A browser asked whether it may make the request; the gateway answers that itself.",
	ReasonRequestMalformed:    "The client must send a path and headers that can be read in one way only: no dot segments, double slashes, encoded slashes or control characters.",
	ReasonMethodNotAllowed:    "The client must use another method: CONNECT and TRACE are never served.",
	ReasonAPIKeyMissing:       "A key in the Authorization header would allow it, or marking the route open.",
	ReasonAPIKeyInvalid:       "The client must present one whole key of this installation, in one place.",
	ReasonAPIKeyExpired:       "A new or rotated key would be allowed: one that was deleted, rotated away or expired never works again.",
	ReasonTooEarly:            "The same request after the TLS handshake would be judged: early data may be a replay from another address.",
	ReasonIPNotAllowed:        "Adding the client's address to the key's IP ranges would allow it.",
	ReasonLivemodeMismatch:    "A key of the other mode, or a site that serves this one, would allow it.",
	ReasonContextRequired:     "Naming an account of the organization in that header would allow it.",
	ReasonVersionRequired:     "Naming an API version in that header would allow it.",
	ReasonVersionInvalid:      "Naming one supported API version would allow it.",
	ReasonContextInvalid:      "Naming one account, or one path of accounts, would allow it.",
	ReasonAccountInvalid:      "Connecting the account to the key's owner, or making it a member of the organization, would allow it.",
	ReasonSecretKeyRequired:   "A secret or restricted key, or marking the route publishable in the catalog, would allow it.",
	ReasonOriginNotAllowed:    "Adding the page's origin to the key's allowed origins would allow it.",
	ReasonPermissionDenied:    "Another key that has the permission would do as well.",
	ReasonRouteUnknown:        "A rule of the catalog for this method and path, or an unrestricted key, would allow it.",
	ReasonRateLimit:           "Fewer requests at a time, or a higher limit, would allow it.",
	ReasonGatewayUnavailable:  "The gateway must reach its key store again before it accepts keys.",
	ReasonUpstreamUnavailable: "The key was good: the backend must be reachable.",
}
