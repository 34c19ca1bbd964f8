package policy

// Reason is why a request was decided as it was: a closed set. Its code is the error code of the answer, the decision of
// the request record, and the label of the metric.
type Reason uint8

// The reasons, in the order of the checks. The zero value is no reason; a decision with it denies (fail closed).
const (
	ReasonNone                Reason = iota
	ReasonAllowed                    // the key may
	ReasonOpen                       // no key, and the route needs none
	ReasonPreflight                  // a CORS preflight, answered by the gateway
	ReasonRequestMalformed           // row 0
	ReasonMethodNotAllowed           // row 0
	ReasonAPIKeyMissing              // row 1
	ReasonAPIKeyInvalid              // row 2
	ReasonAPIKeyExpired              // row 3
	ReasonTooEarly                   // row 4: sent before the handshake was done, which may be a replay from elsewhere
	ReasonIPNotAllowed               // row 4
	ReasonLivemodeMismatch           // row 5
	ReasonContextRequired            // row 6
	ReasonVersionRequired            // row 6
	ReasonVersionInvalid             // row 6
	ReasonContextInvalid             // row 7
	ReasonAccountInvalid             // row 7
	ReasonSecretKeyRequired          // row 8
	ReasonOriginNotAllowed           // row 8
	ReasonPermissionDenied           // row 9
	ReasonRouteUnknown               // row 9
	ReasonRateLimit                  // row 10
	ReasonGatewayUnavailable         // row 11
	ReasonUpstreamUnavailable        // row 12

	reasonCount = iota
)

// Error types, as the clients of the API that this is modelled on know them.
const (
	typeInvalidRequest = "invalid_request_error"
	typeAuthentication = "authentication_error"
	typePermission     = "permission_error"
	typeRateLimit      = "rate_limit_error"
	typeAPI            = "api_error"
)

// reasons is the table of the order of checks: what each reason is called and answers.
var reasons = [reasonCount]struct {
	code      string
	errorType string
	status    int
}{
	ReasonNone:                {"", "", 0},
	ReasonAllowed:             {"allowed", "", 0},
	ReasonOpen:                {"open", "", 0},
	ReasonPreflight:           {"preflight", "", 204},
	ReasonRequestMalformed:    {"request_malformed", typeInvalidRequest, 400},
	ReasonMethodNotAllowed:    {"method_not_allowed", typeInvalidRequest, 405},
	ReasonAPIKeyMissing:       {"api_key_missing", typeInvalidRequest, 401},
	ReasonAPIKeyInvalid:       {"api_key_invalid", typeInvalidRequest, 401},
	ReasonAPIKeyExpired:       {"api_key_expired", typeAuthentication, 401},
	ReasonTooEarly:            {"too_early", typeInvalidRequest, 425},
	ReasonIPNotAllowed:        {"ip_not_allowed", typePermission, 403},
	ReasonLivemodeMismatch:    {"livemode_mismatch", typePermission, 403},
	ReasonContextRequired:     {"context_required", typeInvalidRequest, 400},
	ReasonVersionRequired:     {"version_required", typeInvalidRequest, 400},
	ReasonVersionInvalid:      {"version_invalid", typeInvalidRequest, 400},
	ReasonContextInvalid:      {"context_invalid", typeInvalidRequest, 400},
	ReasonAccountInvalid:      {"account_invalid", typePermission, 403},
	ReasonSecretKeyRequired:   {"secret_key_required", typeInvalidRequest, 403},
	ReasonOriginNotAllowed:    {"origin_not_allowed", typeInvalidRequest, 403},
	ReasonPermissionDenied:    {"permission_denied", typePermission, 403},
	ReasonRouteUnknown:        {"route_unknown", typePermission, 403},
	ReasonRateLimit:           {"rate_limit", typeRateLimit, 429},
	ReasonGatewayUnavailable:  {"gateway_unavailable", typeAPI, 503},
	ReasonUpstreamUnavailable: {"upstream_unavailable", typeAPI, 502},
}

// Reasons lists the whole set, without ReasonNone.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := ReasonAllowed; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// Code is the reason's one name everywhere: "api_key_missing". It is "" for what is no reason.
func (r Reason) Code() string {
	if r >= reasonCount {
		return ""
	}
	return reasons[r].code
}

// Type is the error type of the answer: "invalid_request_error". It is "" for a reason that is no error.
func (r Reason) Type() string {
	if r >= reasonCount {
		return ""
	}
	return reasons[r].errorType
}

// Status is the HTTP status of the answer: 204 for a preflight, and 0 where the backend answers.
func (r Reason) Status() int {
	if r >= reasonCount {
		return 0
	}
	return reasons[r].status
}

// String is the code.
func (r Reason) String() string { return r.Code() }
