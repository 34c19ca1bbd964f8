package keystore

import "time"

// Account owns keys and sandboxes. It may belong to one organization, and it may be a platform with connected accounts.
// It is a constant once stored.
type Account struct {
	ID             string // acct_…
	Name           string
	Organization   string    // org_…, "" if it stands alone
	DefaultVersion string    // API version of requests that name none, "" if it has none
	Connections    []string  // ids of the directly connected accounts, sorted; nil: none
	DefaultSandbox string    // id of the sandbox named "default"
	RateLimit      RateLimit // its own limits
	CreatedAt      time.Time // UTC, whole milliseconds
	Revision       uint64    // of the commit that wrote it
}

// AccountParams is a new account.
type AccountParams struct {
	Name           string // required, 1 to 200 printable characters
	Organization   string // optional; must exist
	DefaultVersion string // optional, at most 64 visible ASCII characters
	RateLimit      RateLimit
}

// AccountPatch changes an account. Absent fields stay as they are; null takes the account out of its organization, or
// takes its default version away. The name cannot be null.
type AccountPatch struct {
	Name, Organization, DefaultVersion Field[string]
	RateLimit                          Field[RateLimit] // null: as the configuration says
	IfRevision                         uint64           // the revision that the account must have; 0: whatever it is
}
