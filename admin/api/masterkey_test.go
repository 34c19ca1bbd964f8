package api_test

import (
	"encoding/json"
	"testing"
)

// TestMasterKeyCalls: the state and the steps where the keyset is in hand, and so cannot be changed by the program. That a
// rotation works is tested on the store and from outside.
func TestMasterKeyCalls(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.account("A")
	var state struct {
		Object  string
		Primary uint32
		Waiting *uint32
		Keys    []uint32
		Old     struct{ Keys int }
	}
	if err := json.Unmarshal(f.ok("GET", "/v1/master_key", nil).body, &state); err != nil {
		t.Fatal(err)
	}
	if state.Object != "master_key" || state.Primary == 0 || state.Waiting != nil || len(state.Keys) != 1 || state.Old.Keys != 0 {
		t.Errorf("got %+v", state)
	}
	for _, step := range []string{"add", "rotate"} {
		f.do("POST", "/v1/master_key/"+step, nil).fails(409, "conflict", "")
	}
	f.do("POST", "/v1/master_key/rotate", map[string]any{"keep_old": true}).fails(409, "conflict", "")
	for _, step := range []string{"promote", "prune", "reload"} { // nothing to do
		f.ok("POST", "/v1/master_key/"+step, nil)
	}
	f.do("POST", "/v1/master_key/rotate", map[string]any{"keep": true}).fails(400, "parameter_unknown", "keep")
}
