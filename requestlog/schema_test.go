package requestlog

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// contractNames are the names of the contract's section 7, in its order, and what came after them.
const contractNames = `id, time, duration_us, upstream_us, method, path, target, query, host, status, decision, required_permission, key,
token_masked, kind, mode, sandbox, owner, account, resource, access, client_address, user_agent, api_version, idempotency_key,
bytes_in, bytes_out, upstream, node, tls, protocol, error_type, error_code, error_message, successor_used, lost, lost_from, lost_to,
request_headers, response_headers, request_body, response_body`

func TestColumnNamesAreTheContracts(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range Columns() {
		names = append(names, c.Name)
		if c.Doc == "" || c.Kind == 0 {
			t.Errorf("column %s: no doc or kind", c.Name)
		}
		if c.Kind == ColumnText && c.MaxBytes <= 0 {
			t.Errorf("column %s: text without a bound", c.Name)
		}
	}
	got := strings.Join(names, ", ")
	if want := strings.ReplaceAll(contractNames, "\n", " "); got != want {
		t.Errorf("columns:\n got %s\nwant %s", got, want)
	}
}

// fullRecord has every field set, so that a column that somebody forgets shows.
func fullRecord() *Record {
	at := time.Date(2026, 11, 23, 4, 5, 6, 789e6, time.UTC)
	return &Record{
		ID: "req_0123456789ABCDEFGHI", Time: at, Duration: 1234567 * time.Microsecond, Upstream: 1234 * time.Microsecond,
		Method: "POST", Path: "/v1/charges", Target: "/v1/charges?limit=***", Query: "limit=", Host: "api.example.com",
		Status: 403, Decision: "permission_denied", RequiredPermission: "charges_write", Key: "key_1", TokenMasked: "rk_live_****AbCd",
		Kind: "restricted", Mode: "live", Sandbox: "sbx_1", Owner: "acct_1", Account: "acct_2", Resource: "charges", Access: "write",
		Client: netip.MustParseAddr("203.0.113.7"), UserAgent: `agent "quoted" \ ü`, APIVersion: "2026-01-01", IdempotencyKey: "idem",
		BytesIn: 12, BytesOut: 34, UpstreamAddress: "backend:8080", Node: "node-1", TLS: "1.3", Protocol: "HTTP/2.0",
		ErrorType: "permission_error", ErrorCode: "permission_denied", ErrorMessage: "no", SuccessorUsed: true,
		Lost: 7, LostFrom: at.Add(-time.Second), LostTo: at,
		RequestHeaders: `{"Accept":"*/*"}`, ResponseHeaders: `{"Content-Type":"a/b"}`, RequestBody: "password=***", ResponseBody: "[1…",
	}
}

func TestEveryFieldOfRecordHasAColumn(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	v := reflect.ValueOf(*r)
	for i := range v.NumField() {
		if f := v.Type().Field(i); v.Field(i).IsZero() && f.Name != "Capture" && f.IsExported() {
			t.Errorf("fullRecord leaves %s zero", f.Name)
		}
	}
	if got, want := len(columns), v.NumField()-2; got != want {
		t.Errorf("columns: got %d, want %d as Record has fields beside Capture and the secret", got, want)
	}
	for _, c := range Columns() {
		if c.Text(r) == "" {
			t.Errorf("column %s: got no text", c.Name)
		}
	}
}

func TestRecordJSONRoundTrip(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*Record{
		"full":  fullRecord(),
		"empty": {ID: "req_0123456789ABCDEFGHI", Time: time.UnixMilli(0).UTC()},
	} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%s: Marshal: %v", name, err)
		}
		var got Record
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: Unmarshal of %s: %v", name, b, err)
		}
		if !reflect.DeepEqual(&got, r) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, &got, r)
		}
	}
}

func TestRecordJSON(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(fullRecord())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"req_0123456789ABCDEFGHI","time":"2026-11-23T04:05:06.789Z","duration_us":1234567,"upstream_us":1234,` +
		`"method":"POST","path":"/v1/charges","target":"/v1/charges?limit=***","query":"limit=","host":"api.example.com","status":403,` +
		`"decision":"permission_denied","required_permission":"charges_write","key":"key_1","token_masked":"rk_live_****AbCd",` +
		`"kind":"restricted","mode":"live","sandbox":"sbx_1","owner":"acct_1","account":"acct_2","resource":"charges","access":"write",` +
		`"client_address":"203.0.113.7","user_agent":"agent \"quoted\" \\ ü","api_version":"2026-01-01","idempotency_key":"idem",` +
		`"bytes_in":12,"bytes_out":34,"upstream":"backend:8080","node":"node-1","tls":"1.3","protocol":"HTTP/2.0",` +
		`"error_type":"permission_error","error_code":"permission_denied","error_message":"no","successor_used":true,` +
		`"lost":7,"lost_from":"2026-11-23T04:05:05.789Z","lost_to":"2026-11-23T04:05:06.789Z",` +
		`"request_headers":"{\"Accept\":\"*/*\"}","response_headers":"{\"Content-Type\":\"a/b\"}","request_body":"password=***","response_body":"[1…"}`
	if string(got) != want {
		t.Errorf("JSON:\n got %s\nwant %s", got, want)
	}
}
