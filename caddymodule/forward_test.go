package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestUpstreams: by the mode of the key, and nothing reaches the other mode's backend, or the handlers after the
// directive.
func TestUpstreams(t *testing.T) {
	backends := make(map[string]string)
	for _, mode := range []string{"live", "sandbox"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s saw %s %s", mode, r.Header.Get("Keystile-Mode"), r.Header.Get("Authorization"))
		}))
		t.Cleanup(server.Close)
		backends[mode] = server.Listener.Addr().String()
	}
	both := fmt.Sprintf("upstreams {\nlive %s\nsandbox %s {\nheader_up Authorization \"Bearer theirs\"\n}\n}", backends["live"], backends["sandbox"])
	onlyLive := fmt.Sprintf("upstreams {\nlive %s\n}", backends["live"])
	c := newCaddy(t)
	site := func(upstreams string) {
		t.Helper()
		c.mustLoad(c.config("", wireCatalog, "keystile {\nopen /healthz\n"+upstreams+"\n}\nrespond \"after the directive\""))
	}
	site(both)
	_, keys, err := c.gate().store.CreateAccount(context.Background(), testActor, accountNamed("forward"))
	if err != nil {
		t.Fatal(err)
	}
	tokens := revealSecrets(t, c.gate().store, keys)
	for _, test := range []struct{ token, want string }{
		{tokens["live"], "live saw live "}, {tokens["sandbox"], "sandbox saw sandbox Bearer theirs"}, {"", "live saw  "},
	} {
		path, header := "/v1/charges", []string{"Authorization", "Bearer " + test.token}
		if test.token == "" {
			path, header = "/healthz", nil
		}
		if status, body := c.get("http://"+c.site+path, header...); status != 200 || body != test.want {
			t.Errorf("%s: %d %q, want %q", path, status, body, test.want)
		}
	}
	site(onlyLive)
	if status, body := c.get("http://"+c.site+"/v1/charges", "Authorization", "Bearer "+tokens["sandbox"]); status != 403 || !strings.Contains(body, "livemode_mismatch") {
		t.Errorf("a mode without upstream: %d %s", status, body)
	}
	if status, body := c.get("http://"+c.site+"/v1/charges", "Authorization", "Bearer "+tokens["live"]); status != 200 || body != "live saw live " {
		t.Errorf("the mode with an upstream: %d %q", status, body)
	}
}
