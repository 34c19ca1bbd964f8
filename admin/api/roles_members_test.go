package api_test

// What the test of roles knows of members.
func init() {
	administrator := func(call func(w world) (string, string, any)) expectation {
		return expectation{role: "administrator", org: true, acct: true, call: call}
	}
	member := func(method, tail string, body any) expectation {
		return administrator(func(w world) (string, string, any) { return method, "/v1/members/" + w.member + tail, body })
	}
	expectations["list_members"] = expectation{role: "administrator", org: true, acct: true, list: true, call: fixed("/v1/members?limit=100")}
	expectations["invite_member"] = administrator(func(w world) (string, string, any) {
		return "POST", "/v1/members", map[string]any{
			"email": w.key + "@example.com", "grants": []any{map[string]any{"role": "viewer", "account": w.account}},
		}
	})
	expectations["get_member"] = member("GET", "", nil)
	expectations["update_member"] = member("PATCH", "", map[string]any{"name": "renamed"})
	expectations["delete_member"] = member("DELETE", "", nil)
	expectations["renew_invitation"] = member("POST", "/invitation", nil)
	expectations["list_member_sessions"] = member("GET", "/sessions", nil)
	expectations["delete_member_sessions"] = member("DELETE", "/sessions", nil)
}
