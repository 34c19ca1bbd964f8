package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// directory is a store of accounts in maps.
type directory struct {
	members   map[string]string   // account to organization
	connected map[string][]string // account to accounts
	versions  map[string]string
}

func (d *directory) MemberOf(account, organization string) bool {
	return d.members[account] == organization && organization != ""
}
func (d *directory) Connected(parent, child string) bool {
	return slices.Contains(d.connected[parent], child)
}
func (d *directory) DefaultVersion(account string) string { return d.versions[account] }
func (d *directory) DefaultSandbox(account string) string {
	if account == "acct_ghost" {
		return ""
	}
	return "sbx_default_" + strings.TrimPrefix(account, "acct_")
}

// world is the fixture: organization org_1 with members A and B; A is connected to A1, A1 to A11, A11 back to A, B to B1.
// acct_C is in no organization.
var world = &directory{
	members:   map[string]string{"acct_A": "org_1", "acct_B": "org_1", "acct_D": "org_2", "acct_ghost": "org_1"},
	connected: map[string][]string{"acct_A": {"acct_A1", "acct_ghost"}, "acct_A1": {"acct_A11"}, "acct_A11": {"acct_A"}, "acct_B": {"acct_B1"}},
	versions:  map[string]string{"acct_A": "2024-01-01", "acct_A1": "2025-05-05"},
}

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const version = "2026-08-26.dahlia"

func testRules(tb testing.TB) *Rules {
	tb.Helper()
	open, err := NewPathSet([]string{"/healthz", "/public/*"})
	if err != nil {
		tb.Fatal(err)
	}
	return &Rules{
		Catalog: mustCatalog(tb,
			"customers read GET /v1/customers", "customers read GET /v1/customers/*",
			"customers write POST /v1/customers", "customers write DELETE /v1/customers/{id}",
			"charges read GET /v1/charges/*", "charges read GET /v1/charges", "charges write POST /v1/charges",
			"tokens publishable POST /v1/tokens", "public write POST /public/write"),
		Open:    open,
		Live:    true,
		Sandbox: true,
	}
}

func secretKey() *Principal {
	return &Principal{KeyID: "key_1", Kind: KindSecret, Mode: ModeLive, Owner: "acct_A"}
}

func restrictedKey() *Principal {
	p := secretKey()
	p.Kind, p.Permissions = KindRestricted, NewPermissions(map[string]Access{"customers": AccessRead})
	return p
}

func publishableKey() *Principal {
	p := secretKey()
	p.Kind = KindPublishable
	return p
}

func organizationKey() *Principal {
	return &Principal{KeyID: "key_2", Kind: KindOrganization, Mode: ModeLive, Owner: "org_1"}
}

// get is a request that a secret key may make.
func get(path string) Request {
	return Request{Credential: CredentialKnown, Method: "GET", Path: path, Client: netip.MustParseAddr("203.0.113.5")}
}

// orgGet is a request that an organization key may make.
func orgGet(path, context string) Request {
	q := get(path)
	q.Context, q.ContextCount, q.Version, q.VersionCount = context, 1, version, 1
	return q
}

