package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/requestlog"
)

// What a caller may do is decided here, by the table of package auth, before a call's input is even read: enter asks
// whether the caller may make the call, and whether their limit covers what the path names. Calls that name objects in
// another way (lists, bodies, request records) ask for those themselves. What is not covered is answered as what is not
// there, so that nobody can find out which foreign ids exist.

// enter lets a call in or says why not.
func (c *call) enter(operation string) error {
	rule, known := auth.RuleOf(operation)
	if known && rule.Public {
		return nil
	}
	caller, err := c.api.Caller(c.r)
	if err != nil {
		err = c.refused(err)
		if operation == "sign_out" {
			err = c.forgotten(err)
		}
		return err
	}
	c.caller, c.actor = caller, caller.Actor
	if err := caller.May(operation); err != nil {
		return err
	}
	if !caller.Limited() {
		return nil
	}
	return c.coversPath(rule.Object, c.path["id"])
}

// refused is the error for a caller who could not be told.
func (c *call) refused(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) {
		// fail closed, and say nothing of why: the cause may describe somebody else's credential.
		return newError(http.StatusUnauthorized, codeUnauthenticated, "", "this call needs a valid credential")
	}
	if refusal.RetryAfter > 0 {
		seconds := (refusal.RetryAfter + time.Second - 1) / time.Second
		c.w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	return refusal
}

// told is the error of package auth for a call that was let in: a refusal as it is, any other as what it is.
func (c *call) told(err error) error {
	var refusal *auth.Refusal
	if errors.As(err, &refusal) {
		return c.refused(refusal)
	}
	return err
}

// covers says whether what an account or an organization owns is the caller's to see.
func (c *call) covers(account, organization string) bool {
	return c.caller.Covers(c.api.Store.Directory(), account, organization)
}

func (c *call) coversKey(k *keystore.Key) bool {
	return k != nil && c.covers(k.Account, k.Organization)
}

// coversPath judges an object that a path names. What is not there gets the same answer.
func (c *call) coversPath(object auth.Object, id string) error {
	snapshot := c.api.Store.Snapshot()
	switch object {
	case auth.NoObject:
		return nil
	case auth.OrganizationObject:
		if !c.covers("", id) {
			return notFound("organization", id)
		}
	case auth.AccountObject:
		if !c.covers(id, "") {
			return notFound("account", id)
		}
	case auth.KeyObject:
		if k, ok := snapshot.Key(id); !ok || !c.coversKey(k) {
			return notFound("key", id)
		}
	case auth.AdminTokenObject:
		if t, ok := snapshot.AdminToken(id); !ok || !c.covers(t.Account, t.Organization) {
			return noAdminToken()
		}
	case auth.MemberObject:
		if m, ok := snapshot.Member(id); !ok || !c.coversMember(m) {
			return notFound("member", id)
		}
	default:
		return notFound("object", "") // fail closed
	}
	return nil
}

// coversOwner judges the owner that a body names for something new. The answer is the one for an owner who is not there.
func (c *call) coversOwner(account, organization string) error {
	switch {
	case !c.caller.Limited():
		return nil
	case account == "" && organization == "":
		return newError(http.StatusForbidden, auth.CodeLimit, "",
			"your token has a limit: say for which account or organization within it this is to be")
	case organization != "" && !c.covers("", organization):
		e := notFound("organization", organization)
		e.Param = "organization"
		return e
	case account != "" && !c.covers(account, ""):
		e := notFound("account", account)
		e.Param = "account"
		return e
	}
	return nil
}

// mayMove judges a change of an account's organization: that gives the keys of one organization rights on the account and
// takes them from another, so that it is for callers who answer for both.
func (c *call) mayMove(account *keystore.Account, to Optional[string]) error {
	if !to.Set || to.Value == account.Organization || !c.caller.Limited() {
		return nil
	}
	return newError(http.StatusForbidden, auth.CodeLimit, "organization",
		"moving an account from or to an organization reaches beyond what your token is limited to")
}

// within limits the request log to the records that the caller may see; nil is no limit.
func (c *call) within() []string {
	switch {
	case !c.caller.Limited():
		return nil
	case c.caller.Account != "":
		return []string{c.caller.Account}
	}
	ids := []string{c.caller.Organization}
	p := keystore.Page{Limit: keystore.MaxPageLimit}
	for more := true; more; {
		var rows []*keystore.Account
		var err error
		if rows, more, err = c.api.Store.Snapshot().Accounts(c.caller.Organization, p); err != nil || len(rows) == 0 {
			break // what was found so far is what may be seen
		}
		for _, account := range rows {
			ids = append(ids, account.ID)
		}
		p.StartingAfter = rows[len(rows)-1].ID
	}
	return ids
}

// coversRecord judges one request record, by the newest state. A record of nobody, such as one of a gap or of an unknown
// key, is for callers without a limit.
func (c *call) coversRecord(r *requestlog.Record) bool {
	if !c.caller.Limited() {
		return true
	}
	for _, id := range []string{r.Account, r.Owner} {
		if r.Concerns(id) && (c.covers(id, "") || c.covers("", id)) {
			return true
		}
	}
	return false
}

// onlyRow is a list of one row, or of none.
func onlyRow[T any](row T, there bool) []T {
	if !there {
		return nil
	}
	return []T{row}
}
