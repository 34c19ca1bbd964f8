package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// crashSite is a gateway around and behind which handlers panic, with all of Caddy's and Keystile's logs on.
func crashSite(t *testing.T, backend http.HandlerFunc) (g *gatetest.Gateway, site, dashboard string) {
	t.Helper()
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	g, site, dashboard = gatetest.NewCrashing(t), gatetest.FreeAddr(t), gatetest.FreeAddr(t)
	_, port, _ := strings.Cut(site, ":") // without a host: the requests name another
	_, dashboardPort, _ := strings.Cut(dashboard, ":")
	g.WriteConfig(t, gatetest.Config{
		Global: "debug\nmetrics\n", Keystile: gatetest.Catalog,
		Sites: "http://:" + port + " {\n\tbind 127.0.0.1\n\tlog\n\troute {\n\t\tcrash outer\n\t\tkeystile {\n\t\t\tmode any\n\t\t\tcapture {\n\t\t\t\trequest_headers\n" +
			"\t\t\t\trequest_body 8KiB\n\t\t\t}\n\t\t}\n\t\tcrash inner\n\t\treverse_proxy " + strings.TrimPrefix(server.URL, "http://") + "\n\t}\n}\n" +
			"http://:" + dashboardPort + " {\n\tbind 127.0.0.1\n\tlog\n\troute {\n\t\tcrash outer\n\t\tkeystile_admin\n\t}\n}\n",
	}.Text(g))
	g.Start(t)
	return g, site, dashboard
}

// TestPanicsHoldNoToken: a handler panics around the gateway, in the middle of its decision, while it answers or reads, and
// behind it, with a token in hand; so it does around the admin API and its sign-in. The crash text in the log holds no token and
// no password, in no spelling, and the next request is served.
func TestPanicsHoldNoToken(t *testing.T) {
	t.Parallel()
	g, site, dashboard := crashSite(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	good := g.Admin.DefaultKey(t, account, "secret", "live")
	deleted := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "deleted"})
	g.Admin.DeleteKey(t, deleted.ID)
	imported := "an-imported-key-that-is-long-enough"
	g.Admin.Import(t, gatetest.Fields{"token": imported, "kind": "secret", "mode": "live", "account": account, "name": "imported"})
	never := inventToken("sk_live_", "Panic")
	g.Admin.Remember(never)
	var admin struct{ Token string }
	g.Admin.Do(t, "POST", "/v1/admin_tokens", gatetest.Fields{"name": "ci", "role": "administrator"}, &admin)
	const password = "a password that somebody typed"
	g.Admin.Remember(password)

	panics := func() int {
		_, stderr := g.Output()
		return strings.Count(stderr, "panic serving") + strings.Count(stderr, "admin API panicked")
	}
	crash := func(addr, how, method, target, body string, lines ...string) {
		t.Helper()
		before := panics()
		// The connection ends without an answer, or, where the admin API has caught it, with one that says nothing.
		if answer, err := gatetest.Send(addr, "", gatetest.Request(method, target, body, append(lines, "X-Crash: "+how)...)); err == nil {
			if err := g.FindTokens("the answer", answer.Body); err != nil {
				t.Error(err)
			}
		}
		for deadline := time.Now().Add(30 * time.Second); panics() == before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s %s with %s: nothing panicked: the test shows nothing", method, target, how)
			}
		}
	}
	for _, token := range []string{good.Token, deleted.Token, imported, never} {
		for _, credential := range []string{gatetest.Bearer(token), "Authorization: Basic " + b64(token+":")} {
			for _, how := range []string{"writer", "url"} {
				crash(site, how, "GET", "/v1/customers", "", credential)
			}
		}
	}
	for _, token := range []string{good.Token, imported} { // those that get further
		crash(site, "body", "POST", "/v1/customers", `{"key":"`+token+`"}`, gatetest.Bearer(token), "Content-Type: application/json")
		crash(site, "handler", "GET", "/v1/customers", "", gatetest.Bearer(token))
	}
	const json, origin = "Content-Type: application/json", "Origin: http://api.example.com"
	crash(dashboard, "reader", "POST", "/v1/keys", `{"kind":"secret","name":"`+never+`"`, gatetest.Bearer(admin.Token), json)
	crash(dashboard, "writer", "GET", "/v1/keys", "", gatetest.Bearer(admin.Token))
	crash(dashboard, "reader", "POST", "/v1/session", `{"email":"ada@example.com","password":"`+password+`"`, json, origin)
	crash(dashboard, "reader", "POST", "/sign_in", "email=ada%40example.com&password="+password, "Content-Type: application/x-www-form-urlencoded",
		origin, "Sec-Fetch-Site: same-origin")

	_, stderr := g.Output()
	for _, shown := range []string{"crashed on purpose: writing status", "crashed on purpose: map[", "nil pointer dereference", "admin API panicked", "caddymodule.(*Handler).ServeHTTP"} {
		if !gatetest.Shows([]byte(stderr), shown) {
			t.Errorf("the log has no %q: a token in its place would not be found either", shown)
		}
	}
	if err := g.FindTokens("the log", []byte(stderr)); err != nil {
		t.Error(err)
	}
	records := g.Admin.Records(t, nil)
	if len(records) < 12 {
		t.Errorf("%d records, want one of each request that a panic ended", len(records))
	}
	if answer, err := gatetest.Send(site, "", get("/v1/customers", good.Token)); err != nil || answer.Status != http.StatusOK {
		t.Errorf("after the panics a request is answered %+v, %v", answer, err)
	}
	g.Admin.DeleteKey(t, good.ID)
	if answer, err := gatetest.Send(site, "", get("/v1/customers", good.Token)); err != nil || answer.Status != http.StatusUnauthorized {
		t.Errorf("after the panics a deleted key is answered %+v, %v", answer, err)
	}
}

// TestCrashHoldsNoToken ends the process by SIGABRT while it has tokens in hand: the stacks of all its goroutines, which the Go
// runtime then prints, hold none, and neither do those that its debug endpoint gave out a moment before.
func TestCrashHoldsNoToken(t *testing.T) {
	t.Parallel()
	const held = 8
	arrived, release := make(chan struct{}, held), make(chan struct{})
	g, site, _ := crashSite(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	key := g.Admin.DefaultKey(t, g.Admin.CreateAccount(t, "Shop", "").ID, "secret", "live")
	for range held {
		go func() {
			// Nobody answers: the process ends first.
			_, _ = gatetest.Send(site, "", gatetest.Request("POST", "/v1/customers", "name="+key.Token, gatetest.Bearer(key.Token)))
		}()
	}
	for range held {
		<-arrived
	}
	const inHand = "caddymodule.(*Handler).ServeHTTP"
	stacks := fetch(t, fmt.Sprintf("http://%s/debug/pprof/goroutine?debug=2", g.AdminAddr))
	if err := g.FindTokens("the goroutines", stacks); err != nil || !gatetest.Shows(stacks, inHand) {
		t.Errorf("%v; or no request is in hand: the test shows nothing", err)
	}
	g.Signal(t, syscall.SIGABRT)
	for deadline := time.Now().Add(60 * time.Second); g.Running(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process survived SIGABRT")
		}
	}
	g.Kill(t) // is gone already
	_, stderr := g.Output()
	_, crash, found := strings.Cut(stderr, "SIGABRT: abort")
	if err := g.FindTokens("the crash", []byte(crash)); err != nil {
		t.Error(err)
	}
	if !found || strings.Count(crash, inHand) < held {
		t.Errorf("the crash shows %d requests in hand, want %d:\n%.2000s", strings.Count(crash, inHand), held, crash)
	}
}
