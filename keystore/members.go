package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/keystile/keystile/policy"
)

// The events of members.
const (
	EventMemberInvited            EventType = "member.invited"
	EventMemberJoined             EventType = "member.joined" // accepted an invitation
	EventMemberUpdated            EventType = "member.updated"
	EventMemberDeleted            EventType = "member.deleted"
	EventMemberPasswordChanged    EventType = "member.password_changed"
	EventMemberPasswordRehashed   EventType = "member.password_rehashed" // the same password, kept under stronger parameters
	EventMemberTOTPEnrolled       EventType = "member.totp_enrolled"
	EventMemberTOTPRemoved        EventType = "member.totp_removed"
	EventMemberRecoveryCodesMade  EventType = "member.recovery_codes_created"
	EventMemberRecoveryCodeUsed   EventType = "member.recovery_code_used"
	EventMemberVerificationFailed EventType = "member.verification_failed" // every try of a code was spent
)

// The prefixes of the secrets of members.
const (
	sessionTokenPrefix    = "kss_"
	invitationTokenPrefix = "inv_"
)

// Credentials are what a member proves themselves with. They print as masks.
type Credentials struct {
	Password policy.Token    // the hash, in the form of its parameters; zero: none
	TOTP     policy.Token    // the shared secret in base32; zero: none
	Recovery []policy.Digest // of the recovery codes that are left
}

// sealedCredentials is what is sealed of them.
type sealedCredentials struct {
	Password string          `json:"password,omitempty"`
	TOTP     string          `json:"totp,omitempty"`
	Recovery []policy.Digest `json:"recovery,omitempty"`
}

// credentialsFor is what sealed credentials are bound to: moved to another member they do not open.
func credentialsFor(id string) []byte { return []byte("keystile credentials of " + id) }

// MemberCredentials opens what a member signs in with.
func (s *Store) MemberCredentials(m *Member) (*Credentials, error) {
	out := new(Credentials)
	if m.sealed == "" {
		return out, nil
	}
	plain, err := s.seal.aead.Decrypt([]byte(m.sealed), credentialsFor(m.ID))
	if err != nil {
		return nil, fmt.Errorf("opening the credentials of %s: %w", m.ID, err)
	}
	var in sealedCredentials
	if err := json.Unmarshal(plain, &in); err != nil {
		return nil, fmt.Errorf("opening the credentials of %s: they are damaged", m.ID)
	}
	out.Password, out.TOTP, out.Recovery = policy.TokenFrom(in.Password), policy.TokenFrom(in.TOTP), in.Recovery
	return out, nil
}

// seals seals credentials into a member that is being made.
func (m *Member) seals(s *Store, c *Credentials) error {
	m.HasPassword, m.HasTOTP, m.Recovery = !c.Password.IsZero(), !c.TOTP.IsZero(), len(c.Recovery)
	m.sealed = ""
	if !m.HasPassword && !m.HasTOTP && m.Recovery == 0 {
		return nil
	}
	plain, err := json.Marshal(sealedCredentials{Password: c.Password.Reveal(), TOTP: c.TOTP.Reveal(), Recovery: c.Recovery})
	if err != nil {
		return fmt.Errorf("encoding the credentials of %s: %w", m.ID, err)
	}
	sealed, err := s.seal.aead.Encrypt(plain, credentialsFor(m.ID))
	if err != nil {
		return fmt.Errorf("sealing the credentials of %s: %w", m.ID, err)
	}
	m.sealed = string(sealed)
	return nil
}

// newSecret is a prefix and 43 random characters, 256 bits.
func newSecret(random io.Reader, prefix string) (policy.Token, error) {
	secret := []byte(prefix)
	var buf [64]byte
	for len(secret) < len(prefix)+43 {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return policy.Token{}, fmt.Errorf("making a secret: %w", err)
		}
		for _, b := range buf {
			// 248 is the greatest multiple of 62 that a byte holds: the rest would favour some characters
			if b < 248 && len(secret) < len(prefix)+43 {
				secret = append(secret, base62[b%62])
			}
		}
	}
	return policy.TokenFrom(string(secret)), nil
}