func mustNetworks(tb testing.TB, list ...string) *Networks {
	tb.Helper()
	n, err := ParseNetworks(list, false)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestDecide(t *testing.T) {
	t.Parallel()
	rules := testRules(t)
	networks := mustNetworks(t, "203.0.113.0/24")
	with := func(p *Principal, change func(p *Principal)) *Principal {
		change(p)
		return p
	}
	for _, tt := range []struct {
		name    string
		p       *Principal
		q       Request
		change  func(q *Request)
		want    Reason
		account string // acted on, if not ""
		param   string
	}{
		// Row 0
		{"malformed", secretKey(), get("/v1/charges"), func(q *Request) { q.Malformed = true }, ReasonRequestMalformed, "", ""},
		{"malformed on an open route", nil, get("/healthz"), func(q *Request) { q.Malformed, q.Credential = true, CredentialMissing }, ReasonRequestMalformed, "", ""},
		{"bad method", secretKey(), get("/v1/charges"), func(q *Request) { q.BadMethod = true }, ReasonMethodNotAllowed, "", ""},
		{"CONNECT that the caller let through", secretKey(), get("/v1/charges"), func(q *Request) { q.Method = "CONNECT" }, ReasonMethodNotAllowed, "", ""},
		{"TRACE that the caller let through", secretKey(), get("/v1/charges"), func(q *Request) { q.Method = "TRACE" }, ReasonMethodNotAllowed, "", ""},
		{"no path", secretKey(), get(""), nil, ReasonRequestMalformed, "", ""},
		{"path without slash", secretKey(), get("*"), nil, ReasonRequestMalformed, "", ""},
		{"parameters that change the route", secretKey(), get("/v1/charges;x"), nil, ReasonRequestMalformed, "", ""},
		{"parameters that open a route", nil, get("/healthz;x"), func(q *Request) { q.Credential = CredentialMissing }, ReasonRequestMalformed, "", ""},
		{"parameters that hide an open prefix", secretKey(), get("/public;x/a"), nil, ReasonRequestMalformed, "", ""},
		{"parameters that change nothing", restrictedKey(), get("/v1/customers/cus_1;x=1"), nil, ReasonAllowed, "acct_A", ""},
		{"parameters on an unknown route", secretKey(), get("/v2/a;x/b"), nil, ReasonAllowed, "acct_A", ""},

		// Row 1
		{"no key", nil, get("/v1/charges"), func(q *Request) { q.Credential = CredentialMissing }, ReasonAPIKeyMissing, "", ""},
		{"no key, unknown route", nil, get("/nowhere"), func(q *Request) { q.Credential = CredentialMissing }, ReasonAPIKeyMissing, "", ""},

		// Row 2
		{"bad key", nil, get("/v1/charges"), func(q *Request) { q.Credential = CredentialInvalid }, ReasonAPIKeyInvalid, "", ""},
		{"known, but nobody", nil, get("/v1/charges"), nil, ReasonAPIKeyInvalid, "", ""},
		{"no such state", secretKey(), get("/v1/charges"), func(q *Request) { q.Credential = 9 }, ReasonAPIKeyInvalid, "", ""},

		// Row 3
		{"ended", with(secretKey(), func(p *Principal) { p.Ended = true }), get("/v1/charges"), nil, ReasonAPIKeyExpired, "", ""},
		{"expires now", with(secretKey(), func(p *Principal) { p.ExpiresAt = epoch }), get("/v1/charges"), nil, ReasonAPIKeyExpired, "", ""},
		{"expires in a nanosecond", with(secretKey(), func(p *Principal) { p.ExpiresAt = epoch.Add(1) }), get("/v1/charges"), nil, ReasonAllowed, "acct_A", ""},

		// Row 4
		{"inside the range", with(secretKey(), func(p *Principal) { p.Networks = networks }), get("/v1/charges"), nil, ReasonAllowed, "acct_A", ""},
		{"outside the range", with(secretKey(), func(p *Principal) { p.Networks = networks }), get("/v1/charges"), func(q *Request) { q.Client = netip.MustParseAddr("198.51.100.9") }, ReasonIPNotAllowed, "", ""},
		{"unknown address", with(secretKey(), func(p *Principal) { p.Networks = networks }), get("/v1/charges"), func(q *Request) { q.Client = netip.Addr{} }, ReasonIPNotAllowed, "", ""},
		{"unknown address, no range", secretKey(), get("/v1/charges"), func(q *Request) { q.Client = netip.Addr{} }, ReasonAllowed, "acct_A", ""},
		{"an empty set is no address", with(secretKey(), func(p *Principal) { p.Networks = new(Networks) }), get("/v1/charges"), nil, ReasonIPNotAllowed, "", ""},
		{"mapped address", with(secretKey(), func(p *Principal) { p.Networks = networks }), get("/v1/charges"), func(q *Request) { q.Client = netip.MustParseAddr("::ffff:203.0.113.5") }, ReasonAllowed, "acct_A", ""},
		{"early data with a range", with(secretKey(), func(p *Principal) { p.Networks = networks }), get("/v1/charges"), func(q *Request) { q.EarlyData = true }, ReasonTooEarly, "", ""},
		{"early data without", secretKey(), get("/v1/charges"), func(q *Request) { q.EarlyData = true }, ReasonAllowed, "acct_A", ""},

		// Row 5 has its own test. Row 6
		{"organization without context", organizationKey(), get("/v1/charges"), func(q *Request) { q.Version, q.VersionCount = version, 1 }, ReasonContextRequired, "", "Stripe-Context"},
		{"organization without both: context first", organizationKey(), get("/v1/charges"), nil, ReasonContextRequired, "", "Stripe-Context"},
		{"organization without version", organizationKey(), orgGet("/v1/charges", "acct_A"), func(q *Request) { q.Version, q.VersionCount = "", 0 }, ReasonVersionRequired, "", "Stripe-Version"},
		{"version before a malformed context", organizationKey(), orgGet("/v1/charges", "junk"), func(q *Request) { q.Version, q.VersionCount = "", 0 }, ReasonVersionRequired, "", "Stripe-Version"},
		{"organization with a bad version", organizationKey(), orgGet("/v1/charges", "acct_A"), func(q *Request) { q.Version = "latest" }, ReasonVersionInvalid, "", "Stripe-Version"},
		{"bad version from any key", restrictedKey(), get("/v1/charges"), func(q *Request) { q.Version, q.VersionCount = "latest", 1 }, ReasonVersionInvalid, "", "Stripe-Version"},
		{"empty version", secretKey(), get("/v1/charges"), func(q *Request) { q.VersionCount = 1 }, ReasonVersionInvalid, "", "Stripe-Version"},
		{"version twice", secretKey(), get("/v1/charges"), func(q *Request) { q.Version, q.VersionCount = version, 2 }, ReasonVersionInvalid, "", "Stripe-Version"},

		// Row 7 has its own test. Row 8
		{"publishable on its route", publishableKey(), get("/v1/tokens"), func(q *Request) { q.Method = "POST" }, ReasonAllowed, "acct_A", ""},
		{"publishable elsewhere", publishableKey(), get("/v1/charges"), nil, ReasonSecretKeyRequired, "acct_A", ""},
		{"publishable on an unknown route", publishableKey(), get("/nowhere"), nil, ReasonSecretKeyRequired, "acct_A", ""},
		{"publishable by another method", publishableKey(), get("/v1/tokens"), nil, ReasonSecretKeyRequired, "acct_A", ""},
		{"origin allowed", with(publishableKey(), func(p *Principal) { p.Origins = []string{"https://a.example"} }), get("/v1/tokens"), func(q *Request) { q.Method, q.Origin = "POST", "https://a.example" }, ReasonAllowed, "acct_A", ""},
		{"another origin", with(publishableKey(), func(p *Principal) { p.Origins = []string{"https://a.example"} }), get("/v1/tokens"), func(q *Request) { q.Method, q.Origin = "POST", "https://a.example.evil" }, ReasonOriginNotAllowed, "acct_A", ""},
		{"no origin", with(publishableKey(), func(p *Principal) { p.Origins = []string{"https://a.example", ""} }), get("/v1/tokens"), func(q *Request) { q.Method = "POST" }, ReasonOriginNotAllowed, "acct_A", ""},
		{"an empty list of origins", with(publishableKey(), func(p *Principal) { p.Origins = []string{} }), get("/v1/tokens"), func(q *Request) { q.Method, q.Origin = "POST", "https://a.example" }, ReasonOriginNotAllowed, "acct_A", ""},
		{"route before origin", with(publishableKey(), func(p *Principal) { p.Origins = []string{"https://a.example"} }), get("/v1/charges"), nil, ReasonSecretKeyRequired, "acct_A", ""},

		// Row 9
		{"secret key anywhere", secretKey(), get("/nowhere"), nil, ReasonAllowed, "acct_A", ""},
		{"read on read", restrictedKey(), get("/v1/customers/cus_1"), nil, ReasonAllowed, "acct_A", ""},
		{"HEAD is read", restrictedKey(), get("/v1/customers"), func(q *Request) { q.Method = "HEAD" }, ReasonAllowed, "acct_A", ""},
		{"read on write", restrictedKey(), get("/v1/customers"), func(q *Request) { q.Method = "POST" }, ReasonPermissionDenied, "acct_A", ""},
		{"other resource", restrictedKey(), get("/v1/charges"), nil, ReasonPermissionDenied, "acct_A", ""},
		{"unknown route", restrictedKey(), get("/nowhere"), nil, ReasonRouteUnknown, "acct_A", ""},
		{"unknown method", restrictedKey(), get("/v1/customers"), func(q *Request) { q.Method = "PATCH" }, ReasonRouteUnknown, "acct_A", ""},
		{"method in small letters", restrictedKey(), get("/v1/customers"), func(q *Request) { q.Method = "get" }, ReasonRouteUnknown, "acct_A", ""},
		{"OPTIONS is no read", restrictedKey(), get("/v1/customers"), func(q *Request) { q.Method = "OPTIONS" }, ReasonRouteUnknown, "acct_A", ""},
		{"other case of the path", restrictedKey(), get("/V1/Customers"), nil, ReasonRouteUnknown, "acct_A", ""},
		{"trailing slash is another path", restrictedKey(), get("/v1/charges/"), nil, ReasonPermissionDenied, "acct_A", ""},
		{"write includes read", with(restrictedKey(), func(p *Principal) { p.Permissions = NewPermissions(map[string]Access{"customers": AccessWrite}) }), get("/v1/customers"), nil, ReasonAllowed, "acct_A", ""},
		{"restricted without a list", with(restrictedKey(), func(p *Principal) { p.Permissions = nil }), get("/v1/customers"), nil, ReasonPermissionDenied, "acct_A", ""},
		{"no such kind", with(secretKey(), func(p *Principal) { p.Kind = 0 }), get("/v1/customers"), nil, ReasonRouteUnknown, "acct_A", ""},
		{"no such kind again", with(secretKey(), func(p *Principal) { p.Kind = 77 }), get("/v1/customers"), nil, ReasonRouteUnknown, "acct_A", ""},
		{"no owner", with(secretKey(), func(p *Principal) { p.Owner = "" }), get("/v1/customers"), nil, ReasonContextInvalid, "", "Stripe-Context"},
		{"limited organization key", with(organizationKey(), func(p *Principal) { p.Permissions = NewPermissions(map[string]Access{"charges": AccessRead}) }), orgGet("/v1/charges", "acct_B"), nil, ReasonAllowed, "acct_B", ""},
		{"limited organization key, other resource", with(organizationKey(), func(p *Principal) { p.Permissions = NewPermissions(nil) }), orgGet("/v1/charges", "acct_B"), nil, ReasonPermissionDenied, "acct_B", ""},
		{"limited organization key, unknown route", with(organizationKey(), func(p *Principal) { p.Permissions = NewPermissions(nil) }), orgGet("/nowhere", "acct_B"), nil, ReasonRouteUnknown, "acct_B", ""},

		// Open routes
		{"open without a key", nil, get("/healthz"), func(q *Request) { q.Credential = CredentialMissing }, ReasonOpen, "", ""},
		{"open with a version, without a key", nil, get("/healthz"), func(q *Request) { q.Credential, q.Version, q.VersionCount = CredentialMissing, version, 1 }, ReasonOpen, "", ""},
		{"open with a version that does not fit", nil, get("/healthz"), func(q *Request) { q.Credential, q.Version, q.VersionCount = CredentialMissing, "../x", 1 }, ReasonVersionInvalid, "", "Stripe-Version"},
		{"open with two versions", nil, get("/healthz"), func(q *Request) { q.Credential, q.Version, q.VersionCount = CredentialMissing, version, 2 }, ReasonVersionInvalid, "", "Stripe-Version"},
		{"open with a context, without a key", nil, get("/healthz"), func(q *Request) { q.Credential, q.Context, q.ContextCount = CredentialMissing, "acct_B", 1 }, ReasonOpen, "", ""},
		{"open by any method", nil, get("/public/write"), func(q *Request) { q.Credential, q.Method = CredentialMissing, "POST" }, ReasonOpen, "", ""},
		{"open with a bad key", nil, get("/healthz"), func(q *Request) { q.Credential = CredentialInvalid }, ReasonAPIKeyInvalid, "", ""},
		{"open with an ended key", with(secretKey(), func(p *Principal) { p.Ended = true }), get("/healthz"), nil, ReasonAPIKeyExpired, "", ""},
		{"open from a wrong address", with(secretKey(), func(p *Principal) { p.Networks = networks }), get("/healthz"), func(q *Request) { q.Client = netip.Addr{} }, ReasonIPNotAllowed, "", ""},
		{"open with an organization key", organizationKey(), get("/healthz"), nil, ReasonContextRequired, "", "Stripe-Context"},
		{"open to another account", secretKey(), get("/healthz"), func(q *Request) { q.Account, q.AccountCount = "acct_C", 1 }, ReasonAccountInvalid, "acct_C", "Stripe-Account"},
		{"open with a publishable key", with(publishableKey(), func(p *Principal) { p.Origins = []string{"https://a.example"} }), get("/healthz"), nil, ReasonAllowed, "acct_A", ""},
		{"open with a restricted key", restrictedKey(), get("/public/write"), func(q *Request) { q.Method = "POST" }, ReasonAllowed, "acct_A", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := tt.q
			if tt.change != nil {
				tt.change(&q)
			}
			d := rules.Decide(tt.p, &q, world, epoch)
			if d.Reason != tt.want || d.Account != tt.account || d.Param != tt.param {
				t.Errorf("got %v (account %q, param %q), want %v (account %q, param %q)", d.Reason, d.Account, d.Param, tt.want, tt.account, tt.param)
			}
			if open := q.Path == "/healthz" || q.Path == "/public/write"; d.Open != open && d.Reason != ReasonRequestMalformed {
				t.Errorf("got open %v, want %v", d.Open, open)
			}
			if got := d.Allowed(); got != (tt.want == ReasonAllowed || tt.want == ReasonOpen) {
				t.Errorf("got allowed %v for %v", got, tt.want)
			}
		})
	}
}

