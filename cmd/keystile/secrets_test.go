package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/pquerna/otp/totp"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestSecretsAreNowhere makes every kind of secret and uses each in right and wrong ways, with everything on that Caddy and
// Keystile can write down, and then looks for all of them in all that the process gives out, in clear or in any spelling of
// gatetest's. The harness goes on with the output, every file of the home and the lists of the API when the gateway stops.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	s, site, provider := newSecretSite(t, false)
	owner := s.firstOwner(t)
	tokens := makeSecrets(t, s, owner)
	signInByProvider(t, s, owner, provider)
	presentSecrets(t, s, site, tokens)
	s.rotateAndBackUp(t)
	everywhere(t, s.Gateway)
	if records := s.Admin.Records(t, nil); len(records) < 20 {
		t.Errorf("%d records were looked at, want those of all requests", len(records))
	}
}

// TestDebugLogOfEveryFlow is the same with all of Caddy's log at DEBUG, its proxy and access logs included, which show where a
// client puts a key that nobody reads (see SECURITY.md). So keys are presented where they belong, and in all wrong forms there.
func TestDebugLogOfEveryFlow(t *testing.T) {
	t.Parallel()
	s, site, provider := newSecretSite(t, true)
	owner := s.firstOwner(t)
	tokens := makeSecrets(t, s, owner)
	signInByProvider(t, s, owner, provider)
	for _, token := range tokens {
		for _, line := range []string{
			gatetest.Bearer(token), "Authorization: Basic " + b64(token+":"), "Authorization: Basic " + b64(token+":"+token), "Authorization: " + token,
		} {
			for _, target := range []string{"/v1/customers", "/public/x", "/v1/../x"} {
				if _, err := gatetest.Send(site, "", gatetest.Request("POST", target, `{"text":"`+token+`"}`, line, "Content-Type: application/json", "User-Agent: "+canary)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	s.rotateAndBackUp(t)
	everywhere(t, s.Gateway)
	_, stderr := s.Output()
	if err := s.FindTokens("the log", []byte(stderr)); err != nil {
		t.Error(err)
	}
	// What is searched is what was to be searched: the proxy's log of what it sent, the access log, and the provider's failures.
	for _, shown := range []string{`"level":"debug"`, "upstream roundtrip", `"User-Agent":["` + canary + `"]`, "handled request", "asking the identity provider"} {
		if !strings.Contains(stderr, shown) {
			t.Errorf("the log has no %s", shown)
		}
	}
	if !s.Holds(canary) {
		t.Error("the search of the output and the files does not find what stands there")
	}
}

// canary is no secret: where it is not found, a secret would not be either.
const canary = "a-canary-that-is-no-secret"

func (s *memberSite) rotateAndBackUp(t *testing.T) {
	t.Helper()
	wants(t, s.Run(t, "master-key", "rotate"), 0, "sealed anew")
	wants(t, s.Run(t, "backup", filepath.Join(s.Dir, "keys.tar")), 0, "wrote") // in the home, where the harness looks
}

// everywhere searches all that the process gives out for the secrets that the gateway's admin client remembers. Of each place it
// is known what stands there, to be found by the same search.
func everywhere(t *testing.T, g *gatetest.Gateway) {
	t.Helper()
	base := "http://" + g.AdminAddr
	for path, shown := range map[string]string{
		"/metrics": "caddy_keystile_", "/config/": `"handler":"keystile"`, "/debug/vars": "memstats", "/debug/pprof/cmdline": g.ConfigPath(),
		"/debug/pprof/goroutine?debug=2": "caddyhttp.(*App).Start", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/allocs?debug=1": "heap profile",
		"/debug/pprof/block?debug=1": "cycles/second", "/debug/pprof/mutex?debug=1": "cycles/second", "/keystile/v1/events?limit=100": "key.created",
		"/keystile/v1/events/export": "key.created", "/keystile/v1/keys/export?format=jsonl": "publishable", "/keystile/v1/members?limit=100": "has_more",
		"/keystile/v1/master_key": "the master key file", "/keystile/v1/admin_tokens?limit=100": "has_more", "/keystile/v1/webhook_endpoints?limit=100": "has_more",
		"/keystile/v1/nodes": "has_more", "/keystile/v1/request_logs/export?format=jsonl": "/v1/customers",
		"/keystile/v1/request_logs/export?format=csv": "/v1/customers", "/keystile/v1/openapi.json": "request_logs",
	} {
		data := fetch(t, base+path)
		if err := g.FindTokens(path, data); err != nil {
			t.Error(err)
		}
		if !gatetest.Shows(data, shown) {
			t.Errorf("%s has no %q, so that a secret in it would not be found either: %.300s", path, shown, data)
		}
	}
	var list struct{ Data []struct{ ID string } }
	g.Admin.Do(t, "GET", "/v1/request_logs?limit=100", nil, &list)
	for _, r := range list.Data { // with what was captured of it
		if err := g.FindTokens("a record", fetch(t, base+"/keystile/v1/request_logs/"+r.ID)); err != nil {
			t.Error(err)
		}
	}
	searchParquet(t, g, fetch(t, base+"/keystile/v1/request_logs/export?format=parquet"))
}

// newSecretSite is a gateway with two sites, one that captures and one with the dashboard, on which everything is written
// down that can be. Unless all is, Caddy's proxy and access log are left out: they show where a client puts a key that nobody reads.
func newSecretSite(t *testing.T, all bool) (s *memberSite, site string, provider *identityProvider) {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"got":%q,"agent":%q}`, body, r.UserAgent())
	}))
	t.Cleanup(backend.Close)
	dashboard := gatetest.FreeAddr(t)
	site = gatetest.FreeAddr(t)
	_, port, _ := strings.Cut(site, ":") // without a host: the requests name another
	s = &memberSite{Gateway: gatetest.New(t), url: "http://" + dashboard, mail: newMailServer(t)}
	s.Setenv("CADDY_ADMIN=" + s.AdminAddr)
	s.Setenv("SMTP_PASSWORD=" + mailPassword)
	s.Admin.Remember(mailPassword)
	provider = newIdentityProvider(t)
	secretFile := filepath.Join(t.TempDir(), "client-secret") // beside the home, which is searched
	if err := os.WriteFile(secretFile, []byte(providerSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	exclude, access := "\texclude http.handlers.reverse_proxy\n", ""
	if all {
		exclude, access = "", "\tlog\n"
	}
	s.WriteConfig(t, gatetest.Config{
		Global: "log {\n\tlevel DEBUG\n" + exclude + "}\nmetrics\n",
		Keystile: gatetest.Catalog + fmt.Sprintf(`
			webhooks {
				allow_private on
			}
			verification smtp
			smtp {
				host 127.0.0.1
				port %d
				from keys@example.com
				username keys
				password env SMTP_PASSWORD
				tls off
			}
			oidc {
				issuer %s
				client_id keystile
				client_secret file %s
			}`, s.mail.addr.Port, provider.URL, secretFile),
		Sites: "http://" + dashboard + " {\n\tbind 127.0.0.1\n\tlog\n\tkeystile_admin\n}\n" +
			"http://:" + port + " {\n\tbind 127.0.0.1\n" + access + "\tkeystile {\n\tmode any\n\topen /public/*\n\tsign on\n\tcapture {\n\trequest_headers\n\tresponse_headers\n" +
			"\trequest_body 8KiB\n\tresponse_body 8KiB\n\t}\n\t}\n\treverse_proxy " + strings.TrimPrefix(backend.URL, "http://") + "\n}\n",
	}.Text(s.Gateway))
	s.Start(t)
	return s, site, provider
}

// makeSecrets makes one of everything and more, and answers the tokens that are presented as keys.
func makeSecrets(t *testing.T, s *memberSite, owner *browser) []string {
	t.Helper()
	var tokens []string
	made := func(k gatetest.Key) gatetest.Key {
		s.Admin.Remember(k.Token)
		tokens = append(tokens, k.Token)
		return k
	}
	org := s.Admin.CreateOrganization(t, "Org")
	account := s.Admin.CreateAccount(t, "Shop", org).ID
	for _, mode := range []string{"live", "sandbox"} {
		made(s.Admin.DefaultKey(t, account, "secret", mode)) // revealed
		made(s.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": mode, "account": account, "name": "s"}))
		made(s.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": mode, "account": account, "name": "r", "permissions": gatetest.Fields{"customers": "read"}}))
		made(s.Admin.CreateKey(t, gatetest.Fields{"kind": "organization", "mode": mode, "organization": org, "name": "o"}))
	}
	rotated := made(s.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "rotated"}))
	var next gatetest.Key
	s.Admin.Do(t, "POST", "/v1/keys/"+rotated.ID+"/rotate", gatetest.Fields{"expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &next)
	made(next)
	s.Admin.Do(t, "POST", "/v1/keys/"+next.ID+"/rotate", gatetest.Fields{}, &next)
	made(next)
	s.Admin.Do(t, "POST", "/v1/keys/"+made(s.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "live", "account": account, "name": "twice"})).ID+"/duplicate",
		gatetest.Fields{}, &next)
	made(next)
	s.Admin.DeleteKey(t, made(s.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "deleted"})).ID)
	imported := "an-imported-key-of-another-system"
	s.Admin.Import(t, gatetest.Fields{"token": imported, "kind": "secret", "mode": "live", "account": account, "name": "imported"})
	s.Admin.Remember(imported)
	tokens = append(tokens, imported, inventToken("sk_live_", "Never"))

	var admin struct{ Token string }
	s.Admin.Do(t, "POST", "/v1/admin_tokens", gatetest.Fields{"name": "ci", "role": "administrator"}, &admin)
	s.Admin.Remember(admin.Token)
	var hook struct{ ID, Secret string }
	s.Admin.Do(t, "POST", "/v1/webhook_endpoints", gatetest.Fields{"url": "http://" + gatetest.FreeAddr(t) + "/", "events": []string{"*"}}, &hook)
	s.Admin.Remember(hook.Secret)
	s.Admin.Do(t, "POST", "/v1/webhook_endpoints/"+hook.ID+"/rotate_secret", gatetest.Fields{}, &hook)
	s.Admin.Remember(hook.Secret)

	// A member who comes by e-mail, with an app and its codes, and all the wrong ways to sign in.
	body := map[string]any{"kind": "secret", "mode": "live", "account": account}
	var key struct{ Token string }
	owner.ok("POST", "/v1/keys", body, &key, owner.code("create_key", body)...)
	s.Admin.Remember(key.Token)
	owner.ok("POST", "/v1/members", map[string]any{"email": "sam@example.com", "grants": []any{map[string]any{"role": "viewer", "account": account}}}, nil)
	link := ownerLink.FindStringSubmatch(s.mail.last(t, "sam@example.com"))
	if link == nil {
		t.Fatal("the mail has no link")
	}
	const password, wrong = "the password that sam chose", "the password that sam mistyped"
	for _, secret := range []string{link[1], password, wrong} {
		s.Admin.Remember(secret)
	}
	sam := &browser{t: t, site: s}
	sam.ok("POST", "/v1/invitations/accept", map[string]any{"invitation": link[1], "name": "Sam", "password": password}, nil)
	var app struct{ Secret string }
	sam.ok("POST", "/v1/session/totp", map[string]any{"current_password": password}, &app)
	s.Admin.Remember(app.Secret)
	code, err := totp.GenerateCode(app.Secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var recovery struct{ Codes []string }
	sam.ok("POST", "/v1/session/totp/confirm", map[string]any{"code": code}, &recovery)
	for _, text := range recovery.Codes {
		s.Admin.Remember(text)
	}
	again := &browser{t: t, site: s}
	again.call("POST", "/v1/session", map[string]any{"email": "sam@example.com", "password": wrong})
	again.call("POST", "/v1/session", map[string]any{"email": wrong, "password": password})
	again.ok("POST", "/v1/session", map[string]any{"email": "sam@example.com", "password": password, "recovery_code": recovery.Codes[0]}, nil)

	// The admin API, asked by its token in right and wrong places.
	for _, header := range []string{"Bearer " + admin.Token, "Basic " + b64(admin.Token+":"), admin.Token} {
		again.call("GET", "/v1/keys", nil, "Authorization", header)
	}
	again.call("POST", "/v1/keys", map[string]any{"kind": admin.Token, "name": tokens[0]}, "Authorization", "Bearer "+admin.Token)
	return tokens
}

// presentSecrets presents each key where it belongs and where it does not. What Caddy itself logs of a URL or of a header that
// nobody reads is documented, and left out: these sites have no access log.
func presentSecrets(t *testing.T, s *memberSite, site string, tokens []string) {
	t.Helper()
	for _, token := range tokens {
		for _, request := range []string{
			gatetest.Request("GET", "/v1/customers", "", gatetest.Bearer(token)),
			gatetest.Request("GET", "/v1/customers", "", "Authorization: Basic "+b64(token+":")),
			gatetest.Request("GET", "/v1/customers", "", "Authorization: Basic "+b64(token+":"+token)),
			gatetest.Request("GET", "/v1/../x", "", gatetest.Bearer(token)),
			gatetest.Request("TRACE", "/v1/customers", "", gatetest.Bearer(token)),
			gatetest.Request("POST", "/v1/customers", "name="+token, gatetest.Bearer(token), "Content-Type: application/x-www-form-urlencoded", "Idempotency-Key: "+token),
			gatetest.Request("POST", "/v1/charges", `{"text":"`+token+`"}`, gatetest.Bearer(token), "Content-Type: application/json", "User-Agent: "+token),
			gatetest.Request("GET", "/v1/customers", "", gatetest.Bearer(token), "Stripe-Context: "+token, "Stripe-Version: "+token),
			gatetest.Request("GET", "/v1/customers", "", gatetest.Bearer(token), "Cookie: session="+token),
		} {
			answer, err := gatetest.Send(site, "", request)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Status != http.StatusOK { // the backend says back what it got
				if err := s.FindTokens("the answer", answer.Body); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// searchParquet searches every value of a Parquet file: its columns are compressed.
func searchParquet(t *testing.T, g *gatetest.Gateway, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.parquet")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	open, err := parquet.OpenFile(file, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	values, shown := 0, false
	for _, group := range open.RowGroups() {
		rows := group.Rows()
		for buf := make([]parquet.Row, 64); ; {
			n, err := rows.ReadRows(buf)
			for _, row := range buf[:n] {
				for _, value := range row {
					values++
					shown = shown || gatetest.Shows([]byte(value.String()), "/v1/customers")
					if err := g.FindTokens("a Parquet column", []byte(value.String())); err != nil {
						t.Error(err)
					}
				}
			}
			if err != nil {
				break
			}
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
	if values < 40 || !shown {
		t.Errorf("the Parquet file has %d values, and what stands in it is found: %v", values, shown)
	}
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || len(data) == 0 {
		t.Fatalf("GET %s: %d, %d bytes, %v", url, resp.StatusCode, len(data), err)
	}
	return data
}
