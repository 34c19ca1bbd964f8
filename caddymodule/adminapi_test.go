package caddymodule

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAdminAPI(t *testing.T) {
	c := newCaddy(t)
	url := "http://" + adminAddress() + "/keystile/v1/accounts"

	// a config without the app
	if err := c.load(adapt(t, "{\n\tadmin "+adminAddress()+"\n\tpersist_config off\n}\n")); err != nil {
		t.Fatal(err)
	}
	status, body := c.get(url)
	if code := adminErrorCode(t, body); status != 404 || code != "not_configured" {
		t.Errorf("without the app: %d %s, want 404 not_configured", status, body)
	}

	c.mustLoad(c.config("", oneResource, "keystile"))
	status, body = c.get(url)
	if status != 200 || !strings.Contains(body, "Demo account") {
		t.Errorf("accounts: %d %s", status, body)
	}
	if status, body = c.get("http://" + adminAddress() + "/keystile/v1/nothing"); status != 404 {
		t.Errorf("an unknown path: %d %s, want 404", status, body)
	}
	// Caddy's own guards stand before ours: a browser's request from another site is refused
	if status, body = c.get(url, "Origin", "https://evil.example", "Sec-Fetch-Mode", "cors"); status != 403 {
		t.Errorf("a foreign origin: %d %s, want 403", status, body)
	}

	// a config with the directive only: the app with its defaults
	if err := c.load(adapt(t, "{\n\tadmin "+adminAddress()+"\n\tpersist_config off\n}\nhttp://"+c.site+" {\n\tkeystile\n}\n")); err != nil {
		t.Fatal(err)
	}
	if status, body = c.get(url); status != 200 {
		t.Errorf("with the directive alone: %d %s", status, body)
	}
}

// TestAdminAPIWhileStarting: the admin endpoint answers before the first config runs.
func TestAdminAPIWhileStarting(t *testing.T) {
	newCaddy(t)
	w := httptest.NewRecorder()
	route := new(adminAPI).Routes()[0]
	if err := route.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/keystile/v1/keys", nil)); err != nil {
		t.Fatal(err)
	}
	if code := adminErrorCode(t, w.Body.String()); w.Code != 503 || code != "gateway_unavailable" {
		t.Errorf("%d %s, want 503 gateway_unavailable", w.Code, w.Body)
	}
	if route.Pattern != "/keystile/" {
		t.Errorf("mounted at %q", route.Pattern)
	}
}

func TestAdminActor(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{"127.0.0.1:4711": "127.0.0.1", "[::1]:4711": "::1", "@": ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		actor, err := adminActor(r)
		if err != nil || actor.Kind != "local" || actor.Name != "admin endpoint" || actor.Address != want {
			t.Errorf("%s: %+v, %v", remote, actor, err)
		}
	}
}

func adminErrorCode(t *testing.T, body string) string {
	t.Helper()
	var answer struct {
		Error struct{ Type, Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Error.Message == "" {
		t.Fatalf("no error in %s: %v", body, err)
	}
	return answer.Error.Code
}
