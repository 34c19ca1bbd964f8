// Package requestlogtest holds the suite that every store of request records passes.
package requestlogtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// Begin is the time of the first record that [Records] makes.
var Begin = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// Records makes n records as the log gives them to a store, one a second from Begin, in the order in which requests end:
// some are long and come late. They are the same for the same seed, but for their ids.
func Records(n int, seed uint64) []*requestlog.Record {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	records := make([]*requestlog.Record, n)
	for i := range records {
		at := Begin.Add(time.Duration(i) * time.Second)
		account := fmt.Sprintf("acct_%d", rng.IntN(5))
		r := &requestlog.Record{
			ID: ID(at, rng.Uint64()), Time: at, Duration: time.Duration(rng.IntN(1e6)) * time.Microsecond, Upstream: 5 * time.Microsecond,
			Method: pick("GET", "POST", "DELETE"), Path: pick("/v1/charges", "/v1/charges/ch_1/refunds", "/v1/customers", "/v2/core/events"),
			Host: "api.example.com", Status: []int{200, 200, 200, 201, 400, 403, 404, 429, 502}[rng.IntN(9)],
			Decision: "allowed", Key: fmt.Sprintf("key_%d", rng.IntN(20)), TokenMasked: "sk_live_****abcd", Kind: "secret",
			Mode: pick("live", "sandbox"), Owner: account, Account: account, Resource: pick("charges", "customers"), Access: "read",
			Client:    netip.AddrFrom4([4]byte{203, 0, byte(rng.IntN(4)), byte(rng.IntN(256))}),
			UserAgent: `Agent/1.0 "x" \ ü`, APIVersion: pick("2026-01-01", "2025-06-30.basil"), IdempotencyKey: fmt.Sprintf("idem_%d", i),
			BytesIn: int64(i), BytesOut: 1 << 40, UpstreamAddress: "backend:8080", Node: "node", TLS: "1.3", Protocol: "HTTP/2.0",
		}
		if r.Status == 403 {
			r.Decision, r.ErrorType, r.ErrorCode, r.ErrorMessage = "permission_denied", "permission_error", "permission_denied", "no"
			r.RequiredPermission = "charges_write"
		}
		if r.Status == 404 && i%2 == 0 { // a key that named an account which it does not reach
			r.Decision, r.Account = requestlog.DecisionForeign, fmt.Sprintf("acct_%d", i%5)
		}
		if rng.IntN(10) == 0 {
			r.Sandbox, r.Owner, r.Account = "sbx_1", "org_1", "acct_0"
		}
		records[i] = r
	}
	for i := 0; i+40 < n; i += 37 { // a request of half a minute ends behind thirty younger ones
		records[i], records[i+30] = records[i+30], records[i]
	}
	return records
}

// ID makes a request id of any time: requestlog.NewID never goes back behind the ids that the process has made.
func ID(at time.Time, random uint64) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := []byte("req_00000000000########")
	for i, v := 14, uint64(at.UnixMilli())<<20; v > 0; i, v = i-1, v/62 {
		b[i] = base62[v%62]
	}
	for i := range 8 {
		b[15+i] = base62[random%62]
		random /= 62
	}
	return string(b)
}

// Run runs the suite. open answers a new, empty store each time; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) requestlog.Store) {
	t.Run("Empty", func(t *testing.T) { testEmpty(t, fill(t, open, nil)) })
	records := Records(2000, 1)
	t.Run("Get", func(t *testing.T) { testGet(t, fill(t, open, records), records) })
	t.Run("List", func(t *testing.T) { testList(t, fill(t, open, records), records) })
	t.Run("Filters", func(t *testing.T) { testFilters(t, fill(t, open, records), records) })
	t.Run("Histogram", func(t *testing.T) { testHistogram(t, fill(t, open, records), records) })
	t.Run("KeySummary", func(t *testing.T) { testSummary(t, fill(t, open, records), records) })
	t.Run("CursorsStayWhileRecordsArrive", func(t *testing.T) { testStableCursors(t, open) })
	t.Run("LongTexts", func(t *testing.T) { testLongTexts(t, open) })
	t.Run("Gap", func(t *testing.T) { testGap(t, open) })
	t.Run("ReadersBesideTheWriter", func(t *testing.T) { testConcurrent(t, open) })
	t.Run("Cancelled", func(t *testing.T) { testCancelled(t, fill(t, open, records)) })
	t.Run("Closed", func(t *testing.T) { testClosed(t, open) })
}

