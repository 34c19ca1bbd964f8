package openapi_test

import (
	"runtime"
	"testing"

	"github.com/stripe/stripe-mock/embedded"

	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/policy/openapi"
)

// stripe compiles the largest public document that we know the right answers for.
func stripe(tb testing.TB) *policy.Catalog {
	tb.Helper()
	rules, err := openapi.Parse("spec3.json", embedded.OpenAPISpec)
	if err != nil {
		tb.Fatal(err)
	}
	if got, want := len(rules), 594; got != want {
		tb.Errorf("got %d operations, want %d", got, want)
	}
	c, err := policy.NewCatalog(rules, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestStripe(t *testing.T) {
	t.Parallel()
	c := stripe(t)
	routes := 0
	for _, r := range c.Resources() {
		routes += len(r.Routes)
		for _, route := range r.Routes {
			if route.Line < 1000 || route.File != "spec3.json" {
				t.Errorf("%s %s stands at %s:%d, which cannot be", route.Method, route.Pattern, route.File, route.Line)
			}
		}
	}
	t.Logf("%d resources with %d routes", len(c.Resources()), routes)
	if got, want := len(c.Resources()), 146; got != want {
		t.Errorf("got %d resources, want %d", got, want)
	}
	if routes != 594 {
		t.Errorf("got %d routes, want 594", routes)
	}

	for _, tt := range []struct{ method, path, permission string }{
		{"GET", "/v1/charges", "charge_read"},                                   // a list: the items of its "data"
		{"GET", "/v1/charges/search", "charge_read"},                            // a search result
		{"POST", "/v1/charges", "charge_write"},                                 // the schema itself
		{"POST", "/v1/charges/ch_1/capture", "charge_write"},                    // below a parameter
		{"HEAD", "/v1/charges/ch_1", "charge_read"},                             // covered by GET
		{"GET", "/v1/customers/cus_1", "customer_read"},                         // customer or deleted_customer
		{"DELETE", "/v1/customers/cus_1", "customer_write"},                     // deleted_customer
		{"POST", "/v1/billing_portal/sessions", "billing_portal_session_write"}, // a dot in the id
		{"GET", "/v1/prices/price_1", "price_read"},
		{"GET", "/v1/plans", "plan_read"},
		{"POST", "/v1/refunds", "refund_write"},
		{"GET", "/v1/balance", "balance_read"},
		{"POST", "/v1/test_helpers/test_clocks/clock_1/advance", "test_helpers_test_clock_write"},
		{"DELETE", "/v1/webhook_endpoints/we_1", "webhook_endpoint_write"},
		{"GET", "/v1/quotes/qt_1/pdf", "quotes_read"}, // no schema: the segment after the version
		{"PATCH", "/v1/charges/ch_1", ""},             // a method that the document does not have
		{"GET", "/v1/charges/", ""},                   // an empty parameter is none
		{"GET", "/v2/charges", ""},                    // no such path
		{"GET", "/v1/charges/ch_1/refunds/re_1", "refund_read"},
	} {
		if got := c.Match(tt.method, tt.path).Permission; got != tt.permission {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.path, got, tt.permission)
		}
	}
}

func BenchmarkLoadStripe(b *testing.B) {
	b.SetBytes(int64(len(embedded.OpenAPISpec)))
	b.ReportAllocs()
	for b.Loop() {
		rules, err := openapi.Parse("spec3.json", embedded.OpenAPISpec)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := policy.NewCatalog(rules, nil); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MB-kept")
}

func BenchmarkMatchStripe(b *testing.B) {
	c := stripe(b)
	for _, path := range []string{"/v1/charges", "/v1/customers/cus_1/sources/src_1/verify", "/v1/charges/search", "/v1/unknown/path"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Match("GET", path)
			}
		})
	}
}
