package main_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// recordFields are the names that section 7 fixes. A record may leave out what is empty and hold nothing else.
var recordFields = []string{
	"id", "time", "duration_us", "upstream_us", "method", "path", "target", "query", "host", "status", "decision", "required_permission",
	"key", "token_masked", "kind", "mode", "sandbox", "owner", "account", "resource", "access", "client_address", "user_agent",
	"api_version", "idempotency_key", "bytes_in", "bytes_out", "upstream", "node", "tls", "protocol", "error_type", "error_code", "error_message",
}

// wantRecord compares fields of a record; "" means empty or left out.
func wantRecord(t *testing.T, got gatetest.Record, want gatetest.Fields) {
	t.Helper()
	allowed := map[string]bool{"object": true, "successor_used": true, "explanation": true} // the last one of the answer about one record
	for _, name := range recordFields {
		allowed[name] = true
	}
	for name := range got {
		if !allowed[name] {
			t.Errorf("the record has the field %q, which the contract does not name", name)
		}
	}
	for name, wanted := range want {
		value, there := got[name]
		if wanted == "" && (!there || value == nil || value == "") {
			continue
		}
		a, _ := json.Marshal(value)
		b, _ := json.Marshal(wanted)
		if string(a) != string(b) {
			t.Errorf("record field %s: got %s, want %s", name, a, b)
		}
	}
	if text, _ := got["time"].(string); text != "" {
		if at, err := time.Parse(time.RFC3339Nano, text); err != nil || !strings.HasSuffix(text, "Z") || time.Since(at) > time.Hour {
			t.Errorf("got time %q (%v), want RFC 3339 in UTC", text, err)
		}
	} else {
		t.Error("the record has no time")
	}
	if number(got["duration_us"]) <= 0 {
		t.Errorf("got duration_us %v, want more than 0", got["duration_us"])
	}
	if number(got["upstream_us"]) > number(got["duration_us"]) {
		t.Errorf("got upstream_us %v beyond duration_us %v", got["upstream_us"], got["duration_us"])
	}
}

// TestRecords: one record for every request, allowed or not, with what is known of it.
func TestRecords(t *testing.T) {
	b := theBed(t)
	from := source()
	tests := []struct {
		name, site, request string
		want                gatetest.Fields
	}{
		{"allowed", b.any, gatetest.Request("POST", "/v1/charges?expand[]=customer&limit=3", "amount=1", gatetest.Bearer(b.SK.Token),
			"User-Agent: test/1.0", "Stripe-Version: 2026-01-01", "Idempotency-Key: idem-1"),
			gatetest.Fields{"method": "POST", "path": "/v1/charges", "host": "api.example.com", "status": 200, "decision": "allowed",
				"required_permission": "charges_write", "key": b.SK.ID, "token_masked": mask(b.SK.Token), "kind": "secret", "mode": "live", "sandbox": "",
				"owner": b.A, "account": b.A, "resource": "charges", "access": "write", "client_address": from, "user_agent": "test/1.0",
				"api_version": "2026-01-01", "idempotency_key": "idem-1", "bytes_in": 8, "upstream": b.echo.Addr, "tls": "", "protocol": "HTTP/1.1",
				"error_type": "", "error_code": ""}},
		{"sandbox", b.any, get("/v1/customers/cus_1", b.SKT.Token),
			gatetest.Fields{"decision": "allowed", "mode": "sandbox", "sandbox": b.SKT.Sandbox, "resource": "customers", "access": "read"}},
		{"connected account", b.any, get("/v1/customers", b.SK.Token, "Stripe-Account: "+b.D),
			gatetest.Fields{"decision": "allowed", "owner": b.A, "account": b.D}},
		{"organization", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.B, "Stripe-Version: 2026-01-01"),
			gatetest.Fields{"decision": "allowed", "kind": "organization", "owner": b.Org, "account": b.B, "api_version": "2026-01-01"}},
		{"permission denied", b.any, get("/v1/charges", b.RK.Token),
			gatetest.Fields{"status": 403, "decision": "permission_denied", "required_permission": "charges_read", "key": b.RK.ID, "kind": "restricted",
				"account": b.A, "resource": "charges", "access": "read", "upstream": "", "error_type": "permission_error", "error_code": "permission_denied"}},
		{"deleted", b.any, get("/v1/customers", b.OLD.Token),
			gatetest.Fields{"status": 401, "decision": "api_key_expired", "key": b.OLD.ID, "token_masked": mask(b.OLD.Token)}},
		{"missing", b.any, gatetest.Request("GET", "/v1/customers", ""),
			gatetest.Fields{"status": 401, "decision": "api_key_missing", "key": "", "token_masked": "", "mode": "", "account": ""}},
		{"password for a key", b.any, get("/v1/customers", "my-password-1234"),
			gatetest.Fields{"status": 401, "decision": "api_key_invalid", "key": ""}},
		{"malformed", b.any, get("/v1/customers/../x", b.SK.Token),
			gatetest.Fields{"status": 400, "decision": "request_malformed"}},
		{"TRACE", b.any, gatetest.Request("TRACE", "/v1/customers", ""),
			gatetest.Fields{"method": "TRACE", "status": 405, "decision": "method_not_allowed"}},
		{"wrong address", b.any, get("/v1/customers", b.SKIP.Token),
			gatetest.Fields{"status": 403, "decision": "ip_not_allowed", "key": b.SKIP.ID, "client_address": from}},
		{"open", b.any, gatetest.Request("GET", "/public/x", ""), gatetest.Fields{"status": 200, "decision": "open", "key": ""}},
		{"preflight", b.any, preflight("/v1/tokens", "https://shop.example", "POST", ""),
			gatetest.Fields{"method": "OPTIONS", "status": 204, "decision": "preflight"}},
		{"HEAD", b.any, gatetest.Request("HEAD", "/v1/charges", "", gatetest.Bearer(b.RK.Token)),
			gatetest.Fields{"method": "HEAD", "status": 403, "decision": "permission_denied", "bytes_out": 0}},
		{"backend down", b.down, get("/v1/customers", b.SK.Token), gatetest.Fields{"status": 502, "key": b.SK.ID, "error_code": "upstream_unavailable"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := b.sendFrom(t, from, tt.site, tt.request)
			record := b.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
			wantRecord(t, record, tt.want)
			if number(record["status"]) != answer.Status {
				t.Errorf("got status %v, the answer had %d", record["status"], answer.Status)
			}
			if number(record["bytes_out"]) != len(answer.Body) {
				t.Errorf("got bytes_out %v, the answer had %d", record["bytes_out"], len(answer.Body))
			}
		})
	}
}