// InviteMember makes a member, who can do nothing before the invitation is accepted. Its token is in the answer and nowhere
// else. That nobody grants more than they have is for the caller to see to: the store does not know what its actors may do.
func (s *Store) InviteMember(ctx context.Context, by Actor, p MemberParams, lifetime time.Duration) (*Member, policy.Token, error) {
	var made *Member
	var token policy.Token
	err := s.write(ctx, by, func(c *change) (err error) {
		made = &Member{Name: p.Name, Email: NormalEmail(p.Email), CreatedAt: c.now, CreatedBy: c.actor.label()}
		if p.Name != "" {
			if err := checkName("name", p.Name); err != nil {
				return err
			}
		}
		if made.Grants, err = c.checkGrants(p.Grants); err != nil {
			return err
		}
		switch {
		case made.Email != "":
			if err := c.checkNewEmail(made.Email, ""); err != nil {
				return err
			}
		case !made.Owner():
			return missing("email", "give the e-mail address of the member")
		}
		if err := c.roomForMember(); err != nil {
			return err
		}
		if made.ID, err = c.newID(prefixMember); err != nil {
			return err
		}
		if token, err = c.invite(made, lifetime); err != nil {
			return err
		}
		if err := c.putMember(made); err != nil {
			return err
		}
		return c.memberEvent(EventMemberInvited, made.ID, made, nil, made.summary())
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, nil
}

// RenewInvitation invites a member again; an earlier invitation is void from then on. A member who has signed in already
// loses nothing before it is accepted; then the password is the new one, and authenticator app, recovery codes and sessions
// are gone. It is how somebody who has lost them comes back.
func (s *Store) RenewInvitation(ctx context.Context, by Actor, id string, lifetime time.Duration) (*Member, policy.Token, error) {
	var now *Member
	var token policy.Token
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		next := *old
		if token, err = c.invite(&next, lifetime); err != nil {
			return err
		}
		now = &next
		if err := c.putMember(now); err != nil {
			return err
		}
		return c.memberEvent(EventMemberInvited, now.ID, now, old.summary(), now.summary())
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return now, token, nil
}

func (c *change) invite(m *Member, lifetime time.Duration) (policy.Token, error) {
	token, err := newSecret(c.store.tokens.rand, invitationTokenPrefix)
	if err != nil {
		return token, err
	}
	m.Invitation, m.InvitedUntil = token.Digest(), milliseconds(c.now.Add(lifetime))
	return token, nil
}

// Acceptance is what somebody says who accepts an invitation.
type Acceptance struct {
	Name     string       // "" keeps the one of the invitation
	Email    string       // only where the invitation has none
	Password policy.Token // the hash
}

// AcceptInvitation makes the invited person an active member, once. The actor's id and name are filled in here: nobody knows
// them before.
func (s *Store) AcceptInvitation(ctx context.Context, by Actor, invitation *policy.Digest, p Acceptance) (*Member, error) {
	var now *Member
	err := s.write(ctx, by, func(c *change) error {
		old, ok := (&Snapshot{txn: c.txn}).MemberByInvitation(invitation)
		if !ok || !old.Invited(c.now) {
			return &Error{Code: CodeNotFound, Message: "the invitation has expired, was used already, or never was: ask for a new one"}
		}
		next := *old
		if p.Name != "" || next.Name == "" {
			if err := checkName("name", p.Name); err != nil {
				return err
			}
			next.Name = p.Name
		}
		switch email := NormalEmail(p.Email); {
		case next.Email == "" && email == "":
			return missing("email", "give your e-mail address")
		case next.Email == "":
			if err := c.checkNewEmail(email, next.ID); err != nil {
				return err
			}
			next.Email = email
		case email != "" && email != next.Email:
			return invalid("email", "the invitation is for another e-mail address")
		}
		if p.Password.IsZero() {
			return missing("password", "give a password")
		}
		next.Active, next.Invitation, next.InvitedUntil = true, policy.Digest{}, time.Time{}
		if err := next.seals(s, &Credentials{Password: p.Password}); err != nil {
			return err
		}
		if _, err := c.endSessions(next.ID, ""); err != nil {
			return err
		}
		now = &next
		if err := c.putMember(now); err != nil {
			return err
		}
		c.actor.ID, c.actor.Name = now.ID, now.Name
		return c.memberEvent(EventMemberJoined, now.ID, now, old.summary(), now.summary())
	})
	return result(now, err)
}

// ActivateMember makes an invited person an active member without a password: an identity provider has said who they are.
// name is used if the invitation has none.
func (s *Store) ActivateMember(ctx context.Context, by Actor, id, name string) (*Member, error) {
	var now *Member
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		if old.Active || !old.Invited(c.now) {
			return conflict("", "the member has no open invitation")
		}
		next := *old
		if next.Name == "" {
			if next.Name = next.Email; checkName("name", name) == nil {
				next.Name = name
			}
		}
		next.Active, next.Invitation, next.InvitedUntil = true, policy.Digest{}, time.Time{}
		now = &next
		if err := c.putMember(now); err != nil {
			return err
		}
		c.actor.Name = now.Name
		return c.memberEvent(EventMemberJoined, now.ID, now, old.summary(), now.summary())
	})
	return result(now, err)
}

