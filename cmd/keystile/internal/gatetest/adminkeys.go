package gatetest

import (
	"fmt"
	"net/url"
	"testing"
)

// Account is an account as the admin API shows it.
type Account struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Organization   string `json:"organization"`
	DefaultVersion string `json:"default_api_version"`
}

// Key is a key as the admin API shows it.
type Key struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Kind         string            `json:"kind"`
	Mode         string            `json:"mode"`
	Sandbox      string            `json:"sandbox"`
	Account      string            `json:"account"`
	Organization string            `json:"organization"`
	Name         string            `json:"name"`
	Note         string            `json:"note"`
	Status       string            `json:"status"`
	Token        string            `json:"token"`
	TokenMasked  string            `json:"token_masked"`
	Permissions  map[string]string `json:"permissions"`
	IPRanges     []string          `json:"ip_ranges"`
	Revealable   bool              `json:"revealable"`
	Rotation     struct {
		Predecessor string `json:"predecessor"`
		Successor   string `json:"successor"`
	} `json:"rotation"`
}

// Fields is a JSON object given to the admin API.
type Fields = map[string]any

type page[T any] struct {
	Data    []T  `json:"data"`
	HasMore bool `json:"has_more"`
}

// CreateOrganization makes an organization and returns its id.
func (a *Admin) CreateOrganization(tb testing.TB, name string) string {
	tb.Helper()
	var org struct {
		ID string `json:"id"`
	}
	a.Do(tb, "POST", "/v1/organizations", Fields{"name": name}, &org)
	return org.ID
}

// CreateAccount makes an account, of an organization unless that is "".
func (a *Admin) CreateAccount(tb testing.TB, name, organization string) Account {
	tb.Helper()
	in := Fields{"name": name}
	if organization != "" {
		in["organization"] = organization
	}
	var account Account
	a.Do(tb, "POST", "/v1/accounts", in, &account)
	return account
}

// Connect makes child a connected account of parent.
func (a *Admin) Connect(tb testing.TB, parent, child string) {
	tb.Helper()
	a.Do(tb, "PUT", "/v1/accounts/"+parent+"/connections/"+child, nil, nil)
}

// Keys returns the keys that match a filter, over all pages, newest first.
func (a *Admin) Keys(tb testing.TB, filter url.Values) []Key {
	tb.Helper()
	keys, err := a.TryKeys(filter)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// TryKeys is Keys for goroutines beside the test's own.
func (a *Admin) TryKeys(filter url.Values) ([]Key, error) {
	return list[Key](a, "/v1/keys", filter)
}

// list reads all pages of a list.
func list[T any](a *Admin, path string, filter url.Values) ([]T, error) {
	query := url.Values{"limit": {"100"}}
	for name, values := range filter {
		query[name] = values
	}
	var all []T
	for {
		var p page[rawRow[T]]
		if err := a.TryDo("GET", path+"?"+query.Encode(), nil, &p); err != nil {
			return nil, err
		}
		for _, row := range p.Data {
			all = append(all, row.value)
		}
		if !p.HasMore {
			return all, nil
		}
		if len(p.Data) == 0 {
			return nil, fmt.Errorf("list %s: has_more on an empty page", path)
		}
		query.Set("starting_after", p.Data[len(p.Data)-1].id)
	}
}

// DefaultKey returns one of the four standard keys of an account, with its token.
func (a *Admin) DefaultKey(tb testing.TB, account, kind, mode string) Key {
	tb.Helper()
	for _, k := range a.Keys(tb, url.Values{"account": {account}, "kind": {kind}, "mode": {mode}}) {
		if k.Status != "active" {
			continue
		}
		if k.Token == "" {
			k = a.Reveal(tb, k.ID)
		}
		return k
	}
	tb.Fatalf("account %s has no %s key in mode %s", account, kind, mode)
	return Key{}
}

// Reveal shows a key's token again.
func (a *Admin) Reveal(tb testing.TB, id string) Key {
	tb.Helper()
	var key Key
	a.Do(tb, "POST", "/v1/keys/"+id+"/reveal", nil, &key)
	if key.Token == "" {
		tb.Fatalf("reveal of %s answered no token", id)
	}
	return key
}

// CreateKey makes a key.
func (a *Admin) CreateKey(tb testing.TB, in Fields) Key {
	tb.Helper()
	var key Key
	a.Do(tb, "POST", "/v1/keys", in, &key)
	if key.Token == "" {
		tb.Fatalf("creating a key answered no token: %+v", key)
	}
	return key
}

// GetKey reads a key.
func (a *Admin) GetKey(tb testing.TB, id string) Key {
	tb.Helper()
	var key Key
	a.Do(tb, "GET", "/v1/keys/"+id, nil, &key)
	return key
}

// EditKey changes fields of a key.
func (a *Admin) EditKey(tb testing.TB, id string, in Fields) Key {
	tb.Helper()
	var key Key
	a.Do(tb, "PATCH", "/v1/keys/"+id, in, &key)
	return key
}

// DeleteKey deletes a key.
func (a *Admin) DeleteKey(tb testing.TB, id string) {
	tb.Helper()
	a.Do(tb, "DELETE", "/v1/keys/"+id, nil, nil)
}

// Import imports keys and returns them.
func (a *Admin) Import(tb testing.TB, keys ...Fields) []Key {
	tb.Helper()
	for _, k := range keys {
		if token, ok := k["token"].(string); ok {
			a.Remember(token)
		}
	}
	var out page[Key]
	a.Do(tb, "POST", "/v1/keys/import", Fields{"keys": keys}, &out)
	return out.Data
}
