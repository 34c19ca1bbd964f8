package policy

import (
	"strings"
	"testing"
)

func TestContext(t *testing.T) {
	t.Parallel()
	rules := testRules(t)
	type headers struct {
		context, account           string
		contextCount, accountCount int
	}
	context := func(s string) headers { return headers{context: s, contextCount: 1} }
	account := func(s string) headers { return headers{account: s, accountCount: 1} }
	long := strings.Repeat("acct_A1/", 7) + "acct_A1"
	for _, tt := range []struct {
		name    string
		p       *Principal
		h       headers
		want    Reason
		account string
		param   string
	}{
		{"organization: member", organizationKey(), context("acct_A"), ReasonAllowed, "acct_A", ""},
		{"organization: member by the short header", organizationKey(), account("acct_B"), ReasonAllowed, "acct_B", ""},
		{"organization: connected", organizationKey(), context("acct_A/acct_A1"), ReasonAllowed, "acct_A1", ""},
		{"organization: two levels", organizationKey(), context("acct_A/acct_A1/acct_A11"), ReasonAllowed, "acct_A11", ""},
		{"organization: in no organization", organizationKey(), context("acct_C"), ReasonAccountInvalid, "acct_C", "Stripe-Context"},
		{"organization: of another one", organizationKey(), context("acct_D"), ReasonAccountInvalid, "acct_D", "Stripe-Context"},
		{"organization: connected account without its platform", organizationKey(), context("acct_A1"), ReasonAccountInvalid, "acct_A1", "Stripe-Context"},
		{"organization: member that is not connected", organizationKey(), context("acct_A/acct_B"), ReasonAccountInvalid, "acct_B", "Stripe-Context"},
		{"organization: connected to another", organizationKey(), context("acct_A/acct_B1"), ReasonAccountInvalid, "acct_B1", "Stripe-Context"},
		{"organization: a level left out", organizationKey(), context("acct_A/acct_A11"), ReasonAccountInvalid, "acct_A11", "Stripe-Context"},
		{"organization: in a circle", organizationKey(), context("acct_A/acct_A1/acct_A11/acct_A"), ReasonAccountInvalid, "acct_A", "Stripe-Context"},
		{"organization: its own id", organizationKey(), context("org_1"), ReasonContextInvalid, "", "Stripe-Context"},

		{"account: nothing", secretKey(), headers{}, ReasonAllowed, "acct_A", ""},
		{"account: itself", secretKey(), context("acct_A"), ReasonAllowed, "acct_A", ""},
		{"account: itself by the short header", secretKey(), account("acct_A"), ReasonAllowed, "acct_A", ""},
		{"account: connected", secretKey(), context("acct_A1"), ReasonAllowed, "acct_A1", ""},
		{"account: connected by the short header", secretKey(), account("acct_A1"), ReasonAllowed, "acct_A1", ""},
		{"account: two levels", secretKey(), context("acct_A1/acct_A11"), ReasonAllowed, "acct_A11", ""},
		{"account: itself first", secretKey(), context("acct_A/acct_A1"), ReasonAccountInvalid, "acct_A1", "Stripe-Context"},
		{"account: back to itself", secretKey(), context("acct_A1/acct_A11/acct_A"), ReasonAccountInvalid, "acct_A", "Stripe-Context"},
		{"account: not connected", secretKey(), context("acct_B"), ReasonAccountInvalid, "acct_B", "Stripe-Context"},
		{"account: not connected, short header", secretKey(), account("acct_B"), ReasonAccountInvalid, "acct_B", "Stripe-Account"},
		{"account: a level left out", secretKey(), context("acct_A11"), ReasonAccountInvalid, "acct_A11", "Stripe-Context"},
		{"account: the same account again and again", secretKey(), context(long), ReasonAccountInvalid, "acct_A1", "Stripe-Context"},

		{"both, equal", secretKey(), headers{"acct_A1", "acct_A1", 1, 1}, ReasonAllowed, "acct_A1", ""},
		{"both, different", secretKey(), headers{"acct_A1", "acct_A", 1, 1}, ReasonContextInvalid, "", "Stripe-Context"},
		{"both, the path ends in the account", organizationKey(), headers{"acct_A/acct_A1", "acct_A1", 1, 1}, ReasonContextInvalid, "", "Stripe-Context"},
		{"context twice", secretKey(), headers{"acct_A1", "", 2, 0}, ReasonContextInvalid, "", "Stripe-Context"},
		{"account twice", secretKey(), headers{"", "acct_A1", 0, 2}, ReasonContextInvalid, "", "Stripe-Account"},
		{"context once, account twice", secretKey(), headers{"acct_A1", "acct_A1", 1, 2}, ReasonContextInvalid, "", "Stripe-Account"},
		{"path in the short header", secretKey(), account("acct_A1/acct_A11"), ReasonContextInvalid, "", "Stripe-Account"},
		{"path in both", secretKey(), headers{"acct_A1/acct_A11", "acct_A1/acct_A11", 1, 1}, ReasonContextInvalid, "", "Stripe-Account"},

		{"empty", secretKey(), context(""), ReasonContextInvalid, "", "Stripe-Context"},
		{"empty short header", secretKey(), account(""), ReasonContextInvalid, "", "Stripe-Account"},
		{"empty from an organization key", organizationKey(), context(""), ReasonContextInvalid, "", "Stripe-Context"},
		{"trailing slash", organizationKey(), context("acct_A/"), ReasonContextInvalid, "", "Stripe-Context"},
		{"leading slash", organizationKey(), context("/acct_A"), ReasonContextInvalid, "", "Stripe-Context"},
		{"two slashes", organizationKey(), context("acct_A//acct_A1"), ReasonContextInvalid, "", "Stripe-Context"},
		{"dots", organizationKey(), context("acct_A/../acct_C"), ReasonContextInvalid, "", "Stripe-Context"},
		{"space", organizationKey(), context("acct_A/ acct_A1"), ReasonContextInvalid, "", "Stripe-Context"},
		{"comma", organizationKey(), context("acct_A,acct_B"), ReasonContextInvalid, "", "Stripe-Context"},
		{"escaped", organizationKey(), context("acct_A%2facct_A1"), ReasonContextInvalid, "", "Stripe-Context"},
		{"capitals in the prefix", organizationKey(), context("ACCT_A"), ReasonContextInvalid, "", "Stripe-Context"},
		{"prefix alone", organizationKey(), context("acct_"), ReasonContextInvalid, "", "Stripe-Context"},
		{"line end", organizationKey(), context("acct_A\n"), ReasonContextInvalid, "", "Stripe-Context"},
		{"quote", organizationKey(), context("acct_A'"), ReasonContextInvalid, "", "Stripe-Context"},
		{"long id", organizationKey(), context("acct_" + strings.Repeat("A", 60)), ReasonContextInvalid, "", "Stripe-Context"},
		{"nine levels", organizationKey(), context("acct_A/" + long), ReasonContextInvalid, "", "Stripe-Context"},
		{"a thousand levels", organizationKey(), context(strings.Repeat("acct_A/", 1000) + "acct_A"), ReasonContextInvalid, "", "Stripe-Context"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := get("/v1/charges")
			q.Context, q.Account, q.ContextCount, q.AccountCount = tt.h.context, tt.h.account, tt.h.contextCount, tt.h.accountCount
			q.Version, q.VersionCount = version, 1
			d := rules.Decide(tt.p, &q, world, epoch)
			if d.Reason != tt.want || d.Account != tt.account || d.Param != tt.param {
				t.Errorf("got %v (account %q, param %q), want %v (account %q, param %q)", d.Reason, d.Account, d.Param, tt.want, tt.account, tt.param)
			}
			if tt.h.contextCount+tt.h.accountCount > 0 && d.Allowed() && d.Account != "acct_A" {
				if d := rules.Decide(tt.p, &q, nil, epoch); d.Reason != ReasonAccountInvalid {
					t.Errorf("without a directory: got %v, want %v", d.Reason, ReasonAccountInvalid)
				}
			}
		})
	}
}

