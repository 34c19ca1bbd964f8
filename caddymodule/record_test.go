package caddymodule

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestRecord: every field of section 6 that is known here.
func TestRecord(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	g.backend = func(w http.ResponseWriter, r *http.Request) error {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusPaymentRequired)
		_, err := io.WriteString(w, "1234567")
		return err
	}
	key, token := g.restricted(map[string]policy.Access{"charges": policy.AccessWrite})
	r := request("POST", "/v1/charges?limit=3&secret=x", token, "User-Agent", "curl/8", "Idempotency-Key", "idem_1", "Stripe-Version", "2025-01-01")
	r.Body = io.NopCloser(strings.NewReader("amount=1"))
	r.Host = "api.example.com"
	before := time.Now().Add(-time.Millisecond)
	_, w := g.wantServed(r)
	got := *g.lastRecord()
	if got.Time.Before(before) || got.Duration <= 0 || got.Upstream <= 0 || got.Upstream > got.Duration {
		t.Errorf("time %v, duration %v, upstream %v", got.Time, got.Duration, got.Upstream)
	}
	got.Time, got.Duration, got.Upstream = time.Time{}, 0, 0
	want := requestlog.Record{
		ID: w.Header().Get("Request-Id"), Method: "POST", Path: "/v1/charges", Target: requestlog.RedactTarget("/v1/charges?limit=3&secret=x"),
		Query: requestlog.RedactQuery("limit=3&secret=x"), Host: "api.example.com", Status: 402, Decision: "allowed",
		RequiredPermission: "charges_write", Key: key.ID, TokenMasked: key.Mask, Kind: "restricted", Mode: "live", Owner: g.a.ID, Account: g.a.ID,
		Resource: "charges", Access: "write", Client: netip.MustParseAddr("198.51.100.9"), UserAgent: "curl/8", APIVersion: "2025-01-01",
		IdempotencyKey: "idem_1", BytesIn: 8, BytesOut: 7, Node: "node", Protocol: "HTTP/1.1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("record\n%+v\nwant\n%+v", got, want)
	}
}

// TestRecordOfErrors: the status that the client gets also stands in the record if the next handler returns an error, or
// panics.
func TestRecordOfErrors(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for _, test := range []struct {
		err    error
		status int
	}{
		{caddyhttp.Error(418, errors.New("teapot")), 418},
		{caddyhttp.Error(499, errors.New("gone")), 499},
		{errors.New("plain"), 500},
	} {
		g.backend = func(http.ResponseWriter, *http.Request) error { return test.err }
		w, err := g.do(request("GET", "/v1/charges", g.live))
		if !errors.Is(err, test.err) && err.Error() != test.err.Error() {
			t.Errorf("error %v, want %v to reach Caddy", err, test.err)
		}
		if w.Header().Get("Request-Id") == "" {
			t.Error("the answer that Caddy makes of the error has no Request-Id")
		}
		if rec := g.lastRecord(); rec.Status != test.status || rec.Decision != "allowed" {
			t.Errorf("%v: record has %d %q, want %d allowed", test.err, rec.Status, rec.Decision, test.status)
		}
	}
	g.backend = func(http.ResponseWriter, *http.Request) error { panic("boom") }
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("panic %v, want the handler's own to go on", p)
			}
		}()
		_, _ = g.do(request("GET", "/v1/customers", g.live))
	}()
	if rec := g.lastRecord(); rec.Path != "/v1/customers" || rec.Status != 500 {
		t.Errorf("record after a panic: %q %d", rec.Path, rec.Status)
	}
	g.backend = func(http.ResponseWriter, *http.Request) error { return nil }
	_, w := g.wantServed(request("GET", "/v1/charges", g.live))
	if rec := g.lastRecord(); rec.Status != 200 || w.Header().Get("Request-Id") != rec.ID {
		t.Errorf("an empty answer: record %d, Request-Id %q", rec.Status, w.Header().Get("Request-Id"))
	}
}

