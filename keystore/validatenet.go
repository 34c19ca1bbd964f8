package keystore

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/keystile/keystile/policy"
)

// ipRanges checks a list of IP ranges and gives its canonical form. Nil stays nil: no restriction.
func (r *rules) ipRanges(param string, list []string) ([]string, error) {
	if list == nil {
		return nil, nil
	}
	networks, err := policy.ParseNetworks(list, r.ipv6Ranges)
	if err != nil {
		if bad, ok := errors.AsType[*policy.NetworkError](err); ok && bad.Index >= 0 {
			return nil, invalid(fmt.Sprintf("%s[%d]", param, bad.Index), "%q: %s", bad.Text, bad.Reason)
		}
		return nil, invalid(param, "%v", err)
	}
	return networks.Strings(), nil
}

// origins checks a list of origins and gives them as browsers send them: scheme and host in lower case, no default port.
func origins(param string, list []string) ([]string, error) {
	if list == nil {
		return nil, nil
	}
	switch {
	case len(list) == 0:
		return nil, invalid(param, "the list is empty: name at least one origin, null lifts the restriction")
	case len(list) > MaxOrigins:
		return nil, invalid(param, "there are %d origins, at most %d are allowed", len(list), MaxOrigins)
	}
	out := make([]string, 0, len(list))
	seen := make(map[string]bool, len(list))
	for i, text := range list {
		at := fmt.Sprintf("%s[%d]", param, i)
		origin, ok := canonicalOrigin(text)
		switch {
		case !ok:
			return nil, invalid(at, "an origin is a scheme and a host, such as https://shop.example.com, without a path")
		case seen[origin]:
			return nil, invalid(at, "the origin %s stands there twice", origin)
		}
		seen[origin] = true
		out = append(out, origin)
	}
	return out, nil
}

func canonicalOrigin(text string) (string, bool) {
	if len(text) > 300 {
		return "", false
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		(u.Path != "" && u.Path != "/") || strings.ContainsAny(text, "*?# \\") {
		return "", false
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if !hostname(host) || strings.HasSuffix(u.Host, ":") {
		return "", false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && !(scheme == "https" && port == "443") && !(scheme == "http" && port == "80") {
		host += ":" + port
	}
	return scheme + "://" + host, true
}

// hostname says whether a lower-case host can stand in an origin: an address, or labels of letters, digits and hyphens.
func hostname(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return host != "" && len(host) <= 253
}