// UpdateMember changes a member. A patch that changes nothing is no change: it has no event.
func (s *Store) UpdateMember(ctx context.Context, by Actor, id string, p MemberPatch) (*Member, error) {
	var now *Member
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		if err := checkRevision("member", old.ID, old.Revision, p.IfRevision); err != nil {
			return err
		}
		next := *old
		if p.Name.Set {
			if err := checkName("name", p.Name.Value); err != nil {
				return err
			}
			next.Name = p.Name.Value
		}
		if p.Email.Set {
			next.Email = NormalEmail(p.Email.Value)
			if err := c.checkNewEmail(next.Email, next.ID); err != nil {
				return err
			}
		}
		if p.Grants.Set {
			if next.Grants, err = c.checkGrants(p.Grants.Value); err != nil {
				return err
			}
		}
		now = old
		if next.Name == old.Name && next.Email == old.Email && slices.Equal(next.Grants, old.Grants) {
			return nil
		}
		if next.Email != old.Email {
			next.Invitation, next.InvitedUntil = policy.Digest{}, time.Time{} // it went to the old address
		}
		if err := c.keepsOwner(old, &next); err != nil {
			return err
		}
		now = &next
		if err := c.putMember(now); err != nil {
			return err
		}
		return c.memberEvent(EventMemberUpdated, now.ID, now, old.summary(), now.summary())
	})
	return result(now, err)
}

// DeleteMember removes a member and ends their sessions: no call that starts after this returns is accepted from them.
func (s *Store) DeleteMember(ctx context.Context, by Actor, id string) error {
	return s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		if err := c.keepsOwner(old, nil); err != nil {
			return err
		}
		if _, err := c.endSessions(id, ""); err != nil {
			return err
		}
		if err := c.txn.Delete(tableMembers, old); err != nil {
			return fmt.Errorf("removing a member: %w", err)
		}
		c.rows = append(c.rows, Row{Table: TableMember, ID: old.ID})
		return c.memberEvent(EventMemberDeleted, old.ID, old, old.summary(), nil)
	})
}

// SetPassword gives a member the hash of a new password, and ends their sessions but the one named.
func (s *Store) SetPassword(ctx context.Context, by Actor, id string, hash policy.Token, except string) error {
	return s.changeCredentials(ctx, by, id, EventMemberPasswordChanged, func(c *change, creds *Credentials) error {
		creds.Password = hash
		_, err := c.endSessions(id, except)
		return err
	})
}

