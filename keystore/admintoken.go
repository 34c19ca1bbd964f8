package keystore

import (
	"net/netip"
	"time"

	"github.com/keystile/keystile/policy"
)

// AdminToken is a machine's credential for the admin API. It is a constant once stored; a deleted one is gone, and the
// events tell of it. The credential itself is nowhere: its SHA-256 is.
type AdminToken struct {
	ID           string // adm_ and 20 characters; the credential has 38
	Name         string
	Role         Role
	Organization string // org_…: what it is limited to; at most one of Organization and Account is set
	Account      string // acct_…
	Mask         string // adm_****abcd
	Digest       policy.Digest
	CreatedAt    time.Time // UTC, whole milliseconds
	CreatedBy    string
	ExpiresAt    time.Time // zero: never
	Revision     uint64    // of the commit that wrote it

	usage *usageCell
}

// Expired says whether the token's time is over at now. An expired token opens nothing.
func (t *AdminToken) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

// AdminTokenParams is a new admin token.
type AdminTokenParams struct {
	Name         string // required, 1 to 200 printable characters
	Role         Role
	Organization string    // limits it to the organization, its member accounts and what is theirs
	Account      string    // limits it to the account; not together with Organization
	ExpiresAt    time.Time // zero: never
}

// AdminToken finds an admin token by its id.
func (v *Snapshot) AdminToken(id string) (*AdminToken, bool) {
	return first[*AdminToken](v.txn, tableAdminTokens, indexID, id)
}

// AdminTokenByDigest finds an admin token by the SHA-256 of the credential, expired ones too.
func (v *Snapshot) AdminTokenByDigest(d *policy.Digest) (*AdminToken, bool) {
	return first[*AdminToken](v.txn, tableAdminTokens, indexDigest, d)
}

// AdminTokens lists the admin tokens that keep lets through (nil: all), newest first.
func (v *Snapshot) AdminTokens(p Page, keep func(*AdminToken) bool) (rows []*AdminToken, more bool, err error) {
	return page(p, prefixAdminToken, walkTable[*AdminToken](v.txn, tableAdminTokens, p.StartingAfter), keep)
}

// TouchAdminToken notes that an admin token, as a snapshot gave it, was used. Like Touch it takes no lock, and the note is
// saved within a minute.
func (s *Store) TouchAdminToken(t *AdminToken, at time.Time, from netip.Addr) {
	if t != nil {
		s.Touch(&Key{ID: t.ID, usage: t.usage}, at, from)
	}
}

// LastUsed is when and from where the token was last used, false if it never was.
func (t *AdminToken) LastUsed() (Usage, bool) {
	if t.usage == nil {
		return Usage{}, false
	}
	last := t.usage.last.Load()
	if last == nil {
		return Usage{}, false
	}
	return *last, true
}
