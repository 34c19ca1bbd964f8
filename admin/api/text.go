package api

import "github.com/keystile/keystile/policy"

// shown is a name that the caller chose, such as an unknown field's, as an error may repeat it: visible ASCII, cut, and
// masked if somebody put a token where a name belongs.
func shown(name string) string {
	if _, _, class := policy.ParseToken(name); class == policy.TokenOurs || class == policy.TokenBadChecksum {
		return policy.Mask(name)
	}
	return printable(name, 64)
}
