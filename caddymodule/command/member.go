package command

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func memberCommand() caddycmd.Command {
	return group("member", "Manages members", `
Manages members: the people who sign in at a site with the keystile_admin
directive. A member has grants, each a role on the whole installation, on an
organization with its accounts, or on an account:

  owner          everything
  administrator  everything but owners
  developer      keys and request records
  viewer         reads, and sees no token

A member comes in by an invitation, a link that opens once within 24 hours.`,
		memberInvite, memberReinvite, memberList, memberGet, memberEdit, memberDelete, memberSessions, memberSignOut)
}

// addGrants adds the flag with the grants of a member.
func addGrants(fs *pflag.FlagSet) {
	fs.StringArray("grant", nil, "`ROLE[@ID]`: owner, administrator, developer or viewer, on an organization or account by its id, or on the whole installation (repeatable)")
}

// addConsent adds the flag by which somebody is trusted who has not shown that the e-mail address is theirs.
func addConsent(fs *pflag.FlagSet) {
	fs.Bool("email-unproven", false, "Grant to a member who has not shown that the address is theirs: you know who they are")
}

func (b body) setConsent(fs *pflag.FlagSet) {
	if yes, _ := fs.GetBool("email-unproven"); yes {
		b["email_unproven"] = true
	}
}

// grants reads the flag --grant.
func (c *call) grants() ([]body, error) {
	values, _ := c.flags().GetStringArray("grant")
	var grants []body
	for _, value := range values {
		role, id, limited := strings.Cut(value, "@")
		grant := body{"role": role}
		switch {
		case role == "":
			return nil, misuse("--grant: the role is missing: want ROLE or ROLE@ID")
		case !limited:
		case strings.HasPrefix(id, "org_"):
			grant["organization"] = id
		case strings.HasPrefix(id, "acct_"):
			grant["account"] = id
		default:
			// An empty one, as of a variable that is not set, must not make a grant on everything: fail closed.
			return nil, misuse("--grant: what stands behind @ is the id of an organization (org_…) or an account (acct_…)")
		}
		grants = append(grants, grant)
	}
	return grants, nil
}

func memberInvite() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "invite --email EMAIL --grant ROLE[@ID] [flags]",
		Short: "Invites a member",
		Long: `
Invites a member. Where SMTP is set up the link is sent by e-mail, else it is
printed here and nowhere else: hand it over. It opens once, within 24 hours.
With --owner and nothing else it makes a new link for the first owner, who then
says the e-mail address.`,
		Example: `
  keystile member invite --owner
  keystile member invite --email jenny@example.com --grant developer@acct_9fKq2LmZx81TnWvB
  keystile member invite --email sam@example.com --name Sam --grant viewer --grant administrator@org_4Qm1Zx81TnWvB9fK`,
	}
	fs := cmd.Flags()
	fs.String("email", "", "E-mail address `EMAIL` of the member")
	fs.String("name", "", "`NAME` of the member; else they say it")
	fs.Bool("owner", false, "The member owns the whole installation")
	addGrants(fs)
	addConsent(fs)
	return leaf(cmd, nil, func(c *call) error {
		fs := c.flags()
		grants, err := c.grants()
		if err != nil {
			return err
		}
		owner, _ := fs.GetBool("owner")
		switch {
		case owner && len(grants) > 0:
			return misuse("--owner and --grant exclude each other: an owner of the installation may do everything")
		case owner:
			grants = []body{{"role": "owner"}}
		case len(grants) == 0:
			return misuse("give at least one --grant, or --owner")
		case !fs.Changed("email"):
			return misuse("--email is missing")
		}
		req := body{"grants": grants}
		req.setText(fs, "email", "email", false)
		req.setText(fs, "name", "name", false)
		req.setConsent(fs)
		answer, err := c.do("POST", pathTo("members"), nil, req)
		if err != nil {
			return err
		}
		return show(c, answer, c.showInvited)
	})
}

func memberReinvite() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "reinvite MEMBER",
		Short: "Invites a member again",
		Long: `
Invites a member again; an earlier invitation is void. Who has lost password or
authenticator app comes back by it: once it is accepted the password is the new
one, and authenticator app, recovery codes and sessions are gone.`,
		Example: `  keystile member reinvite mem_8DpB666ojJIBrHTw33ZR`,
	}, []string{"MEMBER"}, func(c *call) error {
		id, err := c.id(0, "mem_")
		if err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("members", id, "invitation"), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showInvited)
	})
}

func memberList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Lists members, newest first",
		Long:    `Lists members, newest first.`,
		Example: `  keystile member list --all`,
	}
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		return list(c, pathTo("members"), nil, []string{"ID", "NAME", "EMAIL", "GRANTS", "STATUS", "APP", "LAST SEEN"},
			func(m *api.Member) []string {
				return []string{m.ID, m.Name, text(m.Email), grantsText(m), m.Status, yesNo(m.AuthenticatorApp), moment(m.LastSeenAt)}
			})
	})
}

func memberGet() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "get MEMBER",
		Short:   "Shows a member",
		Long:    `Shows a member.`,
		Example: `  keystile member get mem_8DpB666ojJIBrHTw33ZR`,
	}, []string{"MEMBER"}, func(c *call) error {
		id, err := c.id(0, "mem_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("members", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showMember)
	})
}

