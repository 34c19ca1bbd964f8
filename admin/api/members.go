package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// Member is a person who manages keys.
type Member struct {
	ID               string      `json:"id" example:"mem_8DpB666ojJIBrHTw33ZR"`
	Object           string      `json:"object" enum:"member"`
	Name             string      `json:"name" doc:"Empty until the invitation is accepted, if it named nobody"`
	Email            *string     `json:"email" doc:"null: of an owner who was invited without one and has not come yet"`
	Grants           []Grant     `json:"grants" nullable:"false" doc:"What the member may do, and where; a caller with a limit sees the grants within it"`
	EmailProven      bool        `json:"email_proven" doc:"The member has shown that the address is theirs: the invitation or a code reached it by e-mail, or an identity provider has verified it"`
	Status           string      `json:"status" enum:"invited,expired,active" doc:"expired: the invitation was not accepted in time"`
	AuthenticatorApp bool        `json:"authenticator_app"`
	RecoveryCodes    int         `json:"recovery_codes" doc:"How many are left"`
	CreatedAt        time.Time   `json:"created_at"`
	CreatedBy        string      `json:"created_by"`
	InvitedUntil     *time.Time  `json:"invited_until" doc:"When the open invitation ends; null: there is none"`
	LastSeenAt       *time.Time  `json:"last_seen_at" doc:"Of the sessions that there are; null: there are none"`
	Invitation       *Invitation `json:"invitation,omitempty" doc:"In the answers of invitations and no other"`
}

// Grant is one role of a member, and on what.
type Grant struct {
	Role         string  `json:"role" enum:"owner,administrator,developer,viewer"`
	Organization *string `json:"organization" doc:"The organization that it is on, with its accounts and what is theirs"`
	Account      *string `json:"account" doc:"The account that it is on. null both: the whole installation"`
}

// GrantCreate is a grant in a body.
type GrantCreate struct {
	Role         string           `json:"role" enum:"owner,administrator,developer,viewer" doc:"Not more than the caller's own"`
	Organization Optional[string] `json:"organization,omitzero" doc:"The organization that it is on"`
	Account      Optional[string] `json:"account,omitzero" doc:"The account that it is on; not together with organization. Neither: the whole installation"`
}

// Invitation is how an invited member comes in.
type Invitation struct {
	SentTo    *string   `json:"sent_to" doc:"The e-mail address that the link was sent to; null: hand the link over yourself"`
	Link      Token     `json:"link,omitempty" doc:"Opens once. Absent if it was sent. The token stands behind #, which browsers keep to themselves"`
	Token     Token     `json:"token,omitempty" doc:"The token of the link alone, where the URL of the dashboard is not known"`
	ExpiresAt time.Time `json:"expires_at"`
}

// MemberInvite is the body that invites a member.
type MemberInvite struct {
	Name   Optional[string] `json:"name,omitzero" doc:"Absent: the member says it"`
	Email  Optional[string] `json:"email,omitzero" doc:"Required, but for an owner of the installation. If there is a member with this address, the grants are added to theirs; one who has not come yet is invited anew"`
	Grants []GrantCreate    `json:"grants" minItems:"1" nullable:"false"`

	EmailUnproven Optional[bool] `json:"email_unproven,omitzero" doc:"true: add grants to a member who has not shown that the address is theirs; without it this answers 409 email_unproven"`
}

// MemberUpdate is the body that changes a member. Absent fields stay as they are.
type MemberUpdate struct {
	Name   Optional[string]        `json:"name,omitzero"`
	Email  Optional[string]        `json:"email,omitzero" doc:"An open invitation to the old address is void"`
	Grants Optional[[]GrantCreate] `json:"grants,omitzero" doc:"Replaces all that the caller's limit covers; what is beyond it stays. An open invitation is void if one of them gets wider"`

	EmailUnproven Optional[bool] `json:"email_unproven,omitzero" doc:"true: grant more to a member who has not shown that the address is theirs; without it this answers 409 email_unproven"`
}

