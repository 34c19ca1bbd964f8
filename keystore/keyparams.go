package keystore

import (
	"time"

	"github.com/keystile/keystile/policy"
)

// KeyParams is a new key. Kind, Mode and exactly one owner are required.
type KeyParams struct {
	Kind                 policy.Kind
	Mode                 policy.Mode
	Account              string
	Organization         string
	Sandbox              string              // "" in sandbox mode: the account's default sandbox
	Name, Note           string              // at most 200 and 2,000 characters; the name is required for restricted keys
	Permissions          *policy.Permissions // organization keys: nil is unrestricted. Restricted keys: nil is none
	ConnectedPermissions *policy.Permissions
	IPRanges             []string // nil: no restriction; an empty list is refused
	AllowedOrigins       []string // publishable keys only; nil: no restriction; an empty list is refused
	ExpiresAt            time.Time
	Metadata             map[string]string // at most 50 pairs, keys of 40 and values of 500 characters
	RateLimit            uint32            // requests a second; 0: its account's limit
}

// KeyPatch changes a key. Absent fields stay as they are. Null takes note, metadata, expiry, IP ranges and origins away;
// a null name stands for the name that the kind has by default. Null permissions are refused for restricted keys.
type KeyPatch struct {
	Name, Note           Field[string]
	Permissions          Field[*policy.Permissions]
	ConnectedPermissions Field[*policy.Permissions]
	IPRanges             Field[[]string]
	AllowedOrigins       Field[[]string]
	ExpiresAt            Field[time.Time]
	Metadata             Field[map[string]string] // merged pair by pair; an empty value removes its pair
	RateLimit            Field[uint32]            // null: its account's limit
	IfRevision           uint64                   // the revision that the key must have; 0: whatever it is
}

// RotateParams says how a key is rotated.
type RotateParams struct {
	ExpiresAt  time.Time // when the old key ends: zero: now; else at most 7 days on
	IfRevision uint64    // the revision that the key must have; 0: whatever it is
}

// ImportParams is one imported key: a token in any spelling, or its digest.
type ImportParams struct {
	KeyParams
	Token  policy.Token  // zero if Digest is set
	Digest policy.Digest // SHA-256 of the token; zero if Token is set
	Last4  string        // with Digest: the token's last four characters, for its mask; "" if not known
	Wrong  *Error        // what the caller has found wrong with the row, to be listed with what is found here
}

// Page asks for one page of a list, newest first.
type Page struct {
	Limit         int    // 1 to 100; 0: 10
	StartingAfter string // the id of the last row seen; "": from the start
}

// KeyFilter narrows a list of keys. Zero fields do not narrow.
type KeyFilter struct {
	Account, Organization string
	Mode                  policy.Mode
	Kind                  policy.Kind
	Sandbox               string
	Status                Status
	Within                func(*Key) bool // further rows to leave out: what the caller may not see; nil: none. It must be fast, and keep no key
	Query                 string          // substring of name, note, id or last four, case-insensitive
}