// The answer is that of the first row that fails, whatever else is wrong.
func TestDecideOrder(t *testing.T) {
	t.Parallel()
	rules := testRules(t)
	rules.Sandbox = false
	p := &Principal{
		Kind: KindOrganization, Mode: ModeSandbox, Owner: "org_1", Ended: true,
		Networks: mustNetworks(t, "198.51.100.0/24"), Permissions: NewPermissions(nil),
	}
	q := Request{Malformed: true, BadMethod: true, Method: "GET", Path: "/v1/charges", EarlyData: true, Client: netip.MustParseAddr("203.0.113.5")}
	var got []Reason
	for _, repair := range []func(){
		func() {},
		func() { q.Malformed = false },
		func() { q.BadMethod = false },
		func() { q.Credential = CredentialInvalid },
		func() { q.Credential = CredentialKnown },
		func() { p.Ended = false },
		func() { q.EarlyData = false },
		func() { p.Networks = nil },
		func() { rules.Sandbox = true },
		func() { q.ContextCount = 1 },
		func() { q.VersionCount, q.Version = 1, "x" },
		func() { q.Version = version },
		func() { q.Context = "acct_C" },
		func() { q.Context = "acct_A" },
		func() { p.Permissions = NewPermissions(map[string]Access{"charges": AccessRead}) },
	} {
		repair()
		got = append(got, rules.Decide(p, &q, world, epoch).Reason)
	}
	want := []Reason{
		ReasonRequestMalformed, ReasonMethodNotAllowed, ReasonAPIKeyMissing, ReasonAPIKeyInvalid, ReasonAPIKeyExpired, ReasonTooEarly, ReasonIPNotAllowed,
		ReasonLivemodeMismatch, ReasonContextRequired, ReasonVersionRequired, ReasonVersionInvalid, ReasonContextInvalid, ReasonAccountInvalid,
		ReasonPermissionDenied, ReasonAllowed,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestDecideMode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		live, sandbox bool
		mode          Mode
		want          Reason
	}{
		{true, false, ModeLive, ReasonAllowed},
		{true, false, ModeSandbox, ReasonLivemodeMismatch},
		{false, true, ModeLive, ReasonLivemodeMismatch},
		{false, true, ModeSandbox, ReasonAllowed},
		{true, true, ModeLive, ReasonAllowed},
		{true, true, ModeSandbox, ReasonAllowed},
		{false, false, ModeLive, ReasonLivemodeMismatch},
		{true, true, 0, ReasonLivemodeMismatch},
		{true, true, 3, ReasonLivemodeMismatch},
	} {
		rules := testRules(t)
		rules.Live, rules.Sandbox = tt.live, tt.sandbox
		p := secretKey()
		p.Mode, p.Sandbox = tt.mode, "sbx_own"
		q := get("/v1/charges")
		if d := rules.Decide(p, &q, world, epoch); d.Reason != tt.want {
			t.Errorf("live %v, sandbox %v, key %v: got %v, want %v", tt.live, tt.sandbox, tt.mode, d.Reason, tt.want)
		}
		// The zero rules serve nobody, and neither does a nil directory let anybody further.
		if d := new(Rules).Decide(p, &q, nil, epoch); d.Allowed() {
			t.Errorf("key %v: got %v from the zero rules", tt.mode, d.Reason)
		}
	}
}