func (c *call) viewMember(m *keystore.Member) Member {
	out := Member{
		ID: m.ID, Object: "member", Name: m.Name, Email: some(m.Email), EmailProven: m.EmailProven, Grants: []Grant{}, Status: "active",
		AuthenticatorApp: m.HasTOTP, RecoveryCodes: m.Recovery,
		CreatedAt: *stamp(m.CreatedAt), CreatedBy: m.CreatedBy,
	}
	for _, g := range m.Grants {
		if c.coversGrant(g) {
			out.Grants = append(out.Grants, Grant{Role: string(g.Role), Organization: some(g.Organization), Account: some(g.Account)})
		}
	}
	invited := m.Invited(c.now)
	if invited {
		out.InvitedUntil = stamp(m.InvitedUntil)
	}
	switch {
	case m.Active:
	case invited:
		out.Status = "invited"
	default:
		out.Status = "expired"
	}
	for _, s := range c.api.Store.Snapshot().Sessions(m.ID) {
		if seen := s.LastSeen().At; out.LastSeenAt == nil || seen.After(*out.LastSeenAt) {
			out.LastSeenAt = stamp(seen)
		}
	}
	return out
}

// coversGrant says whether a grant is on something that the caller's limit covers.
func (c *call) coversGrant(g keystore.Grant) bool {
	return c.caller.Self() || c.covers(g.Account, g.Organization)
}

func (c *call) coversMember(m *keystore.Member) bool {
	return m != nil && slices.ContainsFunc(m.Grants, c.coversGrant)
}

// commandsMember judges a change by which the caller could become the member, or keep them out: only who might have made all
// of their grants may do so.
func (c *call) commandsMember(m *keystore.Member) error {
	for _, g := range m.Grants {
		if !c.coversGrant(g) {
			return newError(http.StatusForbidden, auth.CodeLimit, "", "this member has grants beyond what you are limited to: change those within it, or ask who answers for all of them")
		}
		if err := c.caller.MayGrant(g.Role, g.Organization, g.Account); err != nil {
			return withoutParam(err)
		}
	}
	return nil
}

// mayGrants judges grants that a body names.
func (c *call) mayGrants(grants []keystore.Grant) error {
	for _, g := range grants {
		if g.On() != "" {
			if err := c.coversOwner(g.Account, g.Organization); err != nil {
				return err
			}
		}
		if err := c.caller.MayGrant(g.Role, g.Organization, g.Account); err != nil {
			return err
		}
	}
	return nil
}

// knownMember refuses to grant more to somebody who may not be who they seem: whoever had the link of an invitation has come
// in by it, under an address that its maker has chosen. consent is the caller's word that they know the member nonetheless.
func (c *call) knownMember(m *keystore.Member, next []keystore.Grant, consent bool) error {
	if consent || !m.Active || m.EmailProven || !keystore.Widens(m.Grants, next) {
		return nil
	}
	return newError(http.StatusConflict, codeEmailUnproven, codeEmailUnproven,
		"a member came in under this e-mail address and has not shown that it is theirs: let an invitation be sent to them by e-mail, "+
			"or make sure who they are and send \"email_unproven\": true")
}

func storeGrants(grants []GrantCreate) []keystore.Grant {
	out := make([]keystore.Grant, 0, len(grants))
	for _, g := range grants {
		out = append(out, keystore.Grant{Role: keystore.Role(g.Role), Organization: g.Organization.Value, Account: g.Account.Value})
	}
	return out
}

// MemberDeleted is the answer of a member's deletion.
type MemberDeleted struct {
	Deleted
	AdminTokens []string `json:"admin_tokens" nullable:"false" doc:"Ids of admin tokens that the member made, so far as the caller sees them: they go on working until they are deleted"`
}

type listMembersInput struct {
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type inviteMemberInput struct {
	Body MemberInvite
}

type memberInput struct {
	ID string `path:"id" doc:"mem_…"`
}

type updateMemberInput struct {
	ID   string `path:"id" doc:"mem_…"`
	Body MemberUpdate
}

func (a *API) registerMembers() {
	const tag = "members"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/members", id: "list_members", tag: tag, summary: "List members",
	}, a.listMembers)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/members", id: "invite_member", tag: tag, summary: "Invite a member", etag: true,
		errors: []int{http.StatusNotFound, http.StatusTooManyRequests},
		description: "The invitation is sent by e-mail where SMTP is set up; else its link stands in the answer, and nowhere else. It opens once, within 24 hours. " +
			"In a day five are sent to one address, 100 for an account or organization, and 1,000 for a caller without a limit. " +
			"Nobody grants more than they have.",
	}, a.inviteMember)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/members/{id}", id: "get_member", tag: tag, summary: "Get a member", etag: true,
	}, a.getMember)
	handle(a, operation{
		method: http.MethodPatch, path: "/v1/members/{id}", id: "update_member", tag: tag, summary: "Change a member", etag: true, precondition: true,
		errors:      []int{http.StatusConflict},
		description: "Works at once, in sessions too. The last owner of the installation stays one.",
	}, a.updateMember)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/members/{id}", id: "delete_member", tag: tag, summary: "Delete a member",
		errors:      []int{http.StatusConflict},
		description: "Works at once and is final; their sessions end. Admin tokens that they made go on working: the answer lists them. The last owner of the installation cannot be deleted.",
	}, a.deleteMember)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/members/{id}/invitation", id: "renew_invitation", tag: tag, summary: "Invite a member again", etag: true,
		errors: []int{http.StatusTooManyRequests},
		description: "An earlier invitation is void. Who has lost password or authenticator app comes back by it: once it is accepted the password is the new one, " +
			"and authenticator app, recovery codes and sessions are gone.",
	}, a.renewInvitation)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/members/{id}/sessions", id: "list_member_sessions", tag: tag, summary: "List a member's sessions",
	}, a.listMemberSessions)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/members/{id}/sessions", id: "delete_member_sessions", tag: tag, summary: "End a member's sessions",
	}, a.deleteMemberSessions)
}

