package keystore

import (
	"context"
	"fmt"
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

// credentialsFor is what sealed credentials are bound to: moved to another member they do not open.
func credentialsFor(id string) []byte { return []byte("keystile credentials of " + id) }

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
		if err := c.roomForGrants(nil, made.Grants); err != nil {
			return err
		}
		if made.ID, err = c.newID(prefixMember); err != nil {
			return err
		}
		if token, err = c.invite(made, lifetime, p.Mailed); err != nil {
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
// are gone. It is how somebody who has lost them comes back. ifRevision is the revision that the member must be at; 0: any.
// mailed says that the caller sends the invitation to the member's address and shows it to nobody.
func (s *Store) RenewInvitation(ctx context.Context, by Actor, id string, ifRevision uint64, lifetime time.Duration, mailed bool) (*Member, policy.Token, error) {
	var now *Member
	var token policy.Token
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		if err := checkRevision("member", old.ID, old.Revision, ifRevision); err != nil {
			return err
		}
		next := *old
		if token, err = c.invite(&next, lifetime, mailed); err != nil {
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

func (c *change) invite(m *Member, lifetime time.Duration, mailed bool) (policy.Token, error) {
	token, err := newSecret(c.store.tokens.rand, invitationTokenPrefix)
	if err != nil {
		return token, err
	}
	m.Invitation, m.InvitedUntil = token.Digest(), milliseconds(c.now.Add(lifetime))
	m.Mailed = mailed && m.Email != ""
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
		old, ok := c.staged().MemberByInvitation(invitation)
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
		// Whoever had the link has set the password. That is the owner of the address only if nobody else had it, also of a
		// member who had shown it to be theirs before.
		next.Active, next.EmailProven = true, next.Mailed
		next.voidInvitation()
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

// ActivateMember makes an invited person an active member without a password: an identity provider has said that the address
// is theirs. name is used if the invitation has none.
func (s *Store) ActivateMember(ctx context.Context, by Actor, id, email, name string) (*Member, error) {
	var now *Member
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		if old.Active || !old.Invited(c.now) || old.Email != NormalEmail(email) {
			return conflict("", "the member has no open invitation")
		}
		next := *old
		if next.Name == "" {
			if next.Name = next.Email; checkName("name", name) == nil {
				next.Name = name
			}
		}
		next.Active, next.EmailProven = true, true
		next.voidInvitation()
		now = &next
		if err := c.putMember(now); err != nil {
			return err
		}
		c.actor.Name = now.Name
		return c.memberEvent(EventMemberJoined, now.ID, now, old.summary(), now.summary())
	})
	return result(now, err)
}

// ProveEmail notes that a member has shown that the address is theirs. It is no change if it was known, nor if the member has
// another address meanwhile. Sessions other than the only one end, if it is named: they may be of somebody who could not.
func (s *Store) ProveEmail(ctx context.Context, by Actor, id, email, only string) error {
	return s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil || old.EmailProven || old.Email == "" || old.Email != NormalEmail(email) {
			return err
		}
		next := *old
		next.EmailProven = true
		if only != "" {
			if _, err := c.endSessions(id, only); err != nil {
				return err
			}
		}
		if err := c.putMember(&next); err != nil {
			return err
		}
		return c.memberEvent(EventMemberUpdated, next.ID, &next, old.summary(), next.summary())
	})
}

// UpdateMember changes a member. A patch that changes nothing is no change: it has no event. An open invitation is void if the
// address changes or a grant gets wider: it was made for less.
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
			if err := c.roomForGrants(old, next.Grants); err != nil {
				return err
			}
		}
		now = old
		if next.Name == old.Name && next.Email == old.Email && slices.Equal(next.Grants, old.Grants) {
			return nil
		}
		if next.Email != old.Email {
			next.EmailProven = false
			next.voidInvitation() // it went to the old address
		}
		if Widens(old.Grants, next.Grants) {
			next.voidInvitation() // who made or holds it may be somebody who may not hand these rights on
		}
		if err := c.keepsOwner(old, &next); err != nil {
			return err
		}
		now = &next
		if err := c.putMember(now); err != nil {
			return err
		}
		about := now
		if !slices.EqualFunc(old.Grants, now.Grants, func(a, b Grant) bool { return a.On() == b.On() }) {
			about = nil // it tells of two places, and who is limited to one is not to read of the other
		}
		return c.memberEvent(EventMemberUpdated, now.ID, about, old.summary(), now.summary())
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
