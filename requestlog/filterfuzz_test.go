package requestlog

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// FuzzParseFilter has any text for any two filters. What is refused is refused with a sentence that names the filter and shows no token; what
// is taken is bounded, selects by what it says, and, where it is a time before now, lies before now.
func FuzzParseFilter(f *testing.F) {
	names := append(FilterNames(), "nothing", "")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, value := range []string{
		"4xx", "403", "0", "999", "-1", "1e3", "/v1/*", "*", "203.0.113.7", "203.0.113.0/24", "::ffff:1.2.3.4/120", "fe80::1%eth0", "90m", "24h", "30d", "999999999d",
		"2026-11-01", "2026-11-01T00:00:00Z", "live", "test", "req_2F4QktyVOPggPvHaFWp", "get", "\xff", "sk_live_0123456789abcdef",
	} {
		f.Add(uint8(i), value, uint8(i+7), "live")
		f.Add(uint8(i+11), value, uint8(i), value)
	}
	f.Fuzz(func(t *testing.T, first uint8, value string, second uint8, other string) {
		values := map[string][]string{names[int(first)%len(names)]: {value}}
		values[names[int(second)%len(names)]] = []string{other}
		filter, err := ParseFilter(values, now)
		if err != nil {
			var wrong *FilterError
			if !errors.As(err, &wrong) || wrong.Param != "until" && values[wrong.Param] == nil {
				t.Fatalf("%q: %v", values, err)
			}
			if text := err.Error(); LooksLikeToken(text) || len(text) > 4096 {
				t.Fatalf("%q: %q", values, text)
			}
			return
		}
		for name, v := range values {
			if len(v[0]) > maxFilterBytes || v[0] == "" || LooksLikeToken(v[0]) {
				t.Fatalf("%s takes %q", name, v[0])
			}
		}
		if filter.StatusMin > filter.StatusMax || filter.StatusMax > 999 || filter.Client.IsValid() && (filter.Client.Addr().Is4In6() || filter.Client != filter.Client.Masked()) {
			t.Fatalf("%q gives %+v", values, filter)
		}
		for _, at := range []time.Time{filter.Since, filter.Until} {
			if !at.IsZero() && at.Year() > 9999 {
				t.Fatalf("%q gives the time %v", values, at)
			}
		}
		// It answers for any record, and what it selects by text is what the record says.
		r := &Record{ID: "req_2F4QktyVOPggPvHaFWp", Time: now, Mode: "live", Status: 403, Path: "/v1/charges", Decision: "permission_denied"}
		if filter.Match(r) && (filter.Mode == "sandbox" || filter.StatusMax != 0 && (filter.StatusMin > 403 || filter.StatusMax < 403) ||
			filter.Path != "" && !strings.Contains(filter.Path, "*") && !strings.HasPrefix(r.Path, filter.Path)) {
			t.Fatalf("%q selects %+v", values, r)
		}
	})
}
