package requestlog

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FilterError says which filter is wrong, and how it would be right.
type FilterError struct {
	Param  string // the filter's name
	Reason string
}

func (e *FilterError) Error() string { return e.Param + ": " + e.Reason }

// quoted is a caller's value as a message may repeat it: short, printable, without a token.
func quoted(value string) string { return strconv.Quote(cutText(ScrubTokens(value), 64)) }

// maxFilterBytes bounds one filter's value.
const maxFilterBytes = 2048

// specialFilters are the filters that are more than "this column has exactly this text".
var specialFilters = map[string]func(f *Filter, value string, now time.Time) error{
	"request_id": func(f *Filter, value string, _ time.Time) error {
		if !ValidID(value) {
			return fmt.Errorf("%s is not a request id (req_ and %d characters)", quoted(value), idLen-prefixLen)
		}
		f.RequestID = value
		return nil
	},
	"path": func(f *Filter, value string, _ time.Time) error {
		if value[0] != '/' && value[0] != '*' {
			return fmt.Errorf("%s must begin with / (a prefix, or a pattern with *)", quoted(value))
		}
		f.Path = value
		return nil
	},
	"status": func(f *Filter, value string, _ time.Time) (err error) {
		f.StatusMin, f.StatusMax, err = parseStatus(value)
		return err
	},
	"client_address": func(f *Filter, value string, _ time.Time) (err error) {
		f.Client, err = parsePrefix(value)
		return err
	},
	"since": func(f *Filter, value string, now time.Time) (err error) {
		f.Since, err = parseTime(value, now)
		return err
	},
	"until": func(f *Filter, value string, now time.Time) (err error) {
		f.Until, err = parseTime(value, now)
		return err
	},
}

// FilterNames lists the names that ParseFilter knows, sorted.
func FilterNames() []string {
	names := slices.Collect(maps.Keys(specialFilters))
	for _, c := range filterColumns {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// ParseFilter reads filters by name, as of a URL query or of command-line flags. status takes "403" or "4xx"; path a prefix
// or a pattern with "*"; client_address an address or a CIDR range; since and until a time (RFC 3339), a date, or a
// duration before now ("90m", "24h", "30d"). An unknown name, an empty value or a name given twice is a *FilterError: a
// filter that is silently ignored would show more than was asked for. So is a value that looks like a token: it could only
// be there by mistake, and filters come in URLs.
func ParseFilter(values map[string][]string, now time.Time) (Filter, error) {
	var f Filter
	for _, name := range slices.Sorted(maps.Keys(values)) {
		special, c := specialFilters[name], columnByName[name]
		if special == nil && (c == nil || c.filter == nil) {
			return Filter{}, &FilterError{name, "unknown filter; known are " + strings.Join(FilterNames(), ", ")}
		}
		if len(values[name]) != 1 || values[name][0] == "" {
			return Filter{}, &FilterError{name, "must be given once, with a value"}
		}
		value := values[name][0]
		if len(value) > maxFilterBytes {
			return Filter{}, &FilterError{name, fmt.Sprintf("is longer than %d bytes", maxFilterBytes)}
		}
		if LooksLikeToken(value) {
			return Filter{}, &FilterError{name, "looks like a token, which no record holds; search for the key's id or for its mask, and replace the key if the token was a real one"}
		}
		switch {
		case special != nil:
			if err := special(&f, value, now); err != nil {
				return Filter{}, &FilterError{name, err.Error()}
			}
		case name == "method":
			f.Method = strings.ToUpper(value)
		case name == "mode" && value != "live" && value != "sandbox":
			return Filter{}, &FilterError{name, quoted(value) + " must be live or sandbox"}
		default:
			*c.filter(&f) = value
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return Filter{}, &FilterError{"until", "must be later than since"}
	}
	return f, nil
}

func parseStatus(s string) (low, high int, err error) {
	if class, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok && len(class) == 1 && class[0] >= '1' && class[0] <= '5' {
		low = int(class[0]-'0') * 100
		return low, low + 99, nil
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 100 || v > 999 {
		return 0, 0, fmt.Errorf("%s is not a status; write 403, or 4xx for all of a class", quoted(s))
	}
	return v, v, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	wrong := fmt.Errorf("%s is not an address or a range; write 203.0.113.7 or 203.0.113.0/24", quoted(s))
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, wrong
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, wrong
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func parseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.UTC().AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.UTC().Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%s is not a time; write 2006-01-02T15:04:05Z, 2006-01-02, or how long ago: 90m, 24h, 30d", quoted(s))
}
