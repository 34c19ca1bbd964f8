package keystore

import (
	"time"

	"github.com/keystile/keystile/policy"
)

// Status is what a key is worth at a moment.
type Status string

// The states of a key.
const (
	StatusActive   Status = "active"
	StatusExpiring Status = "expiring" // an end is set and not reached (rotation overlap or expires_at)
	StatusExpired  Status = "expired"  // its end has passed, or it was rotated away
	StatusDeleted  Status = "deleted"
)

// Key is one API key. It is a constant once stored. It never holds its token in clear, unless it is publishable.
//
// A million of these may be known, most of them as records in the base (see [keyBase]) until somebody asks.
type Key struct {
	ID           string // key_…
	Account      string // acct_…; exactly one of Account and Organization is set
	Organization string // org_…
	Sandbox      string // sbx_…, of account keys in sandbox mode, else ""
	Name, Note   string
	Metadata     map[string]string // nil: none

	Mask        string // the token as it may be shown: "sk_live_****abcd"
	PublicToken string // publishable keys only: the token in clear
	Digest      policy.Digest
	Kind        policy.Kind
	Mode        policy.Mode
	Default     bool // one of the standard keys: made with its account or sandbox, or the successor of such a key
	Imported    bool // its token was made elsewhere
	Deleted     bool

	IPRanges       []string // canonical text; nil: no restriction
	AllowedOrigins []string // nil: no restriction

	CreatedAt   time.Time // UTC, whole milliseconds, as all times here
	CreatedBy   string    // the actor: its name, or id, or kind
	ExpiresAt   time.Time // zero: never
	EndedAt     time.Time // deleted, rotated away, or past its expiry as soon as that is written down; zero: not
	Predecessor string    // key id: the key that this one replaced
	Successor   string    // key id: the key that replaced this one
	Revision    uint64    // of the commit that wrote it

	version uint32 // of the key in this process, see current

	RateLimit uint32 // requests a second that this key may make, in place of its account's limit; 0: it has none of its own

	Schedule *RotationSchedule // nil: it is not rotated by itself

	// Principal is the compiled form of the rights above; Permissions and ConnectedPermissions live there only.
	Principal policy.Principal

	revealed bool       // the one reveal has been used up
	sealed   string     // the token under the master keyset; "": cannot be revealed any more, or never could
	usage    *usageCell // shared by all versions of the key
}

// current says whether this is still the newest version of the key. The writer numbers the versions of each key, and notes
// the newest in the cell that they share before any snapshot shows it: so that a copy of an older one, wherever it lies,
// is known for what it is from the moment on in which the change is visible. It is one atomic load.
func (k *Key) current() bool { return k.usage.version.Load() == k.version }

// Owner is the id of the account or the organization that holds the key.
func (k *Key) Owner() string {
	if k.Organization != "" {
		return k.Organization
	}
	return k.Account
}

// Status is the state of the key at now.
func (k *Key) Status(now time.Time) Status {
	switch {
	case k.Deleted:
		return StatusDeleted
	case k.Ended(now):
		return StatusExpired
	case !k.ExpiresAt.IsZero():
		return StatusExpiring
	}
	return StatusActive
}

// Ended says whether the key is deleted, rotated away, or past its expiry at now. An ended key never works again, also if
// the clock is set back; see expiry.go.
func (k *Key) Ended(now time.Time) bool {
	return k.Deleted || !k.EndedAt.IsZero() || k.pastEnd(now)
}

// Remaining is how long the key still works at now, as far as its end is known: 0 if it has none, or has ended.
func (k *Key) Remaining(now time.Time) time.Duration {
	if k.ExpiresAt.IsZero() || k.Ended(now) {
		return 0
	}
	return k.ExpiresAt.Sub(now)
}

// Revealable says whether [Store.RevealKey] would answer with the token, as long as the key has not expired. A publishable
// token is public and always shown.
func (k *Key) Revealable() bool {
	return k.PublicToken != "" || (k.sealed != "" && !k.Deleted && k.EndedAt.IsZero())
}