func (a *API) listMembers(c *call, in *listMembersInput) (List[Member], error) {
	snapshot := a.Store.Snapshot()
	last, known := snapshot.Member(in.StartingAfter)
	if err := checkCursor(in.StartingAfter, known && c.coversMember(last)); err != nil {
		return List[Member]{}, err
	}
	rows, more, err := snapshot.Members(page(in.Limit, in.StartingAfter), c.coversMember)
	if err != nil {
		return List[Member]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, c.viewMember), nil
}

func (a *API) getMember(c *call, in *memberInput) (Member, error) {
	m, err := c.findMember(in.ID)
	if err != nil {
		return Member{}, err
	}
	c.revision = m.Revision
	return c.viewMember(m), nil
}

func (c *call) findMember(id string) (*keystore.Member, error) {
	if m, ok := c.api.Store.Snapshot().Member(id); ok && c.coversMember(m) {
		return m, nil
	}
	return nil, notFound("member", id)
}

func (a *API) inviteMember(c *call, in *inviteMemberInput) (Member, error) {
	grants := storeGrants(in.Body.Grants)
	if err := c.mayGrants(grants); err != nil {
		return Member{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if m, ok := a.Store.Snapshot().MemberByEmail(in.Body.Email.Value); ok {
		// Somebody of another account, perhaps: they are there already, and get one more thing to do.
		for _, g := range grants {
			if slices.ContainsFunc(m.Grants, func(has keystore.Grant) bool { return has.On() == g.On() }) {
				return Member{}, newError(http.StatusConflict, string(keystore.CodeConflict), "email", "there is a member with this e-mail address who has a grant on the same: change that one")
			}
		}
		// Somebody else has the link of an open invitation: it must not open what is granted now.
		waiting := !m.Active && c.commandsMember(m) == nil
		if !m.Active && m.Invited(c.now) && !waiting {
			return Member{}, newError(http.StatusConflict, string(keystore.CodeConflict), "email",
				"this e-mail address was invited elsewhere, and the invitation is still open: try again once it is accepted or over")
		}
		next := slices.Concat(m.Grants, grants)
		if err := c.knownMember(m, next, in.Body.EmailUnproven.Value); err != nil {
			return Member{}, err // whatever the caller may do: it goes by the address, and has seen nothing of the member
		}
		if waiting {
			if err := c.countMail(ctx, m.Email); err != nil {
				return Member{}, err
			}
		}
		m, err := a.Store.UpdateMember(ctx, c.actor, m.ID, keystore.MemberPatch{Grants: keystore.To(next), IfRevision: m.Revision})
		if err != nil {
			return Member{}, err
		}
		if waiting {
			return c.renew(ctx, m)
		}
		c.revision = m.Revision
		return c.viewMember(m), nil
	}
	if err := c.countMail(ctx, in.Body.Email.Value); err != nil {
		return Member{}, err
	}
	m, token, err := a.Store.InviteMember(ctx, c.actor, keystore.MemberParams{
		Name: in.Body.Name.Value, Email: in.Body.Email.Value, Grants: grants, Mailed: c.mails(in.Body.Email.Value),
	}, auth.InvitationLifetime)
	if err != nil {
		return Member{}, err
	}
	return c.viewInvited(ctx, m, token)
}

func (a *API) renewInvitation(c *call, in *memberInput) (Member, error) {
	m, err := c.findMember(in.ID)
	if err != nil {
		return Member{}, err
	}
	if err := c.commandsMember(m); err != nil {
		return Member{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if err := c.countMail(ctx, m.Email); err != nil {
		return Member{}, err
	}
	return c.renew(ctx, m)
}

func (a *API) updateMember(c *call, in *updateMemberInput) (Member, error) {
	m, err := c.findMember(in.ID)
	if err != nil {
		return Member{}, err
	}
	patch := keystore.MemberPatch{Name: field(in.Body.Name), Email: field(in.Body.Email)}
	if in.Body.Name.Set || in.Body.Email.Set {
		// The address is where codes go and by which an identity provider knows them: to change it is to become them.
		if err := c.commandsMember(m); err != nil {
			return Member{}, err
		}
	}
	if in.Body.Grants.Set {
		next, err := c.nextGrants(m, storeGrants(in.Body.Grants.Value))
		if err != nil {
			return Member{}, err
		}
		patch.Grants = keystore.To(next)
		// Also who answers for all that the member has sees an address, and not who came in under it.
		if err := c.knownMember(m, next, in.Body.EmailUnproven.Value); err != nil {
			return Member{}, err
		}
	}
	revision, err := c.ifRevision(m.Revision)
	if err != nil {
		return Member{}, err
	}
	if patch.IfRevision = revision; revision == 0 {
		patch.IfRevision = m.Revision // what was judged is what is changed
	}
	ctx, cancel := c.commit()
	defer cancel()
	if m, err = a.Store.UpdateMember(ctx, c.actor, m.ID, patch); err != nil {
		return Member{}, err
	}
	c.revision = m.Revision
	return c.viewMember(m), nil
}

// nextGrants are the grants of a member after the caller has replaced those within their limit. What is taken away and what
// is given must be the caller's to give; what stays as it is need not be.
func (c *call) nextGrants(m *keystore.Member, given []keystore.Grant) ([]keystore.Grant, error) {
	var next, fresh []keystore.Grant
	for _, g := range m.Grants {
		switch {
		case !c.coversGrant(g):
			next = append(next, g)
		case !slices.Contains(given, g):
			if err := c.caller.MayGrant(g.Role, g.Organization, g.Account); err != nil {
				return nil, withoutParam(err)
			}
		}
	}
	for _, g := range given {
		if !slices.Contains(m.Grants, g) || !c.coversGrant(g) {
			fresh = append(fresh, g)
		}
	}
	if err := c.mayGrants(fresh); err != nil {
		return nil, err
	}
	return append(next, given...), nil
}

func (a *API) deleteMember(c *call, in *memberInput) (MemberDeleted, error) {
	m, err := c.findMember(in.ID)
	if err != nil {
		return MemberDeleted{}, err
	}
	if err := c.commandsMember(m); err != nil {
		return MemberDeleted{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if err := a.Store.DeleteMember(ctx, c.actor, m.ID); err != nil {
		return MemberDeleted{}, err
	}
	out := MemberDeleted{Deleted: Deleted{ID: m.ID, Object: "member", Deleted: true}}
	out.AdminTokens, err = c.tokensOf(m.ID)
	return out, err
}

// tokensOf lists the admin tokens that a member has made, so far as the caller sees them and they are still good.
func (c *call) tokensOf(member string) ([]string, error) {
	ids := []string{}
	p := keystore.Page{Limit: keystore.MaxPageLimit}
	for more := true; more; {
		var rows []*keystore.AdminToken
		var err error
		rows, more, err = c.api.Store.Snapshot().AdminTokens(p, func(t *keystore.AdminToken) bool {
			return t.CreatedBy == member && !t.Expired(c.now) && c.covers(t.Account, t.Organization)
		})
		if err != nil {
			return nil, err
		}
		for _, t := range rows {
			ids = append(ids, t.ID)
			p.StartingAfter = t.ID
		}
	}
	return ids, nil
}

func (a *API) listMemberSessions(c *call, in *memberInput) (List[Session], error) {
	m, err := c.findMember(in.ID)
	if err != nil {
		return List[Session]{}, err
	}
	if err := c.commandsMember(m); err != nil {
		return List[Session]{}, err
	}
	return listOf(c.liveSessions(m.ID), false, c.viewSession), nil
}

func (a *API) deleteMemberSessions(c *call, in *memberInput) (Ended, error) {
	m, err := c.findMember(in.ID)
	if err != nil {
		return Ended{}, err
	}
	if err := c.commandsMember(m); err != nil {
		return Ended{}, err
	}
	return c.endSessions(m.ID, "")
}
