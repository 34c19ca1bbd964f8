package keystore

import (
	"slices"
	"strings"
	"time"

	"github.com/keystile/keystile/policy"
)

// Member is a person who manages keys. It is a constant once stored; a deleted one is gone, and the events tell of it. What
// a member signs in with is kept sealed: see [Store.MemberCredentials].
type Member struct {
	ID        string // mem_…
	Name      string
	Email     string  // lower case; "" only for an owner who was invited without one and has not come yet
	Grants    []Grant // in order, at least one, no two on the same
	CreatedAt time.Time
	CreatedBy string
	Revision  uint64 // of the commit that wrote it

	Active       bool          // has accepted an invitation
	EmailProven  bool          // the member has shown that the address is theirs
	InvitedUntil time.Time     // an invitation is open until then; zero: none is
	Invitation   policy.Digest // of the invitation's token; zero: none is open
	Mailed       bool          // the open invitation went to the address and to nobody else
	HasPassword  bool
	HasTOTP      bool // an authenticator app is enrolled
	Recovery     int  // recovery codes that are left

	sealed string // credentials
}

// Grant is one role of a member, and on what. At most one of Organization and Account is set; none: on the installation.
type Grant struct {
	Role         Role
	Organization string // the organization, its member accounts and what is theirs
	Account      string
}

// On is what the grant is on: an id, or "" for the installation.
func (g Grant) On() string {
	if g.Organization != "" {
		return g.Organization
	}
	return g.Account
}

// owns says whether the grant is the greatest there is.
func (g Grant) owns() bool { return g == Grant{Role: RoleOwner} }

// Owner says whether the member owns the whole installation.
func (m *Member) Owner() bool { return slices.ContainsFunc(m.Grants, Grant.owns) }

// Widens says whether there is a grant in next that the grants before do not include.
func Widens(before, next []Grant) bool {
	return slices.ContainsFunc(next, func(g Grant) bool {
		return !slices.ContainsFunc(before, func(has Grant) bool {
			return (has.On() == "" || has.On() == g.On()) && has.Role.Includes(g.Role)
		})
	})
}

// voidInvitation ends an open invitation: its token opens nothing any more.
func (m *Member) voidInvitation() {
	m.Invitation, m.InvitedUntil, m.Mailed = policy.Digest{}, time.Time{}, false
}

// Invited says whether an invitation is open at now.
func (m *Member) Invited(now time.Time) bool {
	return m.Invitation != policy.Digest{} && now.Before(m.InvitedUntil)
}

// MemberParams is a new member.
type MemberParams struct {
	Name   string // 1 to 200 printable characters; "" is given by who accepts the invitation
	Email  string // required, but for an owner of the installation, who then gives it
	Grants []Grant

	Mailed bool // the caller sends the invitation to the address and shows it to nobody
}

// MemberPatch changes a member.
type MemberPatch struct {
	Name   Field[string]
	Email  Field[string]
	Grants Field[[]Grant] // replaces them all

	IfRevision uint64 // the revision that the member must be at; 0: any
}

// Limits of members.
const (
	MaxMembers       = 10_000
	MaxMemberGrants  = 100
	MaxEmail         = 254
	MaxRecoveryCodes = 20
)

// Member finds a member by id.
func (v *Snapshot) Member(id string) (*Member, bool) {
	return first[*Member](v.txn, tableMembers, indexID, id)
}

// MemberByEmail finds a member by e-mail address. Case does not matter.
func (v *Snapshot) MemberByEmail(email string) (*Member, bool) {
	if email == "" {
		return nil, false
	}
	return first[*Member](v.txn, tableMembers, indexEmail, NormalEmail(email))
}

// MemberByInvitation finds a member by the SHA-256 of an invitation's token, one that has expired too.
func (v *Snapshot) MemberByInvitation(d *policy.Digest) (*Member, bool) {
	if *d == (policy.Digest{}) {
		return nil, false
	}
	return first[*Member](v.txn, tableMembers, indexDigest, d)
}

// Members lists the members that keep lets through (nil: all), newest first.
func (v *Snapshot) Members(p Page, keep func(*Member) bool) (rows []*Member, more bool, err error) {
	return page(p, prefixMember, walkTable[*Member](v.txn, tableMembers, p.StartingAfter), keep)
}

// NormalEmail is an e-mail address as it is kept and compared: without blanks around it, in lower case.
func NormalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// checkEmail checks the shape of a normal e-mail address. Whether it is somebody's shows when something is sent there.
func checkEmail(param, email string) error {
	local, domain, ok := strings.Cut(email, "@")
	bad := !ok || local == "" || domain == "" || strings.Contains(domain, "@") || len(email) > MaxEmail || !strings.Contains(domain, ".") && domain != "localhost"
	for i := range len(email) {
		// Visible ASCII without what has a meaning in a header or in an address list.
		if c := email[i]; c <= ' ' || c > '~' || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			bad = true
		}
	}
	if bad {
		return invalid(param, "give an e-mail address such as jenny@example.com")
	}
	return checkNoToken(param, email)
}

// sortGrants puts grants in the order in which they are kept: the widest first.
func sortGrants(grants []Grant) []Grant {
	out := slices.Clone(grants)
	slices.SortFunc(out, func(a, b Grant) int {
		if c := strings.Compare(kindOfGrant(a), kindOfGrant(b)); c != 0 {
			return c
		}
		return strings.Compare(a.On(), b.On())
	})
	return out
}

func kindOfGrant(g Grant) string {
	switch {
	case g.Organization != "":
		return "2"
	case g.Account != "":
		return "3"
	}
	return "1"
}
