package gatetest

import (
	"testing"
)

// Catalog is the catalog of the attack tests: customers, charges and admin; /v1/tokens is publishable; everything else
// is unknown and so denied to restricted keys.
const Catalog = `catalog {
	resource customers {
		read GET /v1/customers /v1/customers/*
		write POST /v1/customers /v1/customers/*
		write DELETE /v1/customers/*
	}
	resource charges {
		read GET /v1/charges /v1/charges/*
		write POST /v1/charges /v1/charges/*
	}
	resource admin {
		read GET /admin/*
		write POST /admin/*
	}
	resource tokens {
		write POST /v1/tokens
		publishable POST /v1/tokens
	}
}
`

// TrustedProxy is the source address that the fixture's gateway trusts as a proxy, and Elsewhere one that it does not.
const (
	TrustedProxy = "127.0.0.2"
	Elsewhere    = "127.0.0.9"
)

// Fixture is the setting of the attack tests: accounts, keys, and what each stands for.
type Fixture struct {
	Org string // organization with accounts A and B
	A   string // platform; D is connected to it
	B   string // other account of the organization
	C   string // account outside of the organization
	D   string // connected to A, and E to D
	E   string

	SK   Key // live secret of A
	SKT  Key // sandbox secret of A
	RK   Key // live, restricted to customers read, of A
	RKC  Key // as RK, with customers read on connected accounts too
	PK   Key // live publishable of A
	PKT  Key // sandbox publishable of A
	ORG  Key // live organization key, unrestricted
	ORGR Key // live organization key, customers read only
	SKIP Key // live secret of A, limited to 203.0.113.0/24
	OLD  Key // live secret of A, deleted
	SKB  Key // live secret of B
}

// NewFixture makes accounts and keys through the admin API.
func NewFixture(tb testing.TB, a *Admin) *Fixture {
	tb.Helper()
	f := &Fixture{}
	f.Org = a.CreateOrganization(tb, "Org")
	f.A = a.CreateAccount(tb, "A", f.Org).ID
	f.B = a.CreateAccount(tb, "B", f.Org).ID
	f.C = a.CreateAccount(tb, "C", "").ID
	f.D = a.CreateAccount(tb, "D", "").ID
	f.E = a.CreateAccount(tb, "E", "").ID
	a.Connect(tb, f.A, f.D)
	a.Connect(tb, f.D, f.E)

	f.SK = a.DefaultKey(tb, f.A, "secret", "live")
	f.SKT = a.DefaultKey(tb, f.A, "secret", "sandbox")
	f.PK = a.DefaultKey(tb, f.A, "publishable", "live")
	f.PKT = a.DefaultKey(tb, f.A, "publishable", "sandbox")
	f.SKB = a.DefaultKey(tb, f.B, "secret", "live")
	f.RK = a.CreateKey(tb, Fields{"kind": "restricted", "mode": "live", "account": f.A, "name": "reader",
		"permissions": Fields{"customers": "read"}})
	f.RKC = a.CreateKey(tb, Fields{"kind": "restricted", "mode": "live", "account": f.A, "name": "connected reader",
		"permissions": Fields{"customers": "read"}, "connected_permissions": Fields{"customers": "read"}})
	f.ORG = a.CreateKey(tb, Fields{"kind": "organization", "mode": "live", "organization": f.Org, "name": "org"})
	f.ORGR = a.CreateKey(tb, Fields{"kind": "organization", "mode": "live", "organization": f.Org, "name": "org reader",
		"permissions": Fields{"customers": "read"}})
	f.SKIP = a.CreateKey(tb, Fields{"kind": "secret", "mode": "live", "account": f.A, "name": "office only",
		"ip_ranges": []string{"203.0.113.0/24"}})
	f.OLD = a.CreateKey(tb, Fields{"kind": "secret", "mode": "live", "account": f.A, "name": "old"})
	a.DeleteKey(tb, f.OLD.ID)
	return f
}
