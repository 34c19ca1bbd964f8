package dashboard

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func memberPages() []route {
	return []route{
		{"GET /members", "list_members", (*request).showMembers},
		{"POST /members", "invite_member", (*request).inviteMember},
		{"GET /members/{id}", "get_member", (*request).showMember},
		{"POST /members/{id}", "update_member", (*request).updateMember},
		{"POST /members/{id}/delete", "delete_member", (*request).deleteMember},
		{"POST /members/{id}/invitation", "renew_invitation", (*request).renewInvitation},
		{"POST /members/{id}/sessions/end", "delete_member_sessions", (*request).endMemberSessions},
	}
}

var (
	doneInvited        = notice("invited", "The invitation is on its way by e-mail. It opens once, within 24 hours.")
	doneGranted        = notice("granted", "There was a member with this address already: the role is added to theirs.")
	doneMemberDeleted  = notice("member_deleted", "The member is removed, and signed out everywhere.")
	doneTokensLeft     = notice("member_tokens", "The member is removed, and signed out everywhere. Admin tokens that they made go on working: look through them.")
	doneMemberSessions = notice("member_sessions", "The member is signed out everywhere.")
)

// unprovenField is the API's name of the consent to grant to somebody who has not shown that the address is theirs. The forms
// ask for it once the API has.
const unprovenField = "email_unproven"

// membersPage lists who signs in here.
type membersPage struct {
	Page
	Rows                     []api.Member
	More                     string
	Name, Email, Role, Limit string
}

// shrink leaves rows to the next page.
func (p *membersPage) shrink() bool { return moreAfter(&p.Rows, &p.More, p.next) }

func (p *membersPage) next(m api.Member) string {
	return p.To(withQuery("/members", "account", p.Scope.Account, "organization", p.Scope.Organization, "after", m.ID))
}

// grantsShown is how many roles of a member the list names. Their own page has them all.
const grantsShown = 4

// GrantsOf are the roles that the list names.
func (membersPage) GrantsOf(m api.Member) []api.Grant {
	return m.Grants[:min(len(m.Grants), grantsShown)]
}

// Further is how many roles it does not name.
func (membersPage) Further(m api.Member) int { return max(0, len(m.Grants)-grantsShown) }

// Roles are what may be given, for the template.
func (membersPage) Roles() []choice { return roleChoices }

// about is the address of a page of the installation, limited to the owner that this one is limited to.
func (q *request) about(page string) string {
	return withQuery(page, "account", q.scope.Account, "organization", q.scope.Organization)
}

