package api_test

func init() {
	expectations["list_nodes"] = expectation{role: "viewer", global: true, call: fixed("/v1/nodes")}
}
