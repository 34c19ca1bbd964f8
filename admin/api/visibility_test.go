package api_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestForeignAccountIsTheReason: the request log knows by text on which decision a record does not concern the account that
// it names.
func TestForeignAccountIsTheReason(t *testing.T) {
	t.Parallel()
	r := requestlog.Record{Account: "acct_a", Decision: policy.ReasonAccountInvalid.Code()}
	if r.Concerns("acct_a") {
		t.Error("a refused request concerns the account that a stranger named")
	}
}

// TestWhoSeesWhichRecord: every limit of a token, every kind of record, every call that shows records.
func TestWhoSeesWhichRecord(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	ours, theirs := f.world("ours"), f.world("theirs")
	org, acct, other := ours.organization, ours.account, ours.other

	// By kind of record: whose key, on which account, and which of the callers see it beside those without a limit.
	const all, organization, account, sibling, stranger = "none", "organization", "account", "sibling", "stranger"
	kinds := []struct {
		name   string
		change func(*requestlog.Record)
		seen   []string
	}{
		{"own", func(r *requestlog.Record) { r.Owner, r.Account, r.Mode = acct, acct, "live" }, []string{organization, account}},
		{"own, sandbox", func(r *requestlog.Record) { r.Owner, r.Account, r.Mode, r.Sandbox = acct, acct, "sandbox", "sbx_1" }, []string{organization, account}},
		{"organization key on the account", func(r *requestlog.Record) { r.Owner, r.Account, r.Mode = org, acct, "live" }, []string{organization, account}},
		{"organization key on the sibling", func(r *requestlog.Record) { r.Owner, r.Account, r.Mode = org, other, "live" }, []string{organization, sibling}},
		{"organization key without context", func(r *requestlog.Record) { r.Owner, r.Decision = org, "context_required" }, []string{organization}},
		{"platform on its connected account", func(r *requestlog.Record) { r.Owner, r.Account = acct, other }, []string{organization, account, sibling}},
		{"stranger on a connection", func(r *requestlog.Record) { r.Owner, r.Account = theirs.account, acct }, []string{organization, account, stranger}},
		{"stranger who only names the account", func(r *requestlog.Record) { r.Owner, r.Account, r.Decision = theirs.account, acct, "account_invalid" }, []string{stranger}},
		{"deleted key", func(r *requestlog.Record) { r.Owner, r.Decision = acct, "api_key_expired" }, []string{organization, account}},
		{"unknown key", func(r *requestlog.Record) { r.Decision = "api_key_invalid" }, nil},
		{"no key on an open route", func(r *requestlog.Record) { r.Decision = "open" }, nil},
		{"stranger", func(r *requestlog.Record) { r.Owner, r.Account = theirs.account, theirs.account }, []string{stranger}},
	}
	callers := map[string]string{
		all:          f.bearer("viewer", "", ""),
		organization: f.bearer("viewer", org, ""),
		account:      f.bearer("viewer", "", acct),
		sibling:      f.bearer("viewer", "", other),
		stranger:     f.bearer("viewer", "", theirs.account),
	}
	server := httptest.NewServer(f.handler)
	t.Cleanup(server.Close) // behind the ends of the tails, for which it waits
	tails := map[string]*bufio.Scanner{}
	for who, bearer := range callers {
		tails[who] = f.tailAs(server, bearer, "")
	}
	f.advance(time.Hour)
	since := f.clock()
	var ids []string
	for i, kind := range kinds {
		ids = append(ids, f.record(func(r *requestlog.Record) {
			r.Host, r.Key = "visible.example", "key_"+strconv.Itoa(i)
			kind.change(r)
		}))
	}
	last := f.record(func(r *requestlog.Record) { // concerns them all: here the tails end
		r.Host, r.Owner, r.Account, r.Key = "end.example", theirs.account, acct, "key_end"
	})
	end := f.record(func(r *requestlog.Record) { r.Host, r.Owner, r.Account = "end.example", org, other })
	for who, bearer := range callers {
		var want []string
		for i, kind := range kinds {
			if who == all || slices.Contains(kind.seen, who) {
				want = append(want, ids[i])
			}
		}
		query := "?host=visible.example"
		raw := func(target string) *httptest.ResponseRecorder { return f.raw("GET", target, nil, bearer) }
		sorted := func(got []string) []string { slices.Sort(got); return got }

		list := as[recordList](&answer{t: t, body: raw("/v1/request_logs" + query + "&limit=100").Body.Bytes()})
		if got := sorted(list.ids()); !slices.Equal(got, want) {
			t.Errorf("%s, list: %v, want %v", who, got, want)
		}
		for i, id := range ids {
			if code, sees := raw("/v1/request_logs/"+id).Code, slices.Contains(want, id); (code == 200) != sees || !sees && code != 404 {
				t.Errorf("%s, get of %q: %d, want it seen: %v", who, kinds[i].name, code, sees)
			}
		}
		if got := sorted(lineIDs(t, raw("/v1/request_logs/export"+query).Body.Bytes())); !slices.Equal(got, want) {
			t.Errorf("%s, export: %v, want %v", who, got, want)
		}
		h := as[api.RequestLogHistogram](&answer{t: t, body: raw("/v1/request_logs/histogram" + query + "&by=key&since=" + since.Format(time.RFC3339)).Body.Bytes()})
		var keys []string
		for _, g := range h.Groups {
			i, _ := strconv.Atoi(strings.TrimPrefix(g.Name, "key_"))
			keys = append(keys, ids[i])
		}
		if got := sorted(keys); !slices.Equal(got, want) || h.Total != int64(len(want)) {
			t.Errorf("%s, histogram: %v, total %d, want %v", who, got, h.Total, want)
		}
		ends := []string{last, end}
		if got := sorted(readTail(tails[who], ends)); !slices.Equal(got, want) {
			t.Errorf("%s, tail: %v, want %v", who, got, want)
		}
		if got := sorted(readTail(f.tailAs(server, bearer, theirs.record), ends)); !slices.Equal(got, want) {
			t.Errorf("%s, tail behind an earlier event: %v, want %v", who, got, want)
		}
		if got := sorted(readTail(f.tailAs(server, bearer, theirs.record[:len(theirs.record)-4]+"zzzz"), ends)); !slices.Equal(got, want) {
			t.Errorf("%s, tail behind an event that nobody knows: %v, want %v", who, got, want)
		}
		if code := raw("/v1/request_logs/stats").Code; (code == 200) != (who == all) {
			t.Errorf("%s, stats: %d", who, code)
		}
		for key, seen := range map[string]bool{ours.key: who == all || who == organization || who == account, theirs.key: who == all || who == stranger} {
			if code := raw("/v1/keys/" + key + "/usage").Code; (code == 200) != seen || !seen && code != 404 {
				t.Errorf("%s, usage of %s: %d, want it seen: %v", who, key, code, seen)
			}
		}

		// A sandbox view shows nothing that is live, to nobody.
		for _, view := range []string{"mode=sandbox", "sandbox=sbx_1"} {
			for _, target := range []string{"/v1/request_logs?limit=100&", "/v1/request_logs/export?"} {
				body := raw(target + view).Body.String()
				if strings.Contains(body, `"mode":"live"`) || strings.Contains(body, ids[1]) != slices.Contains(want, ids[1]) {
					t.Errorf("%s, %s%s: %s", who, target, view, body)
				}
			}
		}
	}
}

