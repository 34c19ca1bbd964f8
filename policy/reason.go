package policy

// Reason is why a request was decided as it was: a closed set. Its code is the error code of the answer, the decision of the
// request record, and the label of the metric.
type Reason uint8

// The reasons. The zero value is no reason; a decision with it denies (fail closed).
const (
	ReasonNone Reason = iota
	ReasonAllowed
	ReasonOpen
	ReasonPreflight
	ReasonRequestMalformed
	ReasonMethodNotAllowed
	ReasonAPIKeyMissing
	ReasonAPIKeyInvalid
	ReasonAPIKeyExpired
	ReasonIPNotAllowed
	ReasonTooEarly
	ReasonLivemodeMismatch
	ReasonContextRequired
	ReasonVersionRequired
	ReasonVersionInvalid
	ReasonContextInvalid
	ReasonAccountInvalid
	ReasonSecretKeyRequired
	ReasonOriginNotAllowed
	ReasonPermissionDenied
	ReasonRouteUnknown
	ReasonRateLimit
	ReasonGatewayUnavailable
	ReasonUpstreamUnavailable
)
