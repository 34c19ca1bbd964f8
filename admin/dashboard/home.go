package dashboard

import (
	"crypto/rand"
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/policy"
)

func homePages() []route {
	return []route{{"GET /{$}", "", (*request).showHome}}
}

// homePage gets somebody to their first request: examples in six languages, with a sandbox key of the viewer's own.
type homePage struct {
	Page
	Examples []example
	Real     bool   // the examples have a key that works
	Account  string // whose key it is, its name
	KeysURL  string // where the key is
	LogsURL  string
	Accounts bool // there is an account at all
	Used     bool // the key was used already
}

func (q *request) showHome() error {
	address := q.ExampleURL()
	if address == "" { // no site of this process has the gateway
		address = exampleAddress
	}
	token, err := policy.GenerateToken(rand.Reader, policy.KindSecret, policy.ModeSandbox)
	if err != nil {
		return err
	}
	shown := token.Reveal() // of nobody: drawn for this page
	var account *api.Account
	if q.caller != nil {
		if account, err = q.homeAccount(); err != nil {
			return err
		}
	}
	if account == nil {
		return q.show("home", &homePage{Page: q.page("Home", "home"), Examples: examples(address, shown)})
	}
	// From here on the page is about that account's sandbox, as its examples are.
	scope := Scope{Account: account.ID, Mode: modeSandbox}
	q.scope, q.owner = scope, ownerName{ID: account.ID, Name: account.Name}
	p := &homePage{Page: q.page("Home", "home"), Accounts: true, Account: account.Name}
	p.KeysURL, p.LogsURL = p.To(scope.path("keys")), p.To(scope.path("logs"))
	key, own := q.ownSandboxKey(account)
	if own != "" {
		shown, p.Real = own, true
	}
	p.Used = key != nil && key.LastUsedAt != nil
	p.Examples = examples(address, shown)
	return q.show("home", p)
}

// homeAccount is the account of which the examples have a key: the one that the address names, else the oldest that the viewer
// sees. nil: there is none.
func (q *request) homeAccount() (*api.Account, error) {
	if id := q.query("account"); id != "" {
		a, err := ask[api.Account](q, get("/v1/accounts/"+url.PathEscape(id), nil))
		return &a, err
	}
	list, err := ask[api.List[api.Account]](q, get("/v1/accounts", url.Values{"limit": {"100"}}))
	if err != nil || len(list.Data) == 0 {
		return nil, err
	}
	return &list.Data[len(list.Data)-1], nil
}

// ownSandboxKey is the secret key of the account's default sandbox, and its token if the viewer may see it.
func (q *request) ownSandboxKey(account *api.Account) (*api.Key, string) {
	list, err := ask[api.List[api.Key]](q, get("/v1/keys", url.Values{
		"account": {account.ID}, "mode": {modeSandbox}, "sandbox": {account.DefaultSandbox}, "kind": {"secret"}, "status": {"active"}, "limit": {"100"},
	}))
	if err != nil {
		return nil, ""
	}
	for i := len(list.Data) - 1; i >= 0; i-- { // the oldest: the one that the account came with, or what it was rotated to
		k := list.Data[i]
		if !k.Revealable {
			continue
		}
		if !q.may("reveal_key") || q.r.Method != http.MethodGet {
			return &k, ""
		}
		token, err := q.reveals.token(q.caller.Actor.ID, k.ID, q.Now(), func() (string, error) {
			shown, err := ask[api.Key](q, post("/v1/keys/"+k.ID+"/reveal", nil))
			return string(shown.Token), err
		})
		if err != nil {
			return &k, ""
		}
		return &k, token
	}
	return nil, ""
}