// Which list of a key counts where, and that the smaller right wins.
func TestConnectedPermissions(t *testing.T) {
	t.Parallel()
	rules := testRules(t)
	read, write := NewPermissions(map[string]Access{"charges": AccessRead}), NewPermissions(map[string]Access{"charges": AccessWrite})
	none := NewPermissions(nil)
	for _, tt := range []struct {
		name           string
		kind           Kind
		own, connected *Permissions
		onOwn          Access // what it may do on its own account, or on a member
		onConnected    Access
		unrestricted   bool // may also call routes that the catalog does not know, there
	}{
		{"secret", KindSecret, nil, nil, AccessWrite, AccessWrite, true},
		{"secret with a list for connected accounts", KindSecret, nil, read, AccessWrite, AccessRead, false},
		{"secret with a list of its own", KindSecret, write, nil, AccessWrite, AccessNone, false},
		{"restricted", KindRestricted, read, nil, AccessRead, AccessNone, false},
		{"restricted with both", KindRestricted, read, write, AccessRead, AccessWrite, false},
		{"restricted, only connected", KindRestricted, none, read, AccessNone, AccessRead, false},
		{"restricted without lists", KindRestricted, nil, nil, AccessNone, AccessNone, false},
		{"restricted without its own list", KindRestricted, nil, write, AccessNone, AccessWrite, false},
		{"organization", KindOrganization, nil, nil, AccessWrite, AccessWrite, true},
		{"organization, limited", KindOrganization, read, nil, AccessRead, AccessNone, false},
		{"organization, limited on connected accounts", KindOrganization, nil, read, AccessWrite, AccessRead, false},
		{"organization, the smaller wins", KindOrganization, read, write, AccessRead, AccessRead, false},
		{"organization, the smaller wins the other way", KindOrganization, write, read, AccessWrite, AccessRead, false},
		{"organization, nothing", KindOrganization, none, write, AccessNone, AccessNone, false},
	} {
		p := &Principal{Kind: tt.kind, Mode: ModeLive, Owner: "acct_A", Permissions: tt.own, ConnectedPermissions: tt.connected}
		own, connected := "acct_A", "acct_A1"
		if tt.kind == KindOrganization {
			p.Owner, connected = "org_1", "acct_A/acct_A1"
		}
		for path, want := range map[string]Access{own: tt.onOwn, connected: tt.onConnected} {
			got := AccessNone
			for _, try := range []struct {
				method string
				access Access
			}{{"GET", AccessRead}, {"POST", AccessWrite}} {
				q := orgGet("/v1/charges", path)
				q.Method = try.method
				d := rules.Decide(p, &q, world, epoch)
				if d.Reason == ReasonAllowed {
					got = try.access
				} else if d.Reason != ReasonPermissionDenied {
					t.Errorf("%s on %s: got %v", tt.name, path, d.Reason)
				}
			}
			if got != want {
				t.Errorf("%s on %s: got %v, want %v", tt.name, path, got, want)
			}
		}
		q := orgGet("/nowhere", connected)
		if d := rules.Decide(p, &q, world, epoch); d.Allowed() != tt.unrestricted {
			t.Errorf("%s on an unknown route of a connected account: got %v", tt.name, d.Reason)
		}
	}
}

