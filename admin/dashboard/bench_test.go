package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/requestlog"
)

// BenchmarkPages says what a page costs on the server, with a full list on it.
func BenchmarkPages(b *testing.B) {
	f := newFixture(b)
	for range 30 {
		k, _ := f.key(func(p *keystore.KeyParams) { p.Name = "service" })
		f.record(func(r *requestlog.Record) { r.Key, r.TokenMasked = k.ID, k.Mask })
	}
	for _, page := range []string{"keys", "logs", "keys/new?kind=restricted"} {
		b.Run(page, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, f.in("live", page), nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				b.ReportMetric(float64(w.Body.Len()), "bytes")
			}
		})
	}
}
