package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/caddyserver/caddy/v2"
)

// body is a JSON request under construction. A field that is absent is left alone by the API, null lifts or removes.
type body map[string]any

// setText sets a field from a text flag, if the flag was given. An empty text is null where emptyIsNull.
func (b body) setText(fs *pflag.FlagSet, flag, name string, emptyIsNull bool) {
	if !fs.Changed(flag) {
		return
	}
	text, _ := fs.GetString(flag)
	if text == "" && emptyIsNull {
		b[name] = nil
		return
	}
	b[name] = text
}

// setPermissions sets a field from the flags single (repeatable) and plural: `resource=access` pairs, by commas or
// repeated, or alone `none` (no permission at all, an empty object) or `all` (unrestricted, null: organization keys).
func (b body) setPermissions(fs *pflag.FlagSet, single, plural, name string) error {
	var pairs []string
	for _, flag := range []string{single, plural} {
		values, _ := fs.GetStringArray(flag)
		for _, value := range values {
			for pair := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
				pairs = append(pairs, pair)
			}
		}
		if fs.Changed(flag) && len(pairs) == 0 {
			return misuse("--%s is empty: want resource=access pairs, or none", flag)
		}
	}
	switch {
	case len(pairs) == 0:
		return nil
	case len(pairs) == 1 && pairs[0] == "none":
		b[name] = map[string]string{}
		return nil
	case len(pairs) == 1 && pairs[0] == "all":
		b[name] = nil
		return nil
	}
	permissions, err := parsePermissions(pairs)
	if err != nil {
		return misuse("--%s %v", single, err)
	}
	b[name] = permissions
	return nil
}

// parsePermissions reads `resource=access` pairs. A resource that is named twice is a mistake, not a choice.
func parsePermissions(pairs []string) (map[string]string, error) {
	permissions := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		resource, access, ok := strings.Cut(pair, "=")
		if !ok || resource == "" {
			return nil, fmt.Errorf("%q: want resource=access, such as charges=write", pair)
		}
		if access != "none" && access != "read" && access != "write" {
			return nil, fmt.Errorf("%q: the access is none, read or write", pair)
		}
		if before, twice := permissions[resource]; twice && before != access {
			return nil, fmt.Errorf("%q: %s was given as %s before", pair, resource, before)
		}
		permissions[resource] = access
	}
	return permissions, nil
}

// setIPRanges sets ip_ranges from --ip (repeatable), --ip-ranges (one text, or - for standard input) and
// --no-ip-restriction. Which addresses are right is for the server to say, by position.
func (b body) setIPRanges(c *call) error {
	fs := c.flags()
	list, _ := fs.GetStringArray("ip")
	lift := false
	if fs.Lookup("no-ip-restriction") != nil {
		lift, _ = fs.GetBool("no-ip-restriction")
	}
	if exclusive(len(list) > 0, fs.Changed("ip-ranges"), lift) > 1 {
		return misuse("--ip, --ip-ranges and --no-ip-restriction exclude each other")
	}
	switch {
	case lift:
		b["ip_ranges"] = nil
	case len(list) > 0:
		b["ip_ranges"] = list
	case fs.Changed("ip-ranges"):
		text, _ := fs.GetString("ip-ranges")
		if text == "-" {
			data, err := c.stdin("the IP ranges")
			if err != nil {
				return err
			}
			text = string(data)
		}
		if strings.TrimSpace(text) == "" {
			// Fail closed: an empty file must not lift a restriction.
			return misuse("--ip-ranges is empty; to lift the restriction, edit the key with --no-ip-restriction")
		}
		b["ip_ranges"] = text
	}
	return nil
}

// setOrigins sets allowed_origins from --origin (repeatable) and --no-origin-restriction.
func (b body) setOrigins(fs *pflag.FlagSet) error {
	list, _ := fs.GetStringArray("origin")
	lift := false
	if fs.Lookup("no-origin-restriction") != nil {
		lift, _ = fs.GetBool("no-origin-restriction")
	}
	switch {
	case lift && len(list) > 0:
		return misuse("--origin and --no-origin-restriction exclude each other")
	case lift:
		b["allowed_origins"] = nil
	case len(list) > 0:
		b["allowed_origins"] = list
	}
	return nil
}

// setExpiry sets expires_at from --expires-at (a time), --expire-in (a duration from now) and --no-expiry.
func (b body) setExpiry(c *call) error {
	fs := c.flags()
	lift := false
	if fs.Lookup("no-expiry") != nil {
		lift, _ = fs.GetBool("no-expiry")
	}
	if exclusive(fs.Changed("expires-at"), fs.Changed("expire-in"), lift) > 1 {
		return misuse("--expires-at, --expire-in and --no-expiry exclude each other")
	}
	switch {
	case lift:
		b["expires_at"] = nil
	case fs.Changed("expires-at"):
		text, _ := fs.GetString("expires-at")
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return misuse("--expires-at %q: want a time such as 2027-01-31T12:00:00Z", text)
		}
		b["expires_at"] = at.UTC().Format(time.RFC3339Nano)
	case fs.Changed("expire-in"):
		text, _ := fs.GetString("expire-in")
		d, err := caddy.ParseDuration(text) // as Go's, and d for days
		if err != nil || d <= 0 {
			return misuse("--expire-in %q: want a duration such as 24h or 7d", text)
		}
		b["expires_at"] = c.now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	return nil
}

// setMetadata sets metadata from --metadata NAME=VALUE (repeatable) and --no-metadata.
func (b body) setMetadata(fs *pflag.FlagSet) error {
	pairs, _ := fs.GetStringArray("metadata")
	clear := false
	if fs.Lookup("no-metadata") != nil {
		clear, _ = fs.GetBool("no-metadata")
	}
	if clear && len(pairs) > 0 {
		return misuse("--metadata and --no-metadata exclude each other")
	}
	if clear {
		b["metadata"] = nil
		return nil
	}
	if len(pairs) == 0 {
		return nil
	}
	metadata := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return misuse("--metadata %q: want NAME=VALUE", pair)
		}
		if _, twice := metadata[name]; twice {
			return misuse("--metadata names %q twice", name)
		}
		metadata[name] = value
	}
	b["metadata"] = metadata
	return nil
}

// exclusive counts the conditions that hold.
func exclusive(conditions ...bool) int {
	n := 0
	for _, holds := range conditions {
		if holds {
			n++
		}
	}
	return n
}
