package policy

// CountsAsUse says whether a request with this decision, as request records name it, was a use of its key by whom it
// belongs to. A refused permission is one: the client is alive and holds the key. A key that has ended is not in use, and
// neither is one that somebody tries from an address outside its ranges.
func CountsAsUse(decision string) bool {
	switch decision {
	case ReasonAPIKeyExpired.String(), ReasonIPNotAllowed.String():
		return false
	}
	return true
}