// TestRecordOfTLS: over TLS and HTTP/2, the record says so, names the node, and splits the time.
func TestRecordOfTLS(t *testing.T) {
	b := theBed(t)
	h, err := gatetest.DialH2(b.tls, source(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	answer, err := h.Do([]gatetest.Field{gatetest.F(":method", "GET"), gatetest.F(":scheme", "https"), gatetest.F(":authority", "localhost"),
		gatetest.F(":path", "/v1/customers"), gatetest.F("authorization", "Bearer "+b.SK.Token)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	record := b.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
	wantRecord(t, record, gatetest.Fields{"status": 200, "tls": "1.3", "protocol": "HTTP/2.0", "upstream": b.echo.Addr})
	if node, _ := record["node"].(string); node == "" || number(record["upstream_us"]) <= 0 {
		t.Errorf("got node %q, upstream_us %v", node, record["upstream_us"])
	}
}

// TestRecordOfRotation: the records of a rotation tell which of the two keys a client uses.
func TestRecordOfRotation(t *testing.T) {
	b := theBed(t)
	old := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "to be rotated"})
	var next gatetest.Key
	b.Admin.Do(t, "POST", "/v1/keys/"+old.ID+"/rotate", gatetest.Fields{"expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &next)
	for token, want := range map[string]any{old.Token: nil, next.Token: true} {
		record := b.Admin.AwaitRecord(t, b.send(t, b.any, get("/v1/customers", token)).Header.Get("Request-Id"))
		if record["successor_used"] != want {
			t.Errorf("of key %v: got successor_used %v, want %v", record["key"], record["successor_used"], want)
		}
	}
}

// TestRecordHoldsNoSecret: keys and passwords that a client puts where they do not belong are in no record, and query
// values are not kept.
//
// The gateway has no access log of Caddy's: that one shows a URL or a user agent as it came, and only what the client
// presents as its key is the gateway's to keep out of it.
func TestRecordHoldsNoSecret(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, key, _ := siteFor(t, "mode any", backend.Addr)
	token := key.Token
	send := func(request string) *gatetest.Answer {
		t.Helper()
		answer, err := gatetest.Send(site, "", request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, request := range []string{
		get("/v1/customers?key="+token+"&password=hunter2", token),
		get("/v1/customers?"+token, token),
		get("/v1/customers/"+token, token),
		get("/v1/customers", token, "User-Agent: curl "+token),
		get("/v1/customers", token, "Idempotency-Key: "+token),
		get("/v1/customers", token, "Referer: https://x/?k="+token),
		get("/v1/customers", token, "Stripe-Version: "+token),
		get("/v1/customers", token, "Stripe-Context: "+token),
		get("/v1/customers/../"+token, token),
		gatetest.Request("GET", "/v1/customers", "", "Authorization: Bearer "+token+"x"),
		gatetest.Request(token, "/v1/customers", "", gatetest.Bearer(token)),
		strings.Replace(get("/v1/customers", token), "Host: api.example.com", "Host: "+token, 1),
		preflight("/v1/customers?key="+token, "https://"+token, "POST", token),
	} {
		answer := send(request)
		id := answer.Header.Get("Request-Id")
		if id == "" && (answer.Status == 400 || answer.Status == 405) {
			continue // refused by the HTTP server, or by Caddy for a method of that length, before the directive
		}
		record := g.Admin.AwaitRecord(t, id)
		text, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.FindTokens("the record", text); err != nil {
			t.Errorf("%.40q…: %v", request, err)
		}
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("the record holds a query value: %s", text)
		}
		if answer.Status >= 400 {
			if err := g.FindTokens("the answer", answer.Body); err != nil {
				t.Errorf("%.40q…: %v", request, err)
			}
		}
	}
	answer := send(get("/v1/customers?limit=3&expand[]=a&email=x@example.com", token))
	record := g.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
	query, _ := record["query"].(string)
	target, _ := record["target"].(string)
	if !strings.Contains(query, "limit") || !strings.Contains(query, "email") || strings.Contains(query+target, "x@example.com") {
		t.Errorf("got query %q and target %q, want the names without the values", query, target)
	}
}

// TestRecordList: filters, order and pages of the list, and that each request has one record.
func TestRecordList(t *testing.T) {
	b := theBed(t)
	key := b.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "live", "account": b.A, "name": "listed",
		"permissions": gatetest.Fields{"customers": "read"}})
	var ids []string
	for n := range 25 {
		target := "/v1/customers"
		if n%5 == 0 {
			target = "/v1/charges"
		}
		ids = append(ids, b.send(t, b.any, get(target, key.Token)).Header.Get("Request-Id"))
	}
	b.Admin.AwaitRecord(t, ids[len(ids)-1])
	filter := func(pairs ...string) url.Values {
		v := url.Values{"key": {key.ID}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, tt := range []struct {
		name   string
		filter url.Values
		want   int
	}{
		{"by key", filter(), 25},
		{"small pages", filter("limit", "4"), 25},
		{"refused ones", filter("status", "403"), 5},
		{"by class", filter("status", "4xx"), 5},
		{"passed ones", filter("status", "200"), 20},
		{"by decision", filter("decision", "permission_denied"), 5},
		{"by resource", filter("resource", "customers"), 20},
		{"another key", url.Values{"key": {b.OLD.ID}, "status": {"200"}}, 0},
	} {
		rows := b.Admin.Records(t, tt.filter)
		if len(rows) != tt.want {
			t.Errorf("%s: got %d records, want %d", tt.name, len(rows), tt.want)
		}
		seen := make(map[any]bool)
		last := ""
		for _, row := range rows {
			id, _ := row["id"].(string)
			if seen[id] {
				t.Errorf("%s: %s comes twice", tt.name, id)
			}
			seen[id] = true
			if last != "" && id > last {
				t.Errorf("%s: %s comes after %s: not the newest first, or ids that do not sort by time", tt.name, id, last)
			}
			last = id
		}
	}
	b.Admin.Fails(t, "GET", "/v1/request_logs?colour=red", nil, 400, "parameter_unknown")
}

// TestRecordsSurviveKill: kill -9 loses at most what came in the last 200 ms before it.
func TestRecordsSurviveKill(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, key, _ := siteFor(t, "mode any", backend.Addr)
	type sent struct {
		id string
		at time.Time
	}
	var all []sent
	for round := range 5 {
		var requests []sent
		for stop := time.Now().Add(time.Second); time.Now().Before(stop); {
			answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token))
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, sent{answer.Header.Get("Request-Id"), time.Now()})
		}
		killed := time.Now()
		g.Kill(t)
		for _, r := range requests {
			if killed.Sub(r.at) > 300*time.Millisecond { // 200 ms, and what the machine needs to write
				all = append(all, r)
			}
		}
		g.Start(t)
		answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token))
		if err != nil {
			t.Fatal(err)
		}
		g.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
		kept := make(map[any]bool)
		for _, row := range g.Admin.Records(t, url.Values{"key": {key.ID}}) {
			kept[row["id"]] = true
		}
		lost := 0
		for _, r := range all {
			if !kept[r.id] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("round %d: %d of %d records that were older than 200 ms at a kill are lost", round, lost, len(all))
		}
	}
}