// TestMovedAccountTakesItsRecordsAlong: what a caller sees is judged by where accounts belong now.
func TestMovedAccountTakesItsRecordsAlong(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	ours, theirs := f.world("ours"), f.world("theirs")
	bearer := f.bearer("viewer", ours.organization, "")
	if w := f.raw("GET", "/v1/request_logs/"+ours.record, nil, bearer); w.Code != 200 {
		t.Fatalf("before: %d", w.Code)
	}
	if _, err := f.store.UpdateAccount(t.Context(), keystore.Actor{Kind: "system"}, ours.account, keystore.AccountPatch{
		Organization: keystore.Field[string]{Set: true, Value: theirs.organization},
	}); err != nil {
		t.Fatal(err)
	}
	if w := f.raw("GET", "/v1/request_logs/"+ours.record, nil, bearer); w.Code != 404 {
		t.Errorf("behind the move: %d %s", w.Code, w.Body)
	}
	if w := f.raw("GET", "/v1/request_logs", nil, bearer); strings.Contains(w.Body.String(), ours.record) {
		t.Errorf("behind the move the list has the record: %s", w.Body)
	}
}

// tailAs begins a tail with a credential.
func (f *roleFixture) tailAs(server *httptest.Server, bearer, last string) *bufio.Scanner {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	f.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/request_logs/tail", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", bearer)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { res.Body.Close() })
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() || lines.Text() != ": tailing" {
		f.t.Fatalf("first line %q", lines.Text())
	}
	return lines
}

// readTail lists the ids of a tail up to one of the ends.
func readTail(lines *bufio.Scanner, ends []string) (ids []string) {
	for lines.Scan() {
		id, ok := strings.CutPrefix(lines.Text(), "id: ")
		if !ok {
			continue
		}
		if slices.Contains(ends, id) {
			break
		}
		ids = append(ids, id)
	}
	return ids
}