// RehashPassword keeps the same password under a new hash. was is the one that it replaces: another change comes first.
func (s *Store) RehashPassword(ctx context.Context, by Actor, id string, was, hash policy.Token) error {
	return s.changeCredentials(ctx, by, id, EventMemberPasswordRehashed, func(_ *change, creds *Credentials) error {
		if creds.Password.Digest() != was.Digest() {
			return conflict("", "the password has changed meanwhile")
		}
		creds.Password = hash
		return nil
	})
}

// EnrollTOTP gives a member an authenticator app, by its secret in base32, and recovery codes, by their digests. Sessions
// other than the one named end: whoever signed in without the app is to come again.
func (s *Store) EnrollTOTP(ctx context.Context, by Actor, id string, secret policy.Token, recovery []policy.Digest, except string) error {
	return s.changeCredentials(ctx, by, id, EventMemberTOTPEnrolled, func(c *change, creds *Credentials) error {
		creds.TOTP, creds.Recovery = secret, recovery
		_, err := c.endSessions(id, except)
		return err
	})
}

// RemoveTOTP takes the authenticator app and the recovery codes away.
func (s *Store) RemoveTOTP(ctx context.Context, by Actor, id string) error {
	return s.changeCredentials(ctx, by, id, EventMemberTOTPRemoved, func(_ *change, creds *Credentials) error {
		creds.TOTP, creds.Recovery = policy.Token{}, nil
		return nil
	})
}

// SetRecoveryCodes replaces a member's recovery codes.
func (s *Store) SetRecoveryCodes(ctx context.Context, by Actor, id string, recovery []policy.Digest) error {
	return s.changeCredentials(ctx, by, id, EventMemberRecoveryCodesMade, func(_ *change, creds *Credentials) error {
		if creds.TOTP.IsZero() {
			return conflict("", "recovery codes stand in for an authenticator app: enrol one first")
		}
		creds.Recovery = recovery
		return nil
	})
}

// UseRecoveryCode uses a recovery code up. It is an error if the member has no such code, or has none any more.
func (s *Store) UseRecoveryCode(ctx context.Context, by Actor, id string, code policy.Digest) error {
	return s.changeCredentials(ctx, by, id, EventMemberRecoveryCodeUsed, func(_ *change, creds *Credentials) error {
		i := slices.Index(creds.Recovery, code)
		if i < 0 {
			return invalid("recovery_code", "this is none of the recovery codes that are left")
		}
		creds.Recovery = slices.Delete(slices.Clone(creds.Recovery), i, i+1)
		return nil
	})
}

func (s *Store) changeCredentials(ctx context.Context, by Actor, id string, t EventType, edit func(*change, *Credentials) error) error {
	return s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		creds, err := s.MemberCredentials(old)
		if err != nil {
			return err
		}
		if err := edit(c, creds); err != nil {
			return err
		}
		next := *old
		if err := next.seals(s, creds); err != nil {
			return err
		}
		if err := c.putMember(&next); err != nil {
			return err
		}
		return c.memberEvent(t, next.ID, &next, old.summary(), next.summary())
	})
}

// NoteFailedVerification writes down that somebody has spent all tries of a verification code.
func (s *Store) NoteFailedVerification(ctx context.Context, by Actor, id, operation, object string) error {
	return s.write(ctx, by, func(c *change) error {
		m, err := c.member(id)
		if err != nil {
			return err
		}
		after := map[string]any{"operation": operation}
		putText(after, "object", object)
		return c.memberEvent(EventMemberVerificationFailed, m.ID, m, nil, after)
	})
}

func (c *change) member(id string) (*Member, error) {
	if m, ok := first[*Member](c.txn, tableMembers, indexID, id); ok {
		return m, nil
	}
	return nil, notFound("", "member", id)
}

