package dashboard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/requestlog"
)

// TestGapRow: where records are missing the list says so, and how many.
func TestGapRow(t *testing.T) {
	t.Parallel()
	d, err := New(Config{
		API:     http.NotFoundHandler(),
		Visitor: func(*http.Request) (Visitor, error) { return nil, &auth.Refusal{Status: http.StatusUnauthorized} },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	q := d.newRequest(w, httptest.NewRequest(http.MethodGet, "/acct_1/live/logs", nil))
	q.scope = Scope{Account: "acct_1", Mode: modeLive}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	gap := &requestlog.Record{ID: "gap_1", Decision: requestlog.DecisionGap, Lost: 3, LostFrom: at, LostTo: at.Add(time.Minute)}
	if err := q.show("logs", &logsPage{Page: q.page("Request logs", "logs"), Rows: []logRow{{Record: gap}}}); err != nil {
		t.Fatal(err)
	}
	if body := w.Body.String(); !strings.Contains(body, "3 records lost") || !strings.Contains(body, "2026-03-01T12:01:00Z") {
		t.Errorf("the gap is not told: %s", body)
	}
}