func (q *request) membersPage() (*membersPage, error) {
	p := &membersPage{Page: q.page("Members", "members"), Role: "developer", Limit: q.scope.Owner()}
	asked := url.Values{"limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.Member]](q, get("/v1/members", asked))
	if err != nil {
		return nil, err
	}
	if p.Rows = list.Data; list.HasMore {
		p.More = p.next(list.Data[len(list.Data)-1])
	}
	return p, nil
}

func (q *request) showMembers() error {
	p, err := q.membersPage()
	if err != nil {
		return err
	}
	return q.show("members", p)
}

func (q *request) inviteMember() error {
	grant := api.GrantCreate{Role: q.form("role")}
	grant.Account, grant.Organization = limitOf(q.form("limit"))
	body := api.MemberInvite{Email: api.Set(q.form("email")), Grants: []api.GrantCreate{grant}}
	if name := q.form("name"); name != "" {
		body.Name = api.Set(name)
	}
	if q.form(unprovenField) != "" {
		body.EmailUnproven = api.Set(true)
	}
	m, header, err := askHeader[api.Member](q, q.withCode(q.once(post("/v1/members", body))))
	if err != nil {
		wrong := formFailure(err)
		if wrong == nil {
			return q.failOrCode(err, "Invite a member", codeFor{operation: "invite_member", body: body})
		}
		p, err := q.membersPage()
		if err != nil {
			return err
		}
		p.Error, p.Name, p.Email, p.Role, p.Limit = wrong, q.form("name"), q.form("email"), q.form("role"), q.form("limit")
		return q.show("members", p)
	}
	return q.invited(header, m)
}

// invited shows the link of an invitation that was not sent by e-mail: here, and nowhere else.
func (q *request) invited(header http.Header, m api.Member) error {
	i := m.Invitation
	switch {
	case i == nil:
		return q.seeOther(q.about("/members"), doneGranted)
	case header.Get("Idempotent-Replayed") != "":
		return repeated()
	case i.SentTo != nil:
		return q.seeOther(q.about("/members"), doneInvited)
	}
	p := &secretPage{
		Page: q.page("Invitation", "members"), Heading: "Hand over this link", Label: "Invitation link", Secret: string(i.Link),
		Text: "No e-mail is set up here. Give the link to the member in a safe way: it opens once, within 24 hours, for whoever has it.",
	}
	if p.Secret == "" {
		p.Secret, p.Label = string(i.Token), "Invitation token"
	}
	p.Next = p.To(q.about("/members"))
	return q.show("secret", p)
}

// memberPage is one member.
type memberPage struct {
	Page
	Member   api.Member
	Sessions []api.Session
	Name     string
	Grants   []grantRow

	MoreSessions bool // there are more than these

	Others        string // roles that the form does not show: they go along, a line each
	Total, From   int    // how many roles there are, and the index of the first that is shown
	Before, After string // addresses of the form with the roles before and behind these
}

// rolesShown is how many roles the form of a member has at once.
const rolesShown = 12

// showGrants puts a part of the roles into the rows, and the others into the field that goes along.
func (p *memberPage) showGrants(all []grantRow, from int) {
	p.Total, p.From = len(all), max(0, min(from, (len(all)-1)/rolesShown*rolesShown))
	end := min(p.From+rolesShown, p.Total)
	p.Grants = all[p.From:end]
	var lines []string
	for _, g := range slices.Concat(all[:p.From], all[end:]) {
		lines = append(lines, g.Role+" "+g.On)
	}
	p.Others = strings.Join(lines, "\n")
	at := func(i int) string {
		return p.To(withQuery("/members/"+p.Member.ID, "account", p.Scope.Account, "organization", p.Scope.Organization, "from", strconv.Itoa(i)))
	}
	if p.From > 0 {
		p.Before = at(p.From - rolesShown)
	}
	if end < p.Total {
		p.After = at(end)
	}
}

// First and Last are the numbers of the roles that are shown, as people count.
func (p *memberPage) First() int { return p.From + 1 }

// Last is the number of the last role that is shown.
func (p *memberPage) Last() int { return p.From + len(p.Grants) }

// grantRow is one role in the form, with where it holds.
type grantRow struct{ Role, On string }

// shrink leaves the sessions out that were seen longest ago. Roles stay: what the form lacks would be taken away.
func (p *memberPage) shrink() bool {
	var ok bool
	p.Sessions, ok = fewer(p.Sessions)
	p.MoreSessions = p.MoreSessions || ok
	return ok
}

// Roles are what may be given, for the template.
func (memberPage) Roles() []choice { return roleChoices }

func (q *request) memberPage() (*memberPage, error) {
	path := "/v1/members/" + url.PathEscape(q.r.PathValue("id"))
	m, err := ask[api.Member](q, get(path, nil))
	if err != nil {
		return nil, err
	}
	p := &memberPage{Page: q.page("Member", "members"), Member: m, Name: m.Name}
	from, _ := strconv.Atoi(q.query("from")) // what is no number is the beginning
	p.showGrants(grantRows(m), from)
	if sessions, err := ask[api.List[api.Session]](q, get(path+"/sessions", nil)); err == nil {
		p.Sessions, p.MoreSessions = sessions.Data, sessions.HasMore
	}
	return p, nil
}

func (q *request) showMember() error {
	p, err := q.memberPage()
	if err != nil {
		return err
	}
	return q.show("member", p)
}

func (q *request) updateMember() error {
	p, err := q.memberPage()
	if err != nil {
		return err
	}
	var body api.MemberUpdate
	if name := q.form("name"); name != p.Member.Name {
		body.Name = api.Set(name)
	}
	sent := q.sentGrants()
	p.showGrants(sent, 0)
	if !sameGrants(grantRows(p.Member), sent) {
		grants := []api.GrantCreate{}
		for _, row := range sent {
			g := api.GrantCreate{Role: row.Role}
			g.Account, g.Organization = limitOf(row.On)
			grants = append(grants, g)
		}
		body.Grants = api.Set(grants)
	}
	if q.form(unprovenField) != "" {
		body.EmailUnproven = api.Set(true)
	}
	c := call{method: http.MethodPatch, path: "/v1/members/" + p.Member.ID, body: body}
	if _, err := ask[api.Member](q, q.withCode(c)); err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			p.Name = q.form("name")
			return q.show("member", p)
		}
		return q.failOrCode(err, "Change a member", codeFor{operation: "update_member", key: p.Member.ID, body: body})
	}
	return q.seeOther(q.about("/members/"+p.Member.ID), doneSaved)
}