func fill(t *testing.T, open func(t *testing.T) requestlog.Store, records []*requestlog.Record) requestlog.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	for batch := range slices.Chunk(records, 300) {
		write(t, s, batch)
	}
	return s
}

func write(t *testing.T, s requestlog.Store, records []*requestlog.Record) {
	t.Helper()
	if n, err := s.Write(records); n != len(records) || err != nil {
		t.Fatalf("Write of %d: got %d, %v", len(records), n, err)
	}
}

// all reads every page from the cursor on.
func all(t *testing.T, s requestlog.Store, f requestlog.Filter, limit int, after string) []*requestlog.Record {
	t.Helper()
	var list []*requestlog.Record
	for {
		page, err := s.List(context.Background(), requestlog.Query{Filter: f, Limit: limit, After: after})
		if err != nil {
			t.Fatalf("List(%+v, after %q): %v", f, after, err)
		}
		if len(page.Records) > limit {
			t.Fatalf("List: got %d records, want at most %d", len(page.Records), limit)
		}
		list = append(list, page.Records...)
		if page.More != (page.Next != "") {
			t.Fatalf("List: More is %v and Next is %q", page.More, page.Next)
		}
		if !page.More {
			return list
		}
		if page.Next == after {
			t.Fatalf("List: the cursor %q does not move", after)
		}
		after = page.Next
	}
}

// want is what a list must answer.
func want(records []*requestlog.Record, f requestlog.Filter) []*requestlog.Record {
	var list []*requestlog.Record
	for _, r := range records {
		if f.Match(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *requestlog.Record) int { return strings.Compare(b.ID[4:], a.ID[4:]) })
	return list
}

func compare(t *testing.T, what string, got, want []*requestlog.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d records, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if *got[i] != *want[i] {
			t.Errorf("%s: record %d:\n got %+v\nwant %+v", what, i, *got[i], *want[i])
			return
		}
	}
}

func testEmpty(t *testing.T, s requestlog.Store) {
	if got := all(t, s, requestlog.Filter{}, 10, ""); len(got) != 0 {
		t.Errorf("List of nothing: got %d records", len(got))
	}
	if _, err := s.Get(context.Background(), requestlog.NewID(Begin)); !errors.Is(err, requestlog.ErrNotFound) {
		t.Errorf("Get: got %v, want ErrNotFound", err)
	}
	if n, err := s.Write(nil); n != 0 || err != nil {
		t.Errorf("Write of nothing: got %d, %v", n, err)
	}
}

func testGet(t *testing.T, s requestlog.Store, records []*requestlog.Record) {
	for i := 0; i < len(records); i += 97 {
		got, err := s.Get(context.Background(), records[i].ID)
		if err != nil {
			t.Fatalf("Get(%s): %v", records[i].ID, err)
		}
		compare(t, "Get", []*requestlog.Record{got}, records[i:i+1])
	}
	for _, id := range []string{"", "req_1", requestlog.NewID(Begin), records[5].ID[:22] + "-"} {
		if _, err := s.Get(context.Background(), id); !errors.Is(err, requestlog.ErrNotFound) {
			t.Errorf("Get(%q): got %v, want ErrNotFound", id, err)
		}
	}
}

func testList(t *testing.T, s requestlog.Store, records []*requestlog.Record) {
	sorted := want(records, requestlog.Filter{})
	for _, limit := range []int{1000, 333, 60} {
		compare(t, fmt.Sprintf("pages of %d", limit), all(t, s, requestlog.Filter{}, limit, ""), sorted)
	}
	for _, i := range []int{0, 1, 500, 1998, 1999} {
		compare(t, "behind a record", all(t, s, requestlog.Filter{}, 500, sorted[i].ID), sorted[i+1:])
	}
	// A page that ends exactly at the last record says so.
	page, err := s.List(context.Background(), requestlog.Query{Limit: 10, After: sorted[1989].ID})
	if err != nil || len(page.Records) != 10 || page.More {
		t.Errorf("last page: got %d records, more %v, %v; want 10, false", len(page.Records), page.More, err)
	}
	var wrong *requestlog.FilterError
	if _, err := s.List(context.Background(), requestlog.Query{Limit: 10, After: "nonsense"}); !errors.As(err, &wrong) || wrong.Param != "starting_after" {
		t.Errorf("List after nonsense: got %v, want a FilterError of starting_after", err)
	}
}