// TestRecordOfBackendErrors: what the backend says is wrong is taken from the beginning of its JSON body, and the body
// reaches the client whole.
func TestRecordOfBackendErrors(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	long := strings.Repeat("x", 5000)
	for _, test := range []struct {
		status              int
		contentType, body   string
		kind, code, message string
	}{
		{402, "application/json", `{"error":{"type":"card_error","code":"card_declined","message":"No."}}`, "card_error", "card_declined", "No."},
		{400, "application/json; charset=utf-8", `{"id":1,"error":{"message":"M","param":{"x":[1]},"type":"t"}}`, "t", "", "M"},
		{400, "application/json", `{"error":{"type":"t","code":7,"message":null}}`, "t", "", ""},
		{400, "application/json", `{"error":{"code":"c","type":"t","message":"` + long + `"}}`, "t", "c", ""},
		{400, "application/json", `{"error":"text"}`, "", "text", ""},
		{400, "application/json", `{"error":["text"],"message":"m"}`, "", "", ""},
		{400, "application/json", `{"error":{}}`, "", "", ""},
		{400, "application/json", `{"type":"t","code":"c","message":"m"}`, "t", "c", "m"},
		{400, "Application/Problem+JSON ; charset=UTF-8", `{"type":"https://x/err","title":"T","status":400,"detail":"D"}`, "https://x/err", "", "D"},
		{400, "application/problem+json", `{"type":"about:blank","title":"T"}`, "about:blank", "", "T"},
		{401, "application/vnd.api+json", `{"error":"invalid_grant","error_description":"D"}`, "", "invalid_grant", "D"},
		{400, "application/json", "\ufeff" + `{"error":{"type":"t"}}`, "t", "", ""},
		{400, "application/jsonx", `{"error":{"type":"t"}}`, "", "", ""},
		{400, "application/json", `[1,2]`, "", "", ""},
		{400, "text/plain", `{"error":{"type":"t"}}`, "", "", ""},
		{200, "application/json", `{"error":{"type":"t"}}`, "", "", ""},
	} {
		g.backend = func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", test.contentType)
			w.WriteHeader(test.status)
			for part := range strings.SplitAfterSeq(test.body, ",") { // in pieces, as it may come
				_, _ = io.WriteString(w, part)
			}
			return nil
		}
		_, w := g.wantServed(request("GET", "/v1/charges", g.live))
		rec := g.lastRecord()
		if rec.ErrorType != test.kind || rec.ErrorCode != test.code || rec.ErrorMessage != test.message {
			t.Errorf("%.60s: record has %q %q %.40q, want %q %q %q", test.body, rec.ErrorType, rec.ErrorCode, rec.ErrorMessage, test.kind, test.code, test.message)
		}
		if w.Body.String() != test.body || rec.BytesOut != int64(len(test.body)) {
			t.Errorf("%.60s: the client got %d bytes, the record has %d, want %d", test.body, w.Body.Len(), rec.BytesOut, len(test.body))
		}
	}
}

// TestRecordOfPackedErrors: an error body is read also where the backend has compressed it, and reaches the client as it was.
func TestRecordOfPackedErrors(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	text := `{"error":{"type":"card_error","code":"card_declined","message":"` + strings.Repeat("No. ", 100) + `"}}`
	for coding, pack := range map[string]func(io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
	} {
		var packed bytes.Buffer
		w := pack(&packed)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		g.backend = func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", coding)
			w.WriteHeader(402)
			_, err := w.Write(packed.Bytes())
			return err
		}
		_, answer := g.wantServed(request("GET", "/v1/charges", g.live))
		if rec := g.lastRecord(); rec.ErrorType != "card_error" || rec.ErrorCode != "card_declined" || !strings.HasPrefix(rec.ErrorMessage, "No. No.") {
			t.Errorf("%s: record has %q %q %q", coding, rec.ErrorType, rec.ErrorCode, rec.ErrorMessage)
		}
		if !bytes.Equal(answer.Body.Bytes(), packed.Bytes()) {
			t.Errorf("%s: the answer was changed", coding)
		}
	}
}

// TestRecordTimesTheBackend: the time of the backend ends when it has answered, the gateway's own goes on.
func TestRecordTimesTheBackend(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	at := time.Now()
	g.now.Store(&at)
	after := at.Add(2 * time.Second)
	g.backend = func(w http.ResponseWriter, _ *http.Request) error {
		g.now.Store(&after)
		return nil
	}
	g.wantServed(request("GET", "/v1/charges", g.live))
	if rec := g.lastRecord(); rec.Upstream != 2*time.Second || rec.Duration < rec.Upstream {
		t.Errorf("got upstream %v of %v, want 2s", rec.Upstream, rec.Duration)
	}
}

