package keystore

import "github.com/keystile/keystile/policy"

// MaxRateLimit is the highest rate limit, in requests a second.
const MaxRateLimit = 1_000_000

// RateLimit is how many requests a second an account may make in each mode. 0: as the configuration says.
type RateLimit struct{ Live, Sandbox uint32 }

// Of is the limit of a mode.
func (r RateLimit) Of(mode policy.Mode) uint32 {
	if mode == policy.ModeLive {
		return r.Live
	}
	return r.Sandbox
}

func checkRateLimit(param string, limit uint32) error {
	if limit > MaxRateLimit {
		return invalid(param, "a rate limit is from 1 to %d requests a second", MaxRateLimit)
	}
	return nil
}

func (r RateLimit) check(param string) error {
	if err := checkRateLimit(param+".live", r.Live); err != nil {
		return err
	}
	return checkRateLimit(param+".sandbox", r.Sandbox)
}

// AccountRateLimit is the account's own rate limit in a mode, 0 if it has none. Like the directory it takes no lock and does
// not allocate.
func (s *Store) AccountRateLimit(account string, mode policy.Mode) uint32 {
	if a := s.directory.account(account); a != nil {
		return a.RateLimit.Of(mode)
	}
	return 0
}

func putRateLimit(m map[string]any, r RateLimit) {
	if r == (RateLimit{}) {
		return
	}
	limit := map[string]any{}
	if r.Live > 0 {
		limit["live"] = r.Live
	}
	if r.Sandbox > 0 {
		limit["sandbox"] = r.Sandbox
	}
	m["rate_limit"] = limit
}

func decodeLimit(value []byte) (uint32, error) {
	n, err := decodeUint(value)
	return uint32(min(n, MaxRateLimit)), err
}
