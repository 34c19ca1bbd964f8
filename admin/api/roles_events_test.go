package api_test

// What the test of roles knows of events, exports and files of keys.
func init() {
	viewer := func(target string) expectation {
		return expectation{role: "viewer", org: true, acct: true, list: true, call: fixed(target)}
	}
	expectations["list_events"] = viewer("/v1/events?limit=100")
	expectations["export_events"] = viewer("/v1/events/export")
	expectations["export_keys"] = viewer("/v1/keys/export")
	expectations["get_event"] = expectation{role: "viewer", org: true, acct: true, call: get(func(w world) string { return "/v1/events/" + w.event })}
	expectations["verify_events"] = expectation{role: "viewer", global: true, call: fixed("/v1/events/verify")}
	expectations["count_request_logs"] = viewer("/v1/request_logs/histogram?by=key")
	expectations["export_request_logs"] = viewer("/v1/request_logs/export")
	expectations["get_request_log_stats"] = expectation{role: "viewer", global: true, call: fixed("/v1/request_logs/stats")}
	expectations["import_key_file"] = expectation{role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/key_imports?dry_run=true", map[string]any{"kind": "secret", "mode": "live", "account": w.account, "token": "legacy"}
	}}
}
