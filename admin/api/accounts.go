package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// Account owns keys and sandboxes.
type Account struct {
	ID                string      `json:"id" example:"acct_1032D82eZvKYlo2C"`
	Object            string      `json:"object" enum:"account"`
	Name              string      `json:"name"`
	Organization      *string     `json:"organization" doc:"The organization it belongs to; null if it stands alone"`
	DefaultAPIVersion *string     `json:"default_api_version" doc:"API version of requests that name none; null if it has none"`
	RateLimit         *RateLimits `json:"rate_limit" doc:"Its own rate limits; null: as the configuration says"`
	Connections       []string    `json:"connections" nullable:"false" doc:"Ids of the directly connected accounts"`
	DefaultSandbox    string      `json:"default_sandbox" doc:"Id of the sandbox named default"`
	CreatedAt         time.Time   `json:"created_at"`
}

// AccountCreated is a new account with its four default keys.
type AccountCreated struct {
	Account
	Keys []Key `json:"keys" nullable:"false" doc:"The default keys: secret and publishable, sandbox and live. The secret ones are masked: the live one can be revealed once, the sandbox one at any time"`
}

// AccountCreate is the body that makes an account.
type AccountCreate struct {
	Name              string              `json:"name" doc:"1 to 200 characters"`
	Organization      Optional[string]    `json:"organization,omitzero" doc:"The organization that it is to belong to"`
	DefaultAPIVersion Optional[string]    `json:"default_api_version,omitzero" doc:"API version of requests that name none"`
	RateLimit         Optional[RateLimit] `json:"rate_limit,omitzero" doc:"Requests a second; absent: as the configuration says"`
}

// AccountUpdate is the body that changes an account. Absent fields stay as they are.
type AccountUpdate struct {
	Name              Optional[string]    `json:"name,omitzero" doc:"1 to 200 characters; not null"`
	Organization      Optional[string]    `json:"organization,omitzero" doc:"null takes it out of its organization"`
	DefaultAPIVersion Optional[string]    `json:"default_api_version,omitzero" doc:"null takes it away"`
	RateLimit         Optional[RateLimit] `json:"rate_limit,omitzero" doc:"Replaces both; null: as the configuration says"`
}

func viewAccount(a *keystore.Account) Account {
	connections := a.Connections
	if connections == nil {
		connections = []string{}
	}
	return Account{
		ID: a.ID, Object: "account", Name: a.Name, Organization: some(a.Organization), DefaultAPIVersion: some(a.DefaultVersion),
		RateLimit: viewRateLimit(a.RateLimit), Connections: connections, DefaultSandbox: a.DefaultSandbox, CreatedAt: *stamp(a.CreatedAt),
	}
}

type listAccountsInput struct {
	Organization  string `query:"organization" doc:"Only the accounts of this organization"`
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type createAccountInput struct {
	Body AccountCreate
}

type getAccountInput struct {
	ID string `path:"id" doc:"acct_…"`
}

type updateAccountInput struct {
	ID   string `path:"id" doc:"acct_…"`
	Body AccountUpdate
}

type connectionInput struct {
	ID          string `path:"id" doc:"The platform's account, acct_…"`
	ConnectedID string `path:"connected_id" doc:"The account that it connects, acct_…"`
}

func (a *API) registerAccounts() {
	const tag = "accounts"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/accounts", id: "list_accounts", tag: tag, summary: "List accounts",
	}, a.listAccounts)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/accounts", id: "create_account", tag: tag, summary: "Create an account", etag: true,
		errors:      []int{http.StatusNotFound},
		description: "Makes the account, its default sandbox, and four keys.",
	}, a.createAccount)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/accounts/{id}", id: "get_account", tag: tag, summary: "Get an account", etag: true,
	}, a.getAccount)
	handle(a, operation{
		method: http.MethodPatch, path: "/v1/accounts/{id}", id: "update_account", tag: tag, summary: "Change an account", etag: true, precondition: true,
	}, a.updateAccount)
	handle(a, operation{
		method: http.MethodPut, path: "/v1/accounts/{id}/connections/{connected_id}", id: "connect_account", tag: tag, etag: true,
		summary: "Connect an account to a platform", description: "Answers the platform's account. Connecting what is connected changes nothing.",
		errors: []int{http.StatusConflict},
	}, a.connectAccount)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/accounts/{id}/connections/{connected_id}", id: "disconnect_account", tag: tag, etag: true,
		summary: "Disconnect an account from a platform", description: "Answers the platform's account. Its keys do not reach the other one from then on.",
		errors: []int{http.StatusConflict},
	}, a.disconnectAccount)
}