// FuzzContext: whatever the headers say, an allowed request acts on an account that is reachable hop by hop.
func FuzzContext(f *testing.F) {
	rules := testRules(f)
	f.Add("acct_A/acct_A1", "", uint8(1), uint8(0), true)
	f.Add("acct_A1", "acct_A1", uint8(1), uint8(1), false)
	f.Add("acct_A/../acct_C", "acct_C", uint8(1), uint8(2), true)
	f.Fuzz(func(t *testing.T, context, account string, contexts, accounts uint8, organization bool) {
		p := secretKey()
		if organization {
			p = organizationKey()
		}
		q := orgGet("/v1/charges", context)
		q.ContextCount, q.Account, q.AccountCount = int(contexts), account, int(accounts)
		d := rules.Decide(p, &q, world, epoch)
		if !d.Allowed() {
			return
		}
		if contexts > 1 || accounts > 1 || contexts == 1 && accounts == 1 && context != account {
			t.Errorf("got %v for two targets", d.Reason)
		}
		path := context
		if contexts == 0 {
			path = account
		}
		if contexts == 0 && accounts == 0 {
			path = p.Owner
		}
		hops := strings.Split(path, "/")
		if d.Account != hops[len(hops)-1] || len(hops) > 8 || accounts == 1 && len(hops) > 1 {
			t.Errorf("%q: acts on %q", path, d.Account)
		}
		if !organization && path == p.Owner {
			return
		}
		for i, hop := range hops {
			switch {
			case i == 0 && organization:
				if world.members[hop] != p.Owner {
					t.Errorf("%q: %q is no member", path, hop)
				}
			case i == 0:
				if !world.Connected(p.Owner, hop) {
					t.Errorf("%q: %q is not connected", path, hop)
				}
			default:
				if !world.Connected(hops[i-1], hop) {
					t.Errorf("%q: %q is not connected", path, hop)
				}
			}
		}
		if d.Connected != (!organization || len(hops) > 1) {
			t.Errorf("%q: got connected %v", path, d.Connected)
		}
	})
}