func TestDecideFacts(t *testing.T) {
	t.Parallel()
	rules := testRules(t)
	sandboxKey := func(p *Principal) *Principal {
		p.Mode = ModeSandbox
		if p.Kind != KindOrganization {
			p.Sandbox = "sbx_own"
		}
		return p
	}
	for _, tt := range []struct {
		name   string
		p      *Principal
		q      Request
		change func(q *Request)
		want   string // reason owner account connected sandbox version
	}{
		{"own account", secretKey(), get("/v1/charges"), nil, "allowed acct_A acct_A false  2024-01-01"},
		{"version given", secretKey(), get("/v1/charges"), func(q *Request) { q.Version, q.VersionCount = version, 1 }, "allowed acct_A acct_A false  " + version},
		{"connected: its default version", secretKey(), get("/v1/charges"), func(q *Request) { q.Account, q.AccountCount = "acct_A1", 1 }, "allowed acct_A acct_A1 true  2025-05-05"},
		{"no default version", organizationKey(), orgGet("/v1/charges", "acct_B"), nil, "allowed org_1 acct_B false  " + version},
		{"own sandbox", sandboxKey(secretKey()), get("/v1/charges"), nil, "allowed acct_A acct_A false sbx_own 2024-01-01"},
		{"own sandbox by its own id", sandboxKey(secretKey()), get("/v1/charges"), func(q *Request) { q.Context, q.ContextCount = "acct_A", 1 }, "allowed acct_A acct_A false sbx_own 2024-01-01"},
		{"connected: its default sandbox", sandboxKey(secretKey()), get("/v1/charges"), func(q *Request) { q.Context, q.ContextCount = "acct_A1", 1 }, "allowed acct_A acct_A1 true sbx_default_A1 2025-05-05"},
		{"organization: the member's default sandbox", sandboxKey(organizationKey()), orgGet("/v1/charges", "acct_B"), nil, "allowed org_1 acct_B false sbx_default_B " + version},
		{"no sandbox to act in", sandboxKey(organizationKey()), orgGet("/v1/charges", "acct_ghost"), nil, "account_invalid org_1 acct_ghost false  "},
		{"live keys have no sandbox", organizationKey(), orgGet("/v1/charges", "acct_ghost"), nil, "allowed org_1 acct_ghost false  " + version},
	} {
		q := tt.q
		if tt.change != nil {
			tt.change(&q)
		}
		d := rules.Decide(tt.p, &q, world, epoch)
		if got := fmt.Sprint(d.Reason, " ", d.Owner, " ", d.Account, " ", d.Connected, " ", d.Sandbox, " ", d.Version); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if d.Route.Permission != "charges_read" || Required(&d) != "charges_read" {
			t.Errorf("%s: got route %+v", tt.name, d.Route)
		}
	}
}

// The names of the headers are the operator's.
func TestDecideHeaderNames(t *testing.T) {
	t.Parallel()
	rules := testRules(t)
	rules.ContextHeader, rules.AccountHeader, rules.VersionHeader = "X-Context", "X-Account", "X-Version"
	for _, tt := range []struct {
		p      *Principal
		change func(q *Request)
		want   string
	}{
		{organizationKey(), func(q *Request) {}, "X-Context"},
		{secretKey(), func(q *Request) { q.AccountCount = 2 }, "X-Account"},
		{secretKey(), func(q *Request) { q.VersionCount = 2 }, "X-Version"},
	} {
		q := get("/v1/charges")
		tt.change(&q)
		d := rules.Decide(tt.p, &q, world, epoch)
		if d.Param != tt.want || !strings.Contains(Message(&d, ""), tt.want) {
			t.Errorf("got %v with %q: %s, want %q", d.Reason, d.Param, Message(&d, ""), tt.want)
		}
	}
}
