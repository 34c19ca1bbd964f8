package policy

import (
	"net/netip"
	"time"
)

// Principal is one key's compiled rights: all that Decide needs to know of a key. It is immutable.
type Principal struct {
	KeyID   string
	Kind    Kind
	Mode    Mode
	Owner   string // "acct_…", or "org_…" for an organization key
	Sandbox string // "sbx_…" of an account key in sandbox mode, else ""
	Mask    string // the token as it may be shown: prefix and last four

	Permissions          *Permissions // on the owner's own accounts; nil: unrestricted
	ConnectedPermissions *Permissions // on connected accounts; nil: unrestricted
	Networks             *Networks    // nil: from any address
	Origins              []string     // publishable keys; nil: from any origin

	Ended     bool      // deleted or rotated away
	ExpiresAt time.Time // zero: never
}

// Directory answers what the store knows of accounts. It is asked only when a request names a context, or a key of an
// organization or a version default is at hand. Implementations never block.
type Directory interface {
	// MemberOf says whether the account belongs to the organization.
	MemberOf(account, organization string) bool
	// Connected says whether child is directly connected to parent.
	Connected(parent, child string) bool
	// DefaultVersion is the account's default API version, "" if it has none.
	DefaultVersion(account string) string
	// DefaultSandbox is the id of the account's sandbox named "default", "" if the account is unknown.
	DefaultSandbox(account string) string
}

// Credential is what the request presented.
type Credential uint8

// The states of a credential. The zero value is "none presented".
const (
	CredentialMissing Credential = iota // row 1
	CredentialInvalid                   // row 2: bad grammar, bad checksum, unknown, ambiguous
	CredentialKnown                     // a key was found; Principal is set
)

// Request is what Decide needs to know of a request. It holds no references into net/http.
type Request struct {
	Malformed  bool // row 0: malformed or ambiguous target or header
	BadMethod  bool // row 0: a method that is not served; CONNECT and TRACE are refused in any case
	Credential Credential

	Method string // as received, case-sensitive; an extended CONNECT for WebSocket is judged as the GET that it stands for
	Path   string // decoded, canonical: the path that the backend receives

	Client    netip.Addr // unmapped; the zero value is "unknown", which no range contains
	EarlyData bool       // 0-RTT: the request may be a replay
	Origin    string     // "" if there is no Origin header

	Context      string // the context header
	ContextCount int    // how many lines of it came
	Account      string // the one-hop account header
	AccountCount int
	Version      string // the version header
	VersionCount int
}

// Route is what the catalog says of a method and path.
type Route struct {
	Known       bool
	Resource    string // never "" if Known
	Access      Access // read or write if Known
	Publishable bool
	Pattern     string // as written in the rule, for explanations
	Permission  string // what a restricted key needs, "charges_write"
}

// Decision is the answer on one request. The zero value denies: its Reason is not ReasonAllowed.
type Decision struct {
	Reason    Reason
	Open      bool   // the route is open; allowed also without a key
	Route     Route  // zero if the catalog does not know it
	Account   string // acted on; "" if not resolved
	Owner     string // the key's own account or organization
	Sandbox   string // sandbox acted in, in sandbox mode
	Connected bool   // Account is a connected account of the key's
	Version   string // API version in force, "" if none
	Param     string // the header or parameter at fault, where one is
}