// grantRows are a member's roles as the form has them.
func grantRows(m api.Member) []grantRow {
	var all []grantRow
	for _, g := range m.Grants {
		row := grantRow{Role: g.Role}
		if g.Account != nil {
			row.On = *g.Account
		}
		if g.Organization != nil {
			row.On = *g.Organization
		}
		all = append(all, row)
	}
	return all
}

// sentGrants are the roles of the form: those of its rows that were not taken away, and those that go along.
func (q *request) sentGrants() []grantRow {
	var sent []grantRow
	roles, on := q.r.PostForm["role"], q.r.PostForm["on"]
	for i := range min(len(roles), len(on)) {
		if roles[i] != "" {
			sent = append(sent, grantRow{roles[i], strings.TrimSpace(on[i])})
		}
	}
	for line := range strings.Lines(q.r.PostForm.Get("others")) {
		if role, on, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " "); ok {
			sent = append(sent, grantRow{role, on})
		}
	}
	return sent
}

// sameGrants says whether two lists hold the same roles, in whatever order.
func sameGrants(a, b []grantRow) bool {
	order := func(rows []grantRow) []grantRow {
		return slices.SortedFunc(slices.Values(rows), func(x, y grantRow) int { return cmp.Or(cmp.Compare(x.On, y.On), cmp.Compare(x.Role, y.Role)) })
	}
	return slices.Equal(order(a), order(b))
}

func (q *request) deleteMember() error {
	c := call{method: http.MethodDelete, path: "/v1/members/" + url.PathEscape(q.r.PathValue("id"))}
	gone, err := ask[api.MemberDeleted](q, c)
	switch {
	case err != nil:
		return err
	case len(gone.AdminTokens) > 0:
		return q.seeOther(q.about("/members"), doneTokensLeft)
	}
	return q.seeOther(q.about("/members"), doneMemberDeleted)
}

func (q *request) renewInvitation() error {
	id := q.r.PathValue("id")
	m, header, err := askHeader[api.Member](q, q.withCode(q.once(post("/v1/members/"+url.PathEscape(id)+"/invitation", nil))))
	if err != nil {
		return q.failOrCode(err, "Invite a member again", codeFor{operation: "renew_invitation", key: id})
	}
	return q.invited(header, m)
}

func (q *request) endMemberSessions() error {
	id := url.PathEscape(q.r.PathValue("id"))
	if _, err := ask[api.Ended](q, call{method: http.MethodDelete, path: "/v1/members/" + id + "/sessions"}); err != nil {
		return err
	}
	return q.seeOther(q.about("/members/"+id), doneMemberSessions)
}