func memberEdit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit MEMBER [flags]",
		Short: "Changes a member",
		Long: `
Changes a member, at once and in their sessions too. --grant replaces all grants.
The last owner of the installation stays one.`,
		Example: `  keystile member edit mem_8DpB666ojJIBrHTw33ZR --grant viewer --grant developer@acct_9fKq2LmZx81TnWvB`,
	}
	fs := cmd.Flags()
	fs.String("email", "", "New e-mail address `EMAIL`")
	fs.String("name", "", "New `NAME`")
	addGrants(fs)
	addConsent(fs)
	return leaf(cmd, []string{"MEMBER"}, func(c *call) error {
		id, err := c.id(0, "mem_")
		if err != nil {
			return err
		}
		req := make(body)
		req.setText(c.flags(), "email", "email", false)
		req.setText(c.flags(), "name", "name", false)
		grants, err := c.grants()
		if err != nil {
			return err
		}
		if len(grants) > 0 {
			req["grants"] = grants
		}
		if len(req) == 0 {
			return misuse("nothing to change: give --name, --email or --grant")
		}
		req.setConsent(c.flags())
		answer, err := c.do("PATCH", pathTo("members", id), nil, req)
		if err != nil {
			return err
		}
		return show(c, answer, c.showMember)
	})
}

func memberDelete() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "delete MEMBER",
		Short: "Deletes a member",
		Long: `
Deletes a member and ends their sessions, at once and for good. Admin tokens that
they made go on working: their ids are printed, for keystile token delete.`,
		Example: `  keystile member delete mem_8DpB666ojJIBrHTw33ZR`,
	}, []string{"MEMBER"}, func(c *call) error {
		id, err := c.id(0, "mem_")
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("members", id), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(d *api.MemberDeleted) error {
			c.out.linef("deleted %s", clean(d.ID))
			for _, token := range d.AdminTokens {
				c.note.linef("Admin token %s, which they made, goes on working.", clean(token))
			}
			return nil
		})
	})
}

func memberSessions() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "sessions MEMBER",
		Short:   "Lists a member's sessions, newest first",
		Long:    `Lists where a member has signed in, newest first.`,
		Example: `  keystile member sessions mem_8DpB666ojJIBrHTw33ZR`,
	}, []string{"MEMBER"}, func(c *call) error {
		id, err := c.id(0, "mem_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("members", id, "sessions"), nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(l *api.List[api.Session]) error {
			rows := make([][]string, 0, len(l.Data))
			for _, s := range l.Data {
				rows = append(rows, []string{s.ID, moment(&s.CreatedAt), moment(&s.LastSeenAt), text(s.Address), s.Method, s.UserAgent})
			}
			c.out.table([]string{"ID", "SIGNED IN", "LAST SEEN", "ADDRESS", "BY", "USER AGENT"}, rows...)
			return nil
		})
	})
}

func memberSignOut() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "sign-out MEMBER",
		Short:   "Ends all of a member's sessions",
		Long:    `Ends all of a member's sessions, at once. The member can sign in again.`,
		Example: `  keystile member sign-out mem_8DpB666ojJIBrHTw33ZR`,
	}, []string{"MEMBER"}, func(c *call) error {
		id, err := c.id(0, "mem_")
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("members", id, "sessions"), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(e *api.Ended) error {
			c.out.linef("ended %s sessions", strconv.Itoa(e.Ended))
			return nil
		})
	})
}

// grantsText is the grants as --grant takes them.
func grantsText(m *api.Member) string {
	words := make([]string, 0, len(m.Grants))
	for _, g := range m.Grants {
		word := g.Role
		switch {
		case g.Organization != nil:
			word += "@" + *g.Organization
		case g.Account != nil:
			word += "@" + *g.Account
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// showInvited prints a member and how they come in.
func (c *call) showInvited(m *api.Member) error {
	if err := c.showMember(m); err != nil {
		return err
	}
	switch i := m.Invitation; {
	case i == nil:
		c.note.linef("The member was there already, and has one more grant.")
	case i.SentTo != nil:
		c.note.linef("The link was sent to %s.", clean(*i.SentTo))
	case i.Link != "":
		c.out.fields(field{"link", string(i.Link)})
		c.note.linef("Hand the link over: it opens once, within 24 hours, and is not shown again.")
	default:
		c.out.fields(field{"invitation", string(i.Token)})
		c.note.linef("No site has the keystile_admin directive yet: the invitation is accepted there.")
	}
	return nil
}

func (c *call) showMember(m *api.Member) error {
	c.out.fields(
		field{"id", m.ID},
		field{"name", m.Name},
		field{"email", text(m.Email)},
		field{"email proven", yesNo(m.EmailProven)},
		field{"grants", grantsText(m)},
		field{"status", m.Status},
		field{"authenticator app", yesNo(m.AuthenticatorApp)},
		field{"created", moment(&m.CreatedAt)},
		field{"created by", m.CreatedBy},
		field{"invited until", moment(m.InvitedUntil)},
		field{"last seen", moment(m.LastSeenAt)},
	)
	return nil
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