func (a *API) listAccounts(c *call, in *listAccountsInput) (List[Account], error) {
	snapshot := a.Store.Snapshot()
	_, known := snapshot.Account(in.StartingAfter)
	if err := checkCursor(in.StartingAfter, known && c.covers(in.StartingAfter, "")); err != nil {
		return List[Account]{}, err
	}
	organization := in.Organization
	switch {
	case c.caller.Account != "":
		own, ok := snapshot.Account(c.caller.Account)
		ok = ok && in.StartingAfter == "" && (organization == "" || organization == own.Organization)
		return listOf(onlyRow(own, ok), false, viewAccount), nil
	case c.caller.Organization == "" || organization == c.caller.Organization:
	case organization == "":
		organization = c.caller.Organization
	default:
		return listOf([]*keystore.Account{}, false, viewAccount), nil // as of an organization that is not there
	}
	rows, more, err := snapshot.Accounts(organization, page(in.Limit, in.StartingAfter))
	if err != nil {
		return List[Account]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, viewAccount), nil
}

func (a *API) createAccount(c *call, in *createAccountInput) (AccountCreated, error) {
	if err := c.coversOwner("", in.Body.Organization.Value); err != nil {
		return AccountCreated{}, err
	}
	if err := a.checkVersion(in.Body.DefaultAPIVersion, ""); err != nil {
		return AccountCreated{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	account, keys, err := a.Store.CreateAccount(ctx, c.actor, keystore.AccountParams{
		Name: in.Body.Name, Organization: in.Body.Organization.Value, DefaultVersion: in.Body.DefaultAPIVersion.Value,
		RateLimit: in.Body.RateLimit.Value.stored(),
	})
	if err != nil {
		return AccountCreated{}, err
	}
	c.revision = account.Revision
	return AccountCreated{Account: viewAccount(account), Keys: listOf(keys, false, c.viewKey).Data}, nil
}

func (a *API) getAccount(c *call, in *getAccountInput) (Account, error) {
	account, ok := a.Store.Snapshot().Account(in.ID)
	if !ok {
		return Account{}, notFound("account", in.ID)
	}
	c.revision = account.Revision
	return viewAccount(account), nil
}

func (a *API) updateAccount(c *call, in *updateAccountInput) (Account, error) {
	account, ok := a.Store.Snapshot().Account(in.ID)
	if !ok {
		return Account{}, notFound("account", in.ID)
	}
	if err := c.mayMove(account, in.Body.Organization); err != nil {
		return Account{}, err
	}
	if err := a.checkVersion(in.Body.DefaultAPIVersion, account.DefaultVersion); err != nil {
		return Account{}, err
	}
	revision, err := c.ifRevision(account.Revision)
	if err != nil {
		return Account{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	return c.changed(a.Store.UpdateAccount(ctx, c.actor, in.ID, keystore.AccountPatch{
		Name: field(in.Body.Name), Organization: field(in.Body.Organization), DefaultVersion: field(in.Body.DefaultAPIVersion),
		RateLimit: mapped(in.Body.RateLimit, RateLimit.stored), IfRevision: revision,
	}))
}

// checkVersion refuses a default version that the gateway would refuse from a client. One that is there already is left: the
// configuration may have changed since.
func (a *API) checkVersion(version Optional[string], before string) error {
	if version.Value == "" || version.Value == before {
		return nil // what an empty one means is the store's to say
	}
	if rules := a.Rules(""); rules != nil && !rules.Version.Match(version.Value) {
		return badParam("default_api_version", "this is no API version that the gateway's configuration allows (api_versions)")
	}
	return nil
}

func (a *API) connectAccount(c *call, in *connectionInput) (Account, error) {
	if err := c.coversPath(auth.AccountObject, in.ConnectedID); err != nil {
		return Account{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	return c.changed(a.Store.Connect(ctx, c.actor, in.ID, in.ConnectedID))
}

func (a *API) disconnectAccount(c *call, in *connectionInput) (Account, error) {
	ctx, cancel := c.commit()
	defer cancel()
	return c.changed(a.Store.Disconnect(ctx, c.actor, in.ID, in.ConnectedID))
}

// changed is the answer for a changed account.
func (c *call) changed(account *keystore.Account, err error) (Account, error) {
	if err != nil {
		return Account{}, err
	}
	c.revision = account.Revision
	return viewAccount(account), nil
}
