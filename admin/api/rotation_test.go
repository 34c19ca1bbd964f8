package api_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/requestlog"
)

func TestRotationSchedule(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.restricted(f.account("Acme").ID)
	path := "/v1/keys/" + k.ID + "/rotation_schedule"
	rotation := func(schedule string) string {
		return fmt.Sprintf(`{"schedule":%s,"predecessor":null,"successor":null}`, schedule)
	}
	for _, test := range []struct{ body, schedule string }{
		{`{"at":"2026-03-02T12:00:00+01:00"}`, `{"at":"2026-03-02T11:00:00Z","every_days":null,"overlap":"24h","next_at":"2026-03-02T11:00:00Z"}`},
		{`{"at":"2026-03-02T12:00:00Z","overlap":"0s"}`, `{"at":"2026-03-02T12:00:00Z","every_days":null,"overlap":"0s","next_at":"2026-03-02T12:00:00Z"}`},
		{`{"every_days":90,"overlap":"7d"}`, `{"at":null,"every_days":90,"overlap":"168h","next_at":"2026-05-30T12:00:00Z"}`},
		{`{"every_days":1,"at":null,"overlap":"90m"}`, `{"at":null,"every_days":1,"overlap":"1h30m","next_at":"2026-03-02T12:00:00Z"}`},
		{`{"every_days":1,"overlap":"10m10s"}`, `{"at":null,"every_days":1,"overlap":"10m10s","next_at":"2026-03-02T12:00:00Z"}`},
	} {
		f.ok("PUT", path, test.body).has("rotation", rotation(test.schedule), "id", fmt.Sprintf("%q", k.ID))
		f.ok("GET", "/v1/keys/"+k.ID, nil).has("rotation", rotation(test.schedule))
	}
	for _, test := range []struct{ body, code, param string }{
		{`{}`, "parameter_missing", "at"},
		{`{"overlap":"24h"}`, "parameter_missing", "at"},
		{`{"at":"2026-03-02T12:00:00Z","every_days":2}`, "parameter_invalid", "at"},
		{`{"at":"2026-03-01T12:00:00Z"}`, "parameter_invalid", "at"},
		{`{"at":"tomorrow"}`, "parameter_invalid", "at"},
		{`{"every_days":0}`, "parameter_invalid", "every_days"},
		{`{"every_days":-3}`, "parameter_invalid", "every_days"},
		{`{"every_days":"90"}`, "parameter_invalid", "every_days"},
		{`{"every_days":90,"overlap":"8d"}`, "parameter_invalid", "overlap"},
		{`{"every_days":90,"overlap":"168h1ms"}`, "parameter_invalid", "overlap"},
		{`{"every_days":90,"overlap":"-1h"}`, "parameter_invalid", "overlap"},
		{`{"every_days":90,"overlap":"a day"}`, "parameter_invalid", "overlap"},
		{`{"every_days":90,"days":1}`, "parameter_unknown", "days"},
	} {
		f.do("PUT", path, test.body).fails(400, test.code, test.param)
	}
	tag := f.ok("GET", "/v1/keys/"+k.ID, nil).header.Get("ETag")
	f.ok("DELETE", path, nil, "If-Match", tag).has("rotation", rotation("null"))
	f.do("PUT", path, `{"every_days":2}`, "If-Match", tag).fails(412, "revision_mismatch", "If-Match")
	f.ok("DELETE", path, nil).has("rotation", rotation("null"))
	f.do("PUT", "/v1/keys/key_0000000000000000/rotation_schedule", `{"every_days":2}`).fails(404, "resource_missing", "")
	f.do("DELETE", "/v1/keys/key_0000000000000000/rotation_schedule", nil).fails(404, "resource_missing", "")
	next := as[api.Key](f.ok("POST", "/v1/keys/"+k.ID+"/rotate", nil))
	f.do("PUT", path, `{"every_days":2}`).fails(409, "key_ended", "")
	f.do("DELETE", path, nil).fails(409, "key_ended", "")
	f.ok("PUT", "/v1/keys/"+next.ID+"/rotation_schedule", `{"every_days":2}`)
	last := as[api.Key](f.ok("POST", "/v1/keys/"+next.ID+"/rotate", `{"expires_at":"2026-03-02T12:00:00Z"}`))
	if last.Rotation.Schedule == nil || *last.Rotation.Schedule.EveryDays != 2 {
		t.Errorf("the repeated schedule did not go over to the replacement: %+v", last.Rotation)
	}
	f.do("PUT", "/v1/keys/"+next.ID+"/rotation_schedule", `{"every_days":2}`).fails(409, "conflict", "")
}

func TestExpiresIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	k := f.restricted(account.ID)
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("expires_in", "null")
	f.ok("POST", "/v1/keys/"+k.ID+"/rotate", `{"expires_at":"2026-03-02T12:00:00Z"}`).has("expires_in", "null")
	f.advance(1500 * time.Millisecond)
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("status", `"expiring"`, "expires_in", "86398")
	f.ok("PATCH", "/v1/keys/"+k.ID, `{"expires_at":"2026-03-08T12:00:00Z"}`).has("expires_in", "604798")
	f.do("PATCH", "/v1/keys/"+k.ID, `{"expires_at":"2026-03-08T12:00:01Z"}`).fails(400, "parameter_invalid", "expires_at")
	f.do("PATCH", "/v1/keys/"+k.ID, `{"expires_at":null}`).fails(400, "parameter_invalid", "expires_at")
	f.advance(8 * 24 * time.Hour)
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("status", `"expired"`, "expires_in", "null")
}

// use is one request with a key, as the gateway records it and tells the store.
func (f *fixture) use(k api.Key, at time.Time, address, agent, decision string) {
	f.t.Helper()
	f.record(func(r *requestlog.Record) {
		r.ID, r.Time, r.Key, r.Decision, r.UserAgent = requestlog.NewID(at), at, k.ID, decision, agent
		if r.Client = (netip.Addr{}); address != "" {
			r.Client = netip.MustParseAddr(address)
		}
	})
	stored, _ := f.store.Snapshot().Key(k.ID)
	if decision != "ip_not_allowed" {
		f.store.Touch(stored, at, netip.MustParseAddr("203.0.113.1"))
	}
}

func TestUsageAndEndOfRotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	k, other := f.restricted(account.ID), f.restricted(account.ID)
	f.ok("GET", "/v1/keys/"+k.ID+"/usage", nil).has("users", "[]", "complete", "true", "last_used_at", "null", "since", `"2026-03-01T11:00:00Z"`)
	start := f.clock()
	f.use(k, start, "203.0.113.1", "curl/8", "allowed")
	f.use(other, start, "203.0.113.99", "curl/8", "allowed")
	f.use(k, start.Add(30*time.Minute), "203.0.113.2", "", "permission_denied")
	f.use(k, start.Add(31*time.Minute), "203.0.113.3", "scanner", "ip_not_allowed")
	f.use(k, start.Add(40*time.Minute), "203.0.113.1", "curl/8", "allowed")
	f.use(k, start.Add(41*time.Minute), "", "node", "allowed")
	f.advance(70 * time.Minute)

	users := `{"client_address":null,"user_agent":"node","last_used_at":"2026-03-01T12:41:00Z","requests":1},` +
		`{"client_address":"203.0.113.1","user_agent":"curl/8","last_used_at":"2026-03-01T12:40:00Z","requests":%d},` +
		`{"client_address":"203.0.113.2","user_agent":"","last_used_at":"2026-03-01T12:30:00Z","requests":1}`
	f.ok("GET", "/v1/keys/"+k.ID+"/usage", nil).has("object", `"key_usage"`, "key", fmt.Sprintf("%q", k.ID),
		"last_used_at", `"2026-03-01T12:41:00Z"`, "last_used_ip", `"203.0.113.1"`, "users", "["+fmt.Sprintf(users, 1)+"]", "complete", "true")
	f.ok("GET", "/v1/keys/"+k.ID+"/usage?since=24h", nil).has("users", "["+fmt.Sprintf(users, 2)+"]", "since", `"2026-02-28T13:10:00Z"`)
	f.do("GET", "/v1/keys/"+k.ID+"/usage?since=yesterday", nil).fails(400, "parameter_invalid", "since")
	f.do("GET", "/v1/keys/key_0000000000000000/usage", nil).fails(404, "resource_missing", "")

	end := "/v1/keys/" + k.ID + "/rotation/end"
	f.do("POST", end, nil).fails(409, "not_rotating", "")
	next := as[api.Key](f.ok("POST", "/v1/keys/"+k.ID+"/rotate", `{"expires_at":"2026-03-05T12:00:00Z"}`))
	f.do("POST", "/v1/keys/"+next.ID+"/rotation/end", `{}`).fails(409, "not_rotating", "")
	e := f.do("POST", end, `{}`).fails(409, "key_in_use", "")
	if len(e.Users) != 3 || *e.Users[1].ClientAddress != "203.0.113.1" || e.Users[1].UserAgent != "curl/8" || e.Users[1].Requests != 1 ||
		!e.Users[1].LastUsedAt.Equal(start.Add(40*time.Minute)) {
		t.Errorf("the refusal lists %+v", e.Users)
	}
	f.do("POST", end, `{"force":false}`).fails(409, "key_in_use", "")
	f.do("POST", end, `{"force":"yes"}`).fails(400, "parameter_invalid", "force")
	f.do("POST", "/v1/keys/key_0000000000000000/rotation/end", `{}`).fails(404, "resource_missing", "")
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("status", `"expiring"`)
	f.ok("POST", end+"?wait=node", `{"force":true}`).has("status", `"expired"`, "nodes", `[{"id":"node-1","applied":true}]`, "id", fmt.Sprintf("%q", k.ID))
	f.do("POST", end, `{"force":true}`).fails(409, "key_ended", "")

	// Not used within the hour: no force is needed.
	f.ok("POST", "/v1/keys/"+other.ID+"/rotate", `{"expires_at":"2026-03-05T12:00:00Z"}`)
	f.ok("POST", "/v1/keys/"+other.ID+"/rotation/end", nil).has("status", `"expired"`)
}

