package keystore

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keystile/keystile/policy"
)

// Limits on what a caller may store. Texts are counted in characters.
const (
	MaxName           = 200
	MaxNote           = 2000
	MaxMetadata       = 50 // pairs
	MaxMetadataKey    = 40
	MaxMetadataValue  = 500
	MaxOrigins        = 100
	MaxVersion        = 64
	MaxResources      = 1000 // in one set of permissions
	MaxSandboxes      = 100  // of one account
	MaxConnections    = 10_000
	MaxImport         = 100_000 // keys in one import
	maxResourceName   = 200
	maxImportedErrors = 100
)

// checkName checks a name that must be there.
func checkName(param, name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return missing(param, "give a name of 1 to %d characters", MaxName)
	case !printable(name, false):
		return invalid(param, "the name holds characters that cannot be printed")
	case utf8.RuneCountInString(name) > MaxName:
		return invalid(param, "the name has more than %d characters", MaxName)
	}
	return checkNoToken(param, name)
}

func checkNote(param, note string) error {
	switch {
	case !printable(note, true):
		return invalid(param, "the note holds characters that cannot be printed")
	case utf8.RuneCountInString(note) > MaxNote:
		return invalid(param, "the note has more than %d characters", MaxNote)
	}
	return checkNoToken(param, note)
}

// printable says whether text is UTF-8 that shows what it holds: no control characters, and none that turn the direction
// of writing or take no room, because a name is shown next to others' in the dashboard.
func printable(text string, lines bool) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if lines && (r == '\n' || r == '\r' || r == '\t') {
			continue
		}
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// checkNoToken refuses a text that holds one of our secret tokens: notes say where a key is kept, and sooner or later
// somebody pastes the key itself. Names and notes stand in events and answers, where no token may.
func checkNoToken(param, text string) error {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r != '_' && !isBase62(string(r)) }) {
		if policy.IsAdminToken(word) {
			return invalid(param, "the text holds an admin token; say where the token is kept, never the token itself")
		}
		if kind, _, class := policy.ParseToken(word); class == policy.TokenOurs && kind != policy.KindPublishable {
			return invalid(param, "the text holds an API key; say where the key is kept, never the key itself")
		}
	}
	return nil
}

func checkMetadata(param string, m map[string]string) error {
	if len(m) > MaxMetadata {
		return invalid(param, "there are %d pairs, at most %d are allowed", len(m), MaxMetadata)
	}
	for key, value := range m {
		switch {
		case key == "" || utf8.RuneCountInString(key) > MaxMetadataKey || !printable(key, false) || strings.ContainsAny(key, "[]"):
			return invalid(param, "a key has 1 to %d printable characters without square brackets", MaxMetadataKey)
		case utf8.RuneCountInString(value) > MaxMetadataValue || !printable(value, true):
			return invalid(param+"["+key+"]", "a value has at most %d printable characters", MaxMetadataValue)
		}
		if err := checkNoToken(param+"["+key+"]", value); err != nil {
			return err
		}
	}
	return nil
}

// checkVersion checks the shape of an API version. What versions exist is the configuration's to say.
func checkVersion(param, version string) error {
	if len(version) > MaxVersion {
		return invalid(param, "the version has more than %d characters", MaxVersion)
	}
	for i := range len(version) {
		if version[i] <= ' ' || version[i] > '~' {
			return invalid(param, "a version consists of visible ASCII characters, such as 2024-06-20")
		}
	}
	return nil
}

// checkPermissions checks the names of a set against the catalog in force.
func (r *rules) checkPermissions(param string, p *policy.Permissions) error {
	if p == nil {
		return nil
	}
	if p.Len() > MaxResources {
		return invalid(param, "there are %d resources, at most %d are allowed", p.Len(), MaxResources)
	}
	for resource := range p.Map() {
		switch {
		case resource == "" || len(resource) > maxResourceName || !printable(resource, false):
			return invalid(param, "the name of a resource has 1 to %d printable characters", maxResourceName)
		case r.resources != nil && !r.resources(resource):
			return invalid(param+"["+resource+"]", "the catalog has no resource of this name")
		}
	}
	return nil
}
