package policy

// CountsAsUse says whether a request with this decision, as request records name it, was a use of its key by whom it
// belongs to. A refused permission is one: the client is alive and holds the key. Only decisions that lie behind the check
// of the address count: of every other (a preflight, a malformed request, early data, a gateway that could not decide)
// nobody knows whether it came from where the key may be used, and a thief could forge the last use of a key that its
// address limits make useless to him.
func CountsAsUse(decision string) bool { return usingDecisions[decision] }

// usingDecisions lists what counts, so that a reason that is new does not before somebody has thought about it: fail closed.
var usingDecisions = func() map[string]bool {
	using := make(map[string]bool)
	for _, reason := range []Reason{
		ReasonAllowed,
		ReasonLivemodeMismatch,
		ReasonContextRequired, ReasonVersionRequired, ReasonVersionInvalid,
		ReasonContextInvalid, ReasonAccountInvalid,
		ReasonSecretKeyRequired, ReasonOriginNotAllowed,
		ReasonPermissionDenied, ReasonRouteUnknown,
		ReasonRateLimit,           // of a key; who has none has no last use either
		ReasonUpstreamUnavailable, // allowed before the backend was asked
	} {
		using[reason.Code()] = true
	}
	return using
}()