// TestRecordOfHead: what a handler writes for a HEAD request is not sent, and not counted.
func TestRecordOfHead(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	g.wantServed(request("HEAD", "/v1/charges", g.live))
	if rec := g.lastRecord(); rec.BytesOut != 0 {
		t.Errorf("got bytes_out %d, want 0", rec.BytesOut)
	}
}

// TestRecordOfDenials has the key, as far as it is known, and no upstream time.
func TestRecordOfDenials(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	if _, err := g.store.DeleteKey(t.Context(), testActor, key.ID); err != nil {
		t.Fatal(err)
	}
	g.wantDenied(request("GET", "/v1/customers", token), 401, "api_key_expired")
	rec := g.lastRecord()
	if rec.Key != key.ID || rec.TokenMasked != key.Mask || rec.Upstream != 0 || rec.BytesOut == 0 || rec.Owner != g.a.ID || rec.Mode != "live" {
		t.Errorf("record %+v", rec)
	}
}

// TestRotationShows: while the old key of a rotation is ending, its answers say when.
func TestRotationShows(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	_, next, err := g.store.RotateKey(t.Context(), testActor, key.ID, keystore.RotateParams{ExpiresAt: end})
	if err != nil {
		t.Fatal(err)
	}
	_, w := g.wantServed(request("GET", "/v1/customers", token))
	if got := w.Header().Get("Keystile-Key-Expires"); got != end.UTC().Format(http.TimeFormat) {
		t.Errorf("Keystile-Key-Expires %q, want %v", got, end)
	}
	if g.lastRecord().SuccessorUsed {
		t.Error("the record of the old key says that the successor was used")
	}
	_, w = g.wantServed(request("GET", "/v1/customers", next.Reveal()))
	if got := w.Header().Get("Keystile-Key-Expires"); got != "" {
		t.Errorf("the new key's answer says Keystile-Key-Expires %q", got)
	}
	if !g.lastRecord().SuccessorUsed {
		t.Error("the record of the new key does not say that the successor was used")
	}
}

// TestRecordHidesUserinfoWithoutQuery: what is refused is recorded too, and a target may carry a password before its host, or
// anything behind a "#".
func TestRecordHidesUserinfoWithoutQuery(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for _, target := range []string{
		"http://legacykey-81fe02c:pw-81fe02c@api.example.com/v1/charges", "http://pw-81fe02c@api.example.com/v1/charges?a=1", "/v1/charges#pw-81fe02c",
	} {
		r := request("GET", "/v1/charges", g.live)
		r.RequestURI = target
		g.wantDenied(r, 400, "request_malformed")
		if rec := g.lastRecord(); strings.Contains(rec.Target, "81fe02c") || rec.Target == "" {
			t.Errorf("%s: the record has the target %q", target, rec.Target)
		}
	}
}

// TestRecordHidesAnImportedTokenElsewhere: a token of foreign spelling cannot be told from other text, but the gateway knows
// the one that it has just accepted.
func TestRecordHidesAnImportedTokenElsewhere(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	const token = "legacy-81fe02c-key"
	if _, err := g.store.ImportKeys(t.Context(), testActor, []keystore.ImportParams{{
		KeyParams: keystore.KeyParams{Account: g.a.ID, Mode: policy.ModeLive, Kind: policy.KindSecret, Name: "legacy"}, Token: policy.TokenFrom(token),
	}}); err != nil {
		t.Fatal(err)
	}
	g.backend = func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, err := io.WriteString(w, `{"error":{"type":"t","code":"c","message":"no such key: `+token+`"}}`)
		return err
	}
	g.wantServed(request("GET", "/v1/customers/"+token, token, "User-Agent", "x "+token, "Idempotency-Key", token+"-1"))
	rec := g.lastRecord()
	if rec.ErrorMessage == "" || rec.Path == "" || rec.Key == "" {
		t.Fatalf("record %+v", rec)
	}
	if text, _ := rec.MarshalJSON(); strings.Contains(string(text), token) {
		t.Errorf("the record holds the token: %s", text)
	}
}