// TestUsersAreBounded: a key that very many use is answered with the latest of them.
func TestUsersAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.restricted(f.account("Acme").ID)
	for i := range 150 {
		f.use(k, f.clock().Add(time.Duration(i)*time.Second), "203.0.113.1", fmt.Sprint("agent ", i), "allowed")
	}
	f.advance(10 * time.Minute)
	u := as[api.KeyUsage](f.ok("GET", "/v1/keys/"+k.ID+"/usage", nil))
	if len(u.Users) != 100 || u.Complete || u.Users[0].UserAgent != "agent 149" {
		t.Errorf("%d users, complete %v, the first is %+v", len(u.Users), u.Complete, u.Users[0])
	}
}

// TestIPRangesInBulk: one text, as it is pasted; errors name the position and the reason, and nothing is saved.
func TestIPRangesInBulk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.restricted(f.account("Acme").ID)
	f.ok("PATCH", "/v1/keys/"+k.ID, map[string]any{"ip_ranges": "10.0.0.0/8\n 203.0.113.7\t\r\n192.0.2.0/24  "}).
		has("ip_ranges", `["10.0.0.0/8","192.0.2.0/24","203.0.113.7"]`)
	for _, test := range []struct{ text, param string }{
		{"10.0.0.1\n10.0.0.2/8", "ip_ranges[1]"},
		{"0.0.0.0/0", "ip_ranges[0]"},
		{"10.0.0.1 10.0.0.2 10.0.0.1", "ip_ranges[2]"},
		{"10.0.0.1 10.0.0.1/32", "ip_ranges[1]"},
		{"10.0.0.1 10.0.0.010", "ip_ranges[1]"},
		{"10.0.0.1 2001:db8::1", "ip_ranges[1]"},
		{"10.0.0.1,10.0.0.2", "ip_ranges[0]"},
		{"10.0.0.1 10.0.0.0/33", "ip_ranges[1]"},
	} {
		f.do("PATCH", "/v1/keys/"+k.ID, map[string]any{"ip_ranges": test.text}).fails(400, "parameter_invalid", test.param)
	}
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("ip_ranges", `["10.0.0.0/8","192.0.2.0/24","203.0.113.7"]`)
	f.ok("PATCH", "/v1/keys/"+k.ID, `{"ip_ranges":null}`).has("ip_ranges", "null")
}