// testLongTexts: a page of much captured text ends early, and the pages together have every record once.
func testLongTexts(t *testing.T, open func(t *testing.T) requestlog.Store) {
	records := Records(60, 6)
	for i, r := range records {
		if i%3 > 0 {
			r.ResponseBody = strings.Repeat("x", 60<<10)
			r.RequestBody, r.RequestHeaders, r.ResponseHeaders = r.ResponseBody, r.ResponseBody, r.ResponseBody
		}
	}
	s := fill(t, open, records)
	compare(t, "long texts", all(t, s, requestlog.Filter{}, 1000, ""), want(records, requestlog.Filter{}))
	cursor, pages := "", 0
	for more := true; more; pages++ {
		page, err := s.List(context.Background(), requestlog.Query{Limit: 1000, After: cursor})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		bytes := 0
		for _, r := range page.Records {
			bytes += r.CapturedBytes()
		}
		if most := 2 * (requestlog.MaxPageBytes + 1<<18); bytes > most { // a store may put two together
			t.Errorf("a page has %d bytes of captured text, want at most %d", bytes, most)
		}
		more, cursor = page.More, page.Next
	}
	if pages < 2 {
		t.Errorf("got %d page, want several", pages)
	}
}

func testStableCursors(t *testing.T, open func(t *testing.T) requestlog.Store) {
	records := Records(900, 2)
	s := fill(t, open, records[:600])
	first, err := s.List(context.Background(), requestlog.Query{Limit: 50})
	if err != nil || !first.More {
		t.Fatalf("List: more %v, %v", first.More, err)
	}
	write(t, s, records[600:])
	got := append(first.Records, all(t, s, requestlog.Filter{}, 50, first.Next)...)
	compare(t, "pages begun before records arrived", got[:50], want(records[:600], requestlog.Filter{})[:50])
	seen := make(map[string]bool)
	for _, r := range got {
		if seen[r.ID] {
			t.Errorf("record %s came twice", r.ID)
		}
		seen[r.ID] = true
	}
	for _, r := range want(records[:600], requestlog.Filter{}) {
		if !seen[r.ID] {
			t.Errorf("record %s is missing", r.ID)
		}
	}
}

func testGap(t *testing.T, open func(t *testing.T) requestlog.Store) {
	gap := &requestlog.Record{
		ID: "gap_" + requestlog.NewID(Begin)[4:], Time: Begin, Decision: requestlog.DecisionGap, Lost: 5,
		LostFrom: Begin.Add(-time.Second), LostTo: Begin,
	}
	s := fill(t, open, []*requestlog.Record{gap})
	got, err := s.Get(context.Background(), gap.ID)
	if err != nil || !got.IsGap() {
		t.Fatalf("Get of a gap record: got %+v, %v", got, err)
	}
	compare(t, "gap", all(t, s, requestlog.Filter{Decision: requestlog.DecisionGap}, 10, ""), []*requestlog.Record{gap})
}

func testConcurrent(t *testing.T, open func(t *testing.T) requestlog.Store) {
	records := Records(3000, 3)
	s := fill(t, open, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			list := all(t, s, requestlog.Filter{}, 400, "")
			if !slices.IsSortedFunc(list, func(a, b *requestlog.Record) int { return strings.Compare(b.ID[4:], a.ID[4:]) }) {
				t.Error("a list beside the writer is out of order")
			}
			if len(list) == len(records) || t.Failed() {
				return
			}
		}
	}()
	for batch := range slices.Chunk(records, 50) {
		if n, err := s.Write(batch); n != len(batch) || err != nil {
			t.Errorf("Write: got %d, %v", n, err)
		}
	}
	<-done
}

func testCancelled(t *testing.T, s requestlog.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.List(ctx, requestlog.Query{Limit: 10}); !errors.Is(err, context.Canceled) {
		t.Errorf("List: got %v, want context.Canceled", err)
	}
}

func testClosed(t *testing.T, open func(t *testing.T) requestlog.Store) {
	s := fill(t, open, Records(10, 4))
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if n, err := s.Write(Records(1, 5)); n != 0 || err == nil {
		t.Errorf("Write behind Close: got %d, %v, want an error", n, err)
	}
}