func (c *change) putMember(m *Member) error {
	m.Revision = c.revision
	if err := m.checkStored(); err != nil {
		return fmt.Errorf("refusing to store %s: %w", m.ID, err)
	}
	return c.put(TableMember, tableMembers, m.ID, m, m.encode())
}

// memberEvent is an event about a member. Who is limited to one account or organization sees it if that is all that the
// member has to do with.
func (c *change) memberEvent(t EventType, object string, m *Member, before, after map[string]any) error {
	account, organization := "", ""
	if m != nil && len(m.Grants) == 1 {
		account, organization = m.Grants[0].Account, m.Grants[0].Organization
	}
	return c.event(t, object, account, organization, before, after)
}

func (c *change) checkNewEmail(email, id string) error {
	if err := checkEmail("email", email); err != nil {
		return err
	}
	if other, taken := (&Snapshot{txn: c.txn}).MemberByEmail(email); taken && other.ID != id {
		return conflict("email", "another member has this e-mail address")
	}
	return nil
}

// checkGrants checks grants and answers them in order.
func (c *change) checkGrants(grants []Grant) ([]Grant, error) {
	if len(grants) == 0 {
		return nil, missing("grants", "give at least one grant: a role, and the organization or account that it is on")
	}
	if len(grants) > MaxMemberGrants {
		return nil, invalid("grants", "there are %d grants, at most %d are allowed", len(grants), MaxMemberGrants)
	}
	seen := make(map[string]bool)
	for i, g := range grants {
		param := fmt.Sprintf("grants[%d]", i)
		if _, known := ParseRole(string(g.Role)); !known {
			return nil, invalid(param+".role", "the role is owner, administrator, developer or viewer")
		}
		switch {
		case g.Organization != "" && g.Account != "":
			return nil, invalid(param+".account", "a grant is on an organization or on an account, not on both")
		case g.Organization != "":
			if _, err := c.organization(param+".organization", g.Organization); err != nil {
				return nil, err
			}
		case g.Account != "":
			if _, err := c.account(param+".account", g.Account); err != nil {
				return nil, err
			}
		}
		if seen[g.On()] {
			return nil, invalid(param, "there are two grants on the same; give the stronger one")
		}
		seen[g.On()] = true
	}
	return sortGrants(grants), nil
}

// keepsOwner refuses a change after which nobody owns the installation who does now. next is nil for a deletion.
func (c *change) keepsOwner(old, next *Member) error {
	if !old.Active || !old.Owner() || next != nil && next.Owner() {
		return nil
	}
	all := walkTable[*Member](c.txn, tableMembers, "")
	for m := all(); m != nil; m = all() {
		if m.ID != old.ID && m.Active && m.Owner() {
			return nil
		}
	}
	return conflict("", "this is the last owner of the installation: make another member an owner first")
}

func (c *change) roomForMember() error {
	count := 0
	all := walkTable[*Member](c.txn, tableMembers, "")
	for m := all(); m != nil; m = all() {
		count++
	}
	if count >= MaxMembers {
		return conflict("", "there are %d members, more are not possible: delete those who left", MaxMembers)
	}
	return nil
}

func (m *Member) summary() map[string]any {
	if m == nil {
		return nil
	}
	grants := make([]map[string]string, 0, len(m.Grants))
	for _, g := range m.Grants {
		grant := map[string]string{"role": string(g.Role)}
		if g.Organization != "" {
			grant["organization"] = g.Organization
		}
		if g.Account != "" {
			grant["account"] = g.Account
		}
		grants = append(grants, grant)
	}
	out := map[string]any{"name": m.Name, "email": m.Email, "grants": grants, "active": m.Active}
	if m.HasTOTP {
		out["authenticator_app"], out["recovery_codes"] = true, m.Recovery
	}
	putTime(out, "invited_until", m.InvitedUntil)
	return out
}

// errNoRoom is the answer where a bound would be passed.
var errNoRoom = errors.New("there is no room for one more")
