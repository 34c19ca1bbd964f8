package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/requestlog"
)

func TestRouter(t *testing.T) {
	t.Parallel()
	var r router
	for _, pattern := range []string{"/v1/keys", "/v1/keys/{id}", "/v1/keys/import", "/v1/keys/{id}/reveal", "/v1/accounts/{id}/connections/{connected_id}"} {
		r.add("GET", pattern, func(*call) {})
	}
	for path, want := range map[string]string{
		"/v1/keys":                       "/v1/keys",
		"/v1/keys/key_1":                 "/v1/keys/{id} id=key_1",
		"/v1/keys/import":                "/v1/keys/import",
		"/v1/keys/import/reveal":         "/v1/keys/{id}/reveal id=import",
		"/v1/keys/a%2Fb":                 "/v1/keys/{id} id=a/b",
		"/v1/keys/%zz":                   "",
		"/v1/keys/":                      "",
		"/v1/keys//reveal":               "",
		"/v1/%6beys":                     "",
		"v1/keys":                        "",
		"":                               "",
		"*":                              "",
		"/v1/accounts/a/connections/b":   "/v1/accounts/{id}/connections/{connected_id} connected_id=b id=a",
		"/v1/accounts/a/connections/b/c": "",
	} {
		got := ""
		if route, params, ok := r.match(path); ok {
			got = route.pattern
			for _, name := range []string{"connected_id", "id"} {
				if v, ok := params[name]; ok {
					got += " " + name + "=" + v
				}
			}
		}
		if got != want {
			t.Errorf("match(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestSuggestion(t *testing.T) {
	t.Parallel()
	known := []string{"account", "expires_at", "ip_ranges", "name", "permissions"}
	for name, want := range map[string]string{
		"acount": "account", "IPRanges": "ip_ranges", "expiresAt": "expires_at", "permission": "permissions", "nmae": "name", "Name": "name",
		"wombat": "", "": "", strings.Repeat("x", 1<<16): "",
	} {
		got := suggestion(name, known)
		if want != "" {
			want = "; did you mean " + want + "?"
		}
		if got != want {
			t.Errorf("suggestion(%.20q) = %q, want %q", name, got, want)
		}
	}
}

// TestMemoryIdempotencyIsBounded: full it refuses new keys, keeps the promise for old ones, and has room again later.
func TestMemoryIdempotencyIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	ctx := context.Background()
	for _, limit := range []string{"entries", "bytes"} {
		m := NewMemoryIdempotency(func() time.Time { return now })
		if limit == "entries" {
			m.maxEntries = 4
		} else {
			m.maxBytes = 4 * 1000
		}
		key := func(i int) IdempotencyKey { return IdempotencyKey{Caller: "c", Key: fmt.Sprint(i)} }
		for i := range 4 {
			if state, _, _ := m.Begin(ctx, key(i)); state != IdempotencyClaimed {
				t.Fatalf("%s: claim %d: %v", limit, i, state)
			}
			if err := m.Finish(ctx, key(i), bytes.Repeat([]byte("x"), 1000)); err != nil {
				t.Fatal(err)
			}
		}
		if state, _, _ := m.Begin(ctx, key(4)); state != IdempotencyFull {
			t.Errorf("%s: a fifth key: %v", limit, state)
		}
		if state, _, _ := m.Begin(ctx, key(0)); state != IdempotencySaved {
			t.Errorf("%s: the first key: %v", limit, state)
		}
		now = now.Add(IdempotencyLifetime)
		if state, _, _ := m.Begin(ctx, key(4)); state != IdempotencyClaimed {
			t.Errorf("%s: a day later: %v", limit, state)
		}
		if len(m.entries) != 1 || m.bytes != 0 || m.order.Len() != 0 {
			t.Errorf("%s: %d entries, %d bytes, %d in order are left", limit, len(m.entries), m.bytes, m.order.Len())
		}
	}
}

func TestTokenPrintsAsMask(t *testing.T) {
	t.Parallel()
	k := Key{Token: "sk_live_secret"}
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %s %q %x", k, k, k.Token, k.Token, k.Token), k.Token.LogValue().String()} {
		if strings.Contains(text, "secret") || strings.Contains(text, "736563726574") {
			t.Errorf("a token is printed: %s", text)
		}
	}
	if data, err := json.Marshal(k); err != nil || !strings.Contains(string(data), `"token":"sk_live_secret"`) {
		t.Errorf("JSON = %s, %v", data, err)
	}
}

// FuzzDecodeBody: what is accepted has one reading only. It decodes to a value that encodes to a body that is accepted and
// decodes to the same value; and no name stands twice in it.
func FuzzDecodeBody(f *testing.F) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[KeyImports](), true, "")
	for _, seed := range []string{
		`{"keys":[{"kind":"secret","mode":"live","token":"x"}]}`,
		`{"keys":[{"kind":"secret","mode":"live","ip_ranges":"10.0.0.1\n10.0.0.0/8","permissions":[]}]}`,
		`{"keys":[{"kind":"secret","mode":"live","ip_ranges":null,"permissions":{"a":"read"},"metadata":{"":""}}]}`,
		`{"keys":[{"kind":"secret","mode":"live","expires_at":"2026-01-01T00:00:00.5+02:00","allowed_origins":[]}]}`,
		`{"keys":[{"kind":"secret","kind":"secret","mode":"live"}]}`, `{"keys":[]} {}`, `{"Keys":[]}`, "{\"keys\":\"\xff\"}", `{"keys":[null]}`,
		`{"keys":[{"kind":"secret","mode":"live","name":"\ud800"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first KeyImports
		if decodeBody(registry, schema, data, &first) != nil {
			return
		}
		again := marshal(first)
		var second KeyImports
		if err := decodeBody(registry, schema, again, &second); err != nil {
			t.Fatalf("accepted %s, but not its encoding %s: %v", data, again, err)
		}
		if !bytes.Equal(again, marshal(second)) {
			t.Fatalf("%s reads as %s and then as %s", data, again, marshal(second))
		}
	})
}

// TestExplanationOfGap: what stands for lost records says so. The log makes such records only under overload.
func TestExplanationOfGap(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := explainRecord(&requestlog.Record{Decision: requestlog.DecisionGap, Lost: 7, LostFrom: at, LostTo: at.Add(time.Minute)})
	if want := "This stands for 7 records between 2026-03-01T12:00:00Z and 2026-03-01T12:01:00Z that are missing: the request log had no room for them."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Some spreadsheets take full-width signs for those of a formula.
func TestPlainCell(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"": "", "GET": "GET", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\tx": "'\tx", "＝1＋1": "'＝1＋1", "－1": "'－1", "＠a": "'＠a", "é=": "é=",
	} {
		if got := plainCell(cell); got != want {
			t.Errorf("plainCell(%q): got %q, want %q", cell, got, want)
		}
	}
}
