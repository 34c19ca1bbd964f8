package auth

import (
	"fmt"
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// Caller is who calls: the actor that events name, a role, and perhaps a limit. The zero Caller may do nothing.
type Caller struct {
	Actor        keystore.Actor
	Role         keystore.Role
	Organization string    // limited to this organization, its member accounts and what is theirs; "": not
	Account      string    // limited to this account; "": not. At most one of the two is set
	ExpiresAt    time.Time // when the credential ends; zero: never
	Session      string    // ses_… of a signed-in member; "": a machine

	root  bool
	valid func() bool
}

// Root is the machine's administrator: whoever reaches Caddy's admin endpoint. Everything is allowed, and no table is asked.
func Root(actor keystore.Actor) *Caller {
	return &Caller{Actor: actor, Role: keystore.RoleOwner, root: true}
}

// Refusal is why a call is not made. It is fit to be answered.
type Refusal struct {
	Status     int // 400, 401, 403, 404, 409, 429 or 503
	Code       string
	Param      string // the field at fault, "" if none is
	Message    string
	RetryAfter time.Duration // of a 429
	Guess      bool          // a 401 for a credential that nobody has: somebody may be trying out
}

// Error is the message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// The codes of refusals.
const (
	CodeRequired  = "authentication_required"
	CodeInvalid   = "admin_token_invalid"
	CodeExpired   = "admin_token_expired"
	CodeLocked    = "rate_limit"
	CodeRole      = "role_insufficient"
	CodeLimit     = "scope_insufficient"
	CodeUndecided = "operation_not_open"

	// Of members.
	CodeCredentials  = "credentials_invalid"
	CodeTOTPRequired = "totp_required"
	CodeTOTP         = "totp_invalid"
	CodeEnrolled     = "totp_enrolled"
	CodeNotEnrolled  = "totp_not_enrolled"
	CodePassword     = "password_refused"
	CodeInvitation   = "invitation_invalid"
	CodeScope        = "scope_required"
	CodeNoSession    = "session_required"
	CodeContentType  = "content_type_unsupported"
	CodeSignInAgain  = "sign_in_again"
	CodeProviderAway = "identity_provider_unavailable"

	// Of verification codes.
	CodeVerificationRequired    = "verification_required"
	CodeVerificationUnavailable = "verification_unavailable"
	CodeVerificationMismatch    = "verification_mismatch"
	CodeVerificationCode        = "verification_code_invalid"
	CodeVerificationOver        = "verification_invalid"
	CodeNotSent                 = "verification_not_sent"
)

func forbidden(code, format string, args ...any) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Limited says whether there is anything that the caller does not see.
func (c *Caller) Limited() bool { return c.Organization != "" || c.Account != "" }

// limit names what the caller is limited to.
func (c *Caller) limit() string {
	if c.Organization != "" {
		return "organization '" + c.Organization + "'"
	}
	return "account '" + c.Account + "'"
}

// SeesTokens says whether answers may hold tokens, publishable ones included.
func (c *Caller) SeesTokens() bool { return c.Role.Includes(keystore.RoleDeveloper) }

// While sets what says, at any later moment, whether the credential is still good, and answers the caller. Without it none is:
// fail closed.
func (c *Caller) While(valid func() bool) *Caller {
	c.valid = valid
	return c
}

// Still says whether the credential is good at this moment. Streams ask it, since they outlast the check at their start.
func (c *Caller) Still() bool { return c.root || c.valid != nil && c.valid() }

// May says whether the caller may make a call, by the id of its operation. What the call is about is another question.
func (c *Caller) May(operation string) error {
	rule, ok := table[operation]
	switch {
	case ok && rule.Self && c.Session == "":
		return forbidden(CodeNoSession, "this call is about a signed-in member: sign in first")
	case ok && rule.Self, c.root:
		return nil
	case !ok:
		// Fail closed: somebody added a call and did not say who may make it.
		return forbidden(CodeUndecided, "this call is open only at the gateway's own admin endpoint")
	case c.Session != "" && c.Role == "":
		r := forbidden(CodeScope, "you have several roles: say in the header %s which of them this is for, as installation or by the id of an organization or an account", ScopeHeader)
		r.Param = ScopeHeader
		return r
	case !c.Role.Includes(rule.Role):
		return forbidden(CodeRole, "the role %s may not make this call: it needs %s", c.Role, rule.Role)
	case rule.Reach == Everything && c.Limited(),
		rule.Reach == Organization && c.Account != "":
		return forbidden(CodeLimit, "this call reaches beyond %s, to which you are limited", c.limit())
	}
	return nil
}

// Covers says whether what belongs to the account or the organization is the caller's to see. Give one of them; what
// belongs to neither is for unlimited callers only.
func (c *Caller) Covers(d policy.Directory, account, organization string) bool {
	switch {
	case c.Account != "":
		return account == c.Account
	case c.Organization == "":
		return c.root || c.Role != ""
	case account != "":
		return d.MemberOf(account, c.Organization)
	}
	return organization == c.Organization
}

// MayGrant says whether the caller may make or take away an admin token or a member's grant with these rights: none that
// reaches further than the caller, and owners are for owners. What it is limited to must be covered; that is for the caller
// of this to check first.
func (c *Caller) MayGrant(role keystore.Role, organization, account string) error {
	if !c.Role.Includes(role) {
		r := forbidden(CodeRole, "the role %s may not handle what has the role %s: nobody hands on more than they have", c.Role, role)
		r.Param = "role"
		return r
	}
	if c.Limited() && organization == "" && account == "" {
		return forbidden(CodeLimit, "what has no limit reaches beyond %s: limit it to that or to less", c.limit())
	}
	if c.Account != "" && organization != "" {
		return forbidden(CodeLimit, "what is on an organization reaches beyond %s", c.limit())
	}
	return nil
}

// MayLast says whether the caller may make a token that ends then (zero: never): none outlives its maker's.
func (c *Caller) MayLast(expires time.Time) error {
	if c.ExpiresAt.IsZero() || !expires.IsZero() && !expires.After(c.ExpiresAt) {
		return nil
	}
	r := forbidden(CodeLimit, "a token may not outlive the one that makes it: give expires_at, not after %s", c.ExpiresAt.Format(time.RFC3339))
	r.Param = "expires_at"
	return r
}

// Self says whether the caller is a signed-in member who may make calls about themselves only.
func (c *Caller) Self() bool { return c.Session != "" && c.Role == "" }
