package policy

import (
	"fmt"
	"testing"
)

// hot is the way of one request from the header to the decision, without the look-up, which is the store's.
type hot struct {
	name  string
	token string
	path  string
	p     *Principal
	q     Request
}

func hotRequests(tb testing.TB) (*Rules, []hot) {
	rules := testRules(tb)
	var lines []string
	for i := range 99 { // 594 operations
		base := fmt.Sprintf("r%d %%s /v1/resource%d", i, i)
		lines = append(lines,
			fmt.Sprintf(base, "read GET"), fmt.Sprintf(base, "write POST"), fmt.Sprintf(base, "read GET")+"/{id}", fmt.Sprintf(base, "write POST")+"/{id}",
			fmt.Sprintf(base, "write DELETE")+"/{id}", fmt.Sprintf(base, "write POST")+"/{id}/cancel")
	}
	rules.Catalog = mustCatalog(tb, lines...)
	networks := mustNetworks(tb, "203.0.113.0/24", "10.0.0.0/8")
	many := map[string]Access{}
	for i := range 40 {
		many[fmt.Sprintf("r%d", i)] = AccessRead
	}
	restricted, secret, organization := restrictedKey(), secretKey(), organizationKey()
	restricted.Permissions, restricted.Networks = NewPermissions(many), networks
	organization.Permissions, organization.ConnectedPermissions = NewPermissions(many), NewPermissions(many)
	sandbox := secretKey()
	sandbox.Mode = ModeSandbox
	sandbox.Sandbox = "sbx_own"
	publishable := publishableKey()
	publishable.Origins = []string{"https://a.example"}
	const path = "/v1/resource33/id_1"
	return rules, []hot{
		{"secret", mustToken(tb, KindSecret, ModeLive), path, secret, get("")},
		{"sandbox", mustToken(tb, KindSecret, ModeSandbox), path, sandbox, get("")},
		{"restricted", mustToken(tb, KindRestricted, ModeLive), path, restricted, get("")},
		{"denied", mustToken(tb, KindRestricted, ModeLive), "/v1/resource77/id_1", restricted, get("")},
		{"publishable", mustToken(tb, KindPublishable, ModeLive), path, publishable, get("")},
		{"organization", mustToken(tb, KindOrganization, ModeLive), path, organization, orgGet("", "acct_A/acct_A1")},
	}
}

var sink struct {
	digest   Digest
	decision Decision
	class    TokenClass
	ok       bool
}

// run is all that the hot path does with this package.
func (h *hot) run(rules *Rules) {
	_, _, sink.class = ParseToken(h.token)
	sink.digest = DigestOf(h.token)
	h.q.Path, sink.ok = CanonicalPath(h.path)
	sink.decision = rules.Decide(h.p, &h.q, world, epoch)
}

// From the header to the decision nothing is allocated: at 100,000 requests a second each allocation is garbage by the
// megabyte.
func TestNoAllocations(t *testing.T) {
	rules, list := hotRequests(t)
	for _, h := range list {
		got := testing.AllocsPerRun(200, func() { h.run(rules) })
		if want := 0.0; got != want && !raceEnabled {
			t.Errorf("%s: got %v allocations, want %v", h.name, got, want)
		}
		if want := ReasonAllowed; h.name != "denied" && h.name != "publishable" && sink.decision.Reason != want {
			t.Errorf("%s: got %v, want %v", h.name, sink.decision.Reason, want)
		}
	}
	pattern, err := VersionPattern(`[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[a-z]+)?`)
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(200, func() { sink.ok = pattern.Match(version) }); got != 0 && !raceEnabled {
		t.Errorf("version pattern: got %v allocations, want 0", got)
	}
}

func BenchmarkParseToken(b *testing.B) {
	token := mustToken(b, KindSecret, ModeLive)
	for _, bb := range []struct{ name, token string }{{"ours", token}, {"bad checksum", token[:20] + "x" + token[21:]}, {"foreign", "sk_test_123"}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, sink.class = ParseToken(bb.token)
			}
		})
	}
}

func BenchmarkDigestOf(b *testing.B) {
	token := mustToken(b, KindSecret, ModeLive)
	b.ReportAllocs()
	for b.Loop() {
		sink.digest = DigestOf(token)
	}
}

func BenchmarkCanonicalPath(b *testing.B) {
	for _, path := range []string{"/v1/resource33/id_1", "/v1/resource33/id%201"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, sink.ok = CanonicalPath(path)
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	rules, _ := hotRequests(b)
	for _, path := range []string{"/v1/resource33", "/v1/resource33/id_1/cancel", "/v2/nothing"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink.ok = rules.Catalog.Match("POST", path).Known
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	rules, list := hotRequests(b)
	for _, h := range list {
		b.Run(h.name, func(b *testing.B) {
			h.q.Path = h.path
			b.ReportAllocs()
			for b.Loop() {
				sink.decision = rules.Decide(h.p, &h.q, world, epoch)
			}
		})
	}
}

// BenchmarkHeaderToDecision is ParseToken, DigestOf, CanonicalPath and Decide together.
func BenchmarkHeaderToDecision(b *testing.B) {
	rules, list := hotRequests(b)
	for _, h := range list {
		b.Run(h.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.run(rules)
			}
		})
	}
}

func BenchmarkNewPermissions(b *testing.B) {
	m := map[string]Access{"charges": AccessWrite, "customers": AccessRead, "refunds": AccessRead}
	keep := NewPermissions(m)
	b.ReportAllocs()
	for b.Loop() {
		if NewPermissions(m) != keep {
			b.Fatal("not shared")
		}
	}
}

func BenchmarkGenerateToken(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustToken(b, KindSecret, ModeLive)
	}
}
