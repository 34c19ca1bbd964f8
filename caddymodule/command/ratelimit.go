package command

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/keystile/keystile/admin/api"
)

// addAccountRate adds the flag of an account's own rate limits.
func addAccountRate(fs *pflag.FlagSet) {
	fs.String("rate-limit", "", "Requests a second, as `N` for both modes, or as live=N,sandbox=N")
}

// setAccountRate sets rate_limit from --rate-limit and --no-rate-limit.
func (b body) setAccountRate(fs *pflag.FlagSet) error {
	set, err := b.liftRate(fs)
	if err != nil || !set {
		return err
	}
	text, _ := fs.GetString("rate-limit")
	if !strings.Contains(text, "=") {
		b["rate_limit"], err = rate(text)
		return err
	}
	limits := make(map[string]uint64)
	for pair := range strings.SplitSeq(text, ",") {
		mode, number, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if mode != "live" && mode != "sandbox" {
			return misuse("--rate-limit %q: want live=N, sandbox=N or both, separated by a comma", text)
		}
		if _, twice := limits[mode]; twice {
			return misuse("--rate-limit names %s twice", mode)
		}
		if limits[mode], err = rate(number); err != nil {
			return err
		}
	}
	b["rate_limit"] = limits
	return nil
}

// setKeyRate sets rate_limit of a key, which has one mode.
func (b body) setKeyRate(fs *pflag.FlagSet) error {
	set, err := b.liftRate(fs)
	if err != nil || !set {
		return err
	}
	text, _ := fs.GetString("rate-limit")
	b["rate_limit"], err = rate(text)
	return err
}

// liftRate takes the limit away if --no-rate-limit says so, and says whether --rate-limit sets one.
func (b body) liftRate(fs *pflag.FlagSet) (set bool, err error) {
	set = fs.Changed("rate-limit")
	lift := false
	if fs.Lookup("no-rate-limit") != nil {
		lift, _ = fs.GetBool("no-rate-limit")
	}
	if lift && set {
		return false, misuse("--rate-limit and --no-rate-limit exclude each other")
	}
	if lift {
		b["rate_limit"] = nil
	}
	return set, nil
}

// rate is a number of requests a second. How high it may be is for the server to say. There is no 0: whoever means to shut
// somebody out deletes the key.
func rate(text string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil || n == 0 {
		return 0, misuse("--rate-limit %q: want a whole number of requests a second, 1 or more", text)
	}
	return n, nil
}

// rateText is an account's own limits for people, "" if it has none.
func rateText(r *api.RateLimits) string {
	if r == nil {
		return ""
	}
	var limits []string
	for _, l := range []struct {
		mode  string
		limit *uint32
	}{{"live", r.Live}, {"sandbox", r.Sandbox}} {
		if l.limit != nil {
			limits = append(limits, l.mode+" "+strconv.FormatUint(uint64(*l.limit), 10)+"/s")
		}
	}
	return strings.Join(limits, ", ")
}

// keyRateText is a key's own limit for people, "" if it has none.
func keyRateText(limit *uint32) string {
	if limit == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*limit), 10) + "/s"
}
