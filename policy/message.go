package policy

import "strings"

// Message is the sentence for a request that was not allowed, stable and for people: programs read the code. mask is the
// token as it may be shown ([Mask], or the key's own mask), "" if none was presented. Of a string without a known prefix
// nothing is shown, since it may be anything: a password, or a key of somebody else's system. It is "" for what is no
// error.
func Message(d *Decision, mask string) string {
	mask = shown(mask)
	key := "The provided key"
	if mask != "" {
		key += " '" + mask + "'"
	}
	switch d.Reason {
	case ReasonRequestMalformed:
		return "The request is malformed or can be read in more than one way, and was not processed."
	case ReasonMethodNotAllowed:
		return "This request method is not served."
	case ReasonAPIKeyMissing:
		return "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
	case ReasonAPIKeyInvalid:
		if mask == "" {
			return "Invalid API Key provided."
		}
		return "Invalid API Key provided: " + mask
	case ReasonAPIKeyExpired:
		if mask == "" {
			return "Expired API Key provided."
		}
		return "Expired API Key provided: " + mask
	case ReasonIPNotAllowed:
		return "The API key provided does not allow requests from your IP address."
	case ReasonTooEarly:
		return "The API key provided is limited to IP addresses, and the request came before the TLS handshake was complete. Please send it again."
	case ReasonLivemodeMismatch:
		return key + " belongs to a mode that is not served here. Keys, requests and objects are only available within the mode they are in."
	case ReasonContextRequired:
		return "Please include the " + d.Param + " header with your target account when using an Organization API key."
	case ReasonVersionRequired:
		return "Please include the " + d.Param + " header when using an Organization API key."
	case ReasonVersionInvalid:
		return "The " + d.Param + " header must be given once and name a supported API version."
	case ReasonContextInvalid:
		return "The " + d.Param + " header must be given once and name an account, or a path of at most 8 accounts joined by '/', and must not contradict another header."
	case ReasonAccountInvalid:
		return key + " does not have access to account '" + d.Account + "' (or that account does not exist)."
	case ReasonSecretKeyRequired:
		return "This API call cannot be made with a publishable API key. Please use a secret API key."
	case ReasonOriginNotAllowed:
		return "The publishable API key provided does not allow requests from this origin."
	case ReasonPermissionDenied:
		return key + " does not have the required permissions for this endpoint on account '" + d.Account + "'. Enabling '" +
			d.Route.Permission + "' " + d.where() + " would allow this request."
	case ReasonRouteUnknown:
		return key + " does not have the required permissions for this endpoint on account '" + d.Account +
			"'. This is a restricted API key, but the required permissions are not available for use by restricted keys."
	case ReasonRateLimit:
		return "Request rate limit exceeded."
	case ReasonGatewayUnavailable:
		return "API keys cannot be checked at the moment. Please try again later."
	case ReasonUpstreamUnavailable:
		return "The API could not be reached. Please try again later."
	}
	return ""
}

// where says to which list of the key a permission must be added.
func (d *Decision) where() string {
	switch {
	case !d.Connected:
		return "on this key"
	case strings.HasPrefix(d.Owner, "org_"):
		return "on this key, both for the organization's accounts and for connected accounts," // the smaller right wins
	}
	return "for connected accounts on this key"
}

// shown is a mask that may stand in a message: one of a known prefix. Whatever else comes is dropped, so that a caller who
// passes a token by mistake shows no more than its mask.
func shown(s string) string {
	n, _, _ := splitPrefix(s)
	switch {
	case n == 0:
		return ""
	case strings.HasPrefix(s[n:], "****") && len(s) <= n+8 && isVisible(s):
		return s
	}
	return Mask(s)
}
