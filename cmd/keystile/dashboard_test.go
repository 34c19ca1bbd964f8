package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// dashboardBed is a gateway with a backend and a dashboard, and its first owner's way in.
type dashboardBed struct {
	*gatetest.Gateway
	url     string // of the dashboard
	gate    string // of the gateway
	backend *gatetest.Backend
}

func newDashboardBed(t *testing.T) *dashboardBed {
	t.Helper()
	port, gate := gatetest.FreePort(t), gatetest.FreePort(t)
	b := &dashboardBed{url: fmt.Sprintf("http://localhost:%d", port), gate: fmt.Sprintf("http://localhost:%d", gate), backend: gatetest.NewBackend(t, "shop")}
	b.Gateway = gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog + "verification log\n",
		Sites: fmt.Sprintf("http://localhost:%d {\n\tbind 127.0.0.1\n\tkeystile_admin\n}\nhttp://localhost:%d {\n\tbind 127.0.0.1\n\tkeystile\n\treverse_proxy %s\n}\n",
			port, gate, b.backend.Addr),
	})
	return b
}

// invite invites an owner of the installation from the machine, and returns the link's token.
func (b *dashboardBed) invite(t *testing.T, grants ...any) string {
	t.Helper()
	var member struct {
		Invitation struct{ Link, Token string }
	}
	body := map[string]any{"grants": []any{map[string]any{"role": "owner"}}}
	if len(grants) > 0 {
		body = map[string]any{"grants": grants, "email": "someone@example.com"}
	}
	b.Admin.Do(t, "POST", "/v1/members", body, &member)
	token := member.Invitation.Token
	if _, behind, ok := strings.Cut(member.Invitation.Link, "#"); ok {
		token = behind
	}
	if token == "" {
		t.Fatal("the invitation has no token")
	}
	return token
}

const memberPassword = "correct horse battery staple"

// signUp accepts an invitation in the browser.
func (b *dashboardBed) signUp(t *testing.T, tab *tab, token, name, email string) {
	t.Helper()
	tab.open("/invitation#" + token)
	tab.fill("#name", name)
	if email != "" {
		tab.fill("#email", email)
	}
	tab.fill("#password", memberPassword)
	tab.fill("#again", memberPassword)
	tab.press("Set password and sign in")
	tab.sees("Welcome")
	if at := tab.eval("location.href"); strings.Contains(at, token) {
		t.Errorf("the invitation's token is in the address: %s", at)
	}
}

// codeLine is how the development verifier writes a code to the log.
var codeLine = regexp.MustCompile(`verification code, for development only: (\d{6})"`)

// code waits for the verification code that was written to the process's log, the n-th.
func (b *dashboardBed) code(t *testing.T, n int) string {
	t.Helper()
	for end := time.Now().Add(browserLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, stderr := b.Output()
		if found := codeLine.FindAllStringSubmatch(stderr, -1); len(found) >= n {
			return found[n-1][1]
		}
	}
	t.Fatalf("no verification code %d was written", n)
	return ""
}

// call makes a request at the gateway with a token.
func (b *dashboardBed) call(t *testing.T, method, path, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.gate+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// TestDashboardInBrowser is a member's way through all of it, in a real browser: from the first link to an accepted request,
// and through the whole life of a key.
func TestDashboardInBrowser(t *testing.T) {
	t.Parallel()
	b := newDashboardBed(t)
	organization := b.Admin.CreateOrganization(t, "Acme")
	account := b.Admin.CreateAccount(t, "Shop", organization)
	platform := b.Admin.CreateAccount(t, "Second", organization)
	tab := newTab(t, b.url)
	in := func(mode, page string) string { return "/" + account.ID + "/" + mode + "/" + page }
	codes := 0
	// verify types the verification code that the page asks for.
	verify := func() {
		t.Helper()
		tab.sees("Verification code")
		codes++
		tab.fill("#code", b.code(t, codes))
		tab.press("Continue")
	}
	secret := func() string {
		t.Helper()
		token := tab.eval(`document.getElementById("secret").value`)
		b.Admin.Remember(token)
		return token
	}

	// A guest sees examples with a key of nobody, and is asked to sign in.
	tab.open("/")
	tab.sees("opens nothing")
	tab.gallery("home-guest")
	tab.open(in("live", "keys"))
	tab.sees("Sign in")
	tab.gallery("sign-in")

	// The first owner comes by the link and has a password and a request in a minute.
	tab.open("/invitation#" + b.invite(t))
	tab.gallery("invitation")
	b.signUp(t, tab, b.invite(t), "Kate", "kate@example.com")
	tab.sees("Make your first request")
	example := tab.eval(`document.querySelector("details.langs code").textContent`)
	token := regexp.MustCompile(`sk_test_\w+`).FindString(example)
	b.Admin.Remember(token)
	if status := b.call(t, "GET", "/v1/customers", token); status != 200 {
		t.Errorf("the key of the example: %d", status)
	}
	tab.gallery("home")

	// Keys: the lists, in both modes.
	tab.open(in("sandbox", "keys"))
	tab.press("Reveal test key")
	tab.sees("Hide test key")
	tab.gallery("keys-sandbox")
	tab.press("Hide test key")
	tab.lacks(token)
	tab.open(in("live", "keys"))
	tab.gallery("keys-live")

	// The default live key is revealed once, with a code.
	tab.press("Reveal live key")
	tab.gallery("key-reveal")
	tab.press("Reveal live key")
	tab.sees("Verification code")
	tab.gallery("code")
	tab.fill("#code", "000000")
	tab.press("Continue")
	tab.sees("The code is wrong")
	codes++
	tab.fill("#code", b.code(t, codes))
	tab.press("Continue")
	live := secret()
	if status := b.call(t, "POST", "/v1/charges", live); status != 200 {
		t.Errorf("the live key: %d", status)
	}
	tab.gallery("secret")
	tab.fill("#note", "vault: shop/live")
	tab.press("Done")
	tab.sees("vault: shop/live")
	tab.lacks(live)

	// A restricted key: filter, groups, summary; then the key, once.
	tab.open(in("live", "keys/new?kind=restricted"))
	tab.fill("#name", "billing")
	tab.choose(`input[name="p.charges"][value=write]`, "write")
	tab.sees("Read and write charges")
	tab.touch(`button[name=set][value="c:read:"]`)
	tab.sees("on connected accounts")
	tab.fill("#filter", "cust")
	tab.gallery("key-new-restricted")
	tab.press("Create key")
	verify()
	restricted := secret()
	if got := [3]int{b.call(t, "POST", "/v1/charges", restricted), b.call(t, "POST", "/v1/customers", restricted), b.call(t, "GET", "/v1/charges", restricted)}; got != [3]int{200, 403, 200} {
		t.Errorf("the restricted key: %v", got)
	}
	tab.press("Done")
	tab.open(in("live", "keys/new"))
	tab.gallery("key-new-secret")

	// From the menu: edit, restrict to addresses, duplicate, rotate, logs, delete.
	id := b.keyNamed(t, account.ID, "billing")
	tab.open(in("live", "keys"))
	tab.touch("details.more summary")
	tab.gallery("keys-menu")
	tab.open(in("live", "keys/"+id))
	tab.gallery("key")
	tab.press("Edit key")
	tab.gallery("key-edit")
	tab.fill("#note", "in the vault")
	tab.press("Save")
	tab.sees("in the vault")
	tab.press("Manage IP restrictions")
	tab.choose(`input[name=limited][value=yes]`, "yes")
	tab.fill(`input[name=address]`, "203.0.113.0")
	tab.fill(`input[name=prefix]`, "24")
	tab.gallery("key-ip")
	tab.press("Bulk manage")
	if text := tab.eval(`document.getElementById("ranges").value`); text != "203.0.113.0/24" {
		t.Errorf("the other tab has %q", text)
	}
	tab.gallery("key-ip-bulk")
	tab.press("Save")
	verify()
	tab.sees("IP restrictions are saved")
	if status := b.call(t, "GET", "/v1/charges", restricted); status != 403 {
		t.Errorf("from another address: %d", status)
	}
	tab.open(in("live", "keys/"+id+"/ip"))
	tab.choose(`input[name=limited][value=no]`, "no")
	tab.press("Save")
	verify()
	tab.open(in("live", "keys/"+id+"/duplicate"))
	tab.gallery("key-duplicate")
	tab.fill("#name", "billing 2")
	tab.press("Create duplicate")
	verify()
	secret()
	tab.press("Done")
	tab.open(in("live", "keys/"+id+"/rotate"))
	tab.gallery("key-rotate")
	tab.choose("#expires", "24h")
	tab.press("Rotate API key")
	verify()
	rotated := secret()
	tab.press("Done")
	tab.sees("Expires in")
	if got := [2]int{b.call(t, "GET", "/v1/charges", restricted), b.call(t, "GET", "/v1/charges", rotated)}; got != [2]int{200, 200} {
		t.Errorf("after the rotation: %v", got)
	}
	tab.open(in("live", "keys/"+id))
	tab.press("End it now")
	tab.sees("used within the last hour")
	tab.gallery("key-in-use")
	tab.press("End it all the same")
	tab.sees("The old key has ended")
	if status := b.call(t, "GET", "/v1/charges", restricted); status != 401 {
		t.Errorf("the ended key: %d", status)
	}

	// Another owner goes on: a member is sent six codes in ten minutes.
	tab = newTab(t, b.url)
	b.signUp(t, tab, b.invite(t), "Ada Lovelace", "ada@example.com")
	next := b.keyNamed(t, account.ID, "billing")
	tab.open(in("live", "keys/"+next+"/rotate"))
	tab.fill("#days", "30")
	tab.press("Save schedule")
	verify()
	tab.sees("Every 30 days")

	// Request logs: from the key, to a refused request, to what would allow it.
	b.call(t, "POST", "/v1/customers", rotated)
	tab.open(in("live", "keys/"+next))
	tab.press("View request logs")
	tab.sees("Permission denied")
	tab.gallery("logs")
	tab.press("POST /v1/customers")
	tab.sees("What would allow this?")
	tab.gallery("log-record")
	tab.press("What would allow this?")
	tab.sees("customers_write")
	tab.gallery("explain")
	tab.press("Change the key so that it may")
	tab.sees("Edit key")
	tab.open(in("live", "logs?status=4xx"))
	tab.sees("403")
	tab.open(in("live", "logs"))
	tab.touch("#tail")
	tab.sees("Live: waiting")
	b.call(t, "GET", "/v1/charges/ch_tail", rotated)
	tab.sees("/v1/charges/ch_tail")
	tab.gallery("logs-tail")

	tab.open(in("live", "keys/"+next+"/delete"))
	tab.gallery("key-delete")
	tab.press("Delete key")
	tab.sees("The key is deleted")
	if status := b.call(t, "GET", "/v1/charges", rotated); status != 401 {
		t.Errorf("the deleted key: %d", status)
	}
	tab.open(in("live", "keys?ended=yes"))
	tab.gallery("keys-ended")

	// The organization, its key, connected accounts, sandboxes.
	tab.open("/" + organization + "/live/organization")
	tab.gallery("organization")
	tab.press("Create organization key")
	tab.choose(`input[name=unrestricted][value=no]`, "no")
	tab.gallery("key-new-organization")
	tab.choose(`input[name=unrestricted][value=yes]`, "yes")
	tab.press("Create key")
	verify()
	if token := secret(); !strings.HasPrefix(token, "sk_org_live_") {
		t.Error("the organization's key has another prefix")
	}
	tab.press("Done")
	tab.gallery("organization-keys")
	tab.open(in("sandbox", "account"))
	tab.fill("#connected", platform.ID)
	tab.press("Connect account")
	tab.sees("The account is connected")
	tab.gallery("account")
	tab.open(in("sandbox", "sandboxes"))
	tab.fill("#name", "staging")
	tab.press("Create sandbox")
	tab.sees("The sandbox is made")
	tab.open(in("sandbox", "sandboxes"))
	tab.gallery("sandboxes")
	tab.open("/accounts")
	tab.gallery("accounts")

	// What an owner sees beside keys.
	tab.open("/events")
	tab.sees("key.deleted")
	tab.gallery("events")
	tab.press("Verify the chain")
	tab.sees("is intact")
	tab.open("/tokens")
	tab.gallery("tokens")
	tab.fill("#name", "deploy")
	tab.choose("#role", "viewer")
	tab.press("Create admin token")
	if token := secret(); !strings.HasPrefix(token, "adm_") {
		t.Error("the admin token has another prefix")
	}
	tab.press("Done")
	tab.open("/webhooks")
	tab.gallery("webhooks")
	tab.open("/members")
	tab.fill("#email", "grace@example.com")
	tab.fill("#limit", account.ID)
	tab.choose("#role", "viewer")
	tab.press("Invite member")
	if tab.has("Verification code") {
		verify()
	}
	link := secret()
	_, invitation, _ := strings.Cut(link, "#")
	tab.press("Done")
	tab.sees("grace@example.com")
	tab.gallery("members")
	tab.press("grace@example.com")
	tab.gallery("member")

	// The profile: an authenticator app with its recovery codes.
	tab.open("/profile")
	tab.gallery("profile")
	tab.fill("#app-password", memberPassword)
	tab.press("Set up an app")
	tab.gallery("profile-app")
	app := strings.TrimSpace(tab.eval(`document.querySelector("ol code").textContent`))
	tab.fill("#code", appCode(t, app))
	tab.press("Confirm")
	tab.sees("Recovery codes")
	tab.gallery("profile-codes")
	recovery := strings.Fields(tab.eval(`document.getElementById("codes").textContent`))
	if len(recovery) != 10 {
		t.Fatalf("%d recovery codes", len(recovery))
	}
	tab.press("Done")

	// Out, and in again in two steps.
	tab.click(`form[action$="/sign_out"] button`)
	tab.sees("You are signed out")
	tab.fill("#email", "ada@example.com")
	tab.fill("#password", "wrong")
	tab.press("Sign in")
	tab.sees("password is wrong")
	tab.fill("#password", memberPassword)
	tab.press("Sign in")
	tab.sees("authenticator app")
	tab.lacks(memberPassword)
	tab.gallery("sign-in-code")
	tab.press("Use a recovery code")
	tab.fill("#code", recovery[0])
	tab.press("Continue")
	tab.sees("Make your first request")

	// Somebody with less: what they may not is not there, and who to ask is named.
	other := newTab(t, b.url)
	b.signUp(t, other, invitation, "Grace Hopper", "")
	other.open(in("live", "keys"))
	other.sees("API keys")
	other.lacks("Create secret key")
	other.lacks("Reveal live key")
	other.open(in("live", "keys/new"))
	other.sees("Ask the owner")
	other.sees("Ada Lovelace")
	other.gallery("ask-the-owner")
	other.open("/" + platform.ID + "/live/keys")
	other.sees("Ask the owner")
	other.open("/nowhere")
	other.gallery("not-found")
}

// keyNamed is the id of the account's newest live key with a name that is in use.
func (b *dashboardBed) keyNamed(t *testing.T, account, name string) string {
	t.Helper()
	return b.keyIn(t, account, "live", name)
}

// sandboxKey is keyNamed for sandbox mode.
func (b *dashboardBed) sandboxKey(t *testing.T, account, name string) string {
	t.Helper()
	return b.keyIn(t, account, "sandbox", name)
}

func (b *dashboardBed) keyIn(t *testing.T, account, mode, name string) string {
	t.Helper()
	for _, k := range b.Admin.Keys(t, url.Values{"account": {account}, "mode": {mode}, "status": {"active"}}) {
		if k.Name == name {
			return k.ID
		}
	}
	t.Fatalf("no key %q", name)
	return ""
}

// TestDashboardFirstRun: the example as it stands, for somebody who has never seen it: from the link that the first start
// prints to the first accepted request, by what the pages say and nothing else.
func TestDashboardFirstRun(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	text, _ := exampleOnFreePorts(t, g)
	g.WriteConfig(t, text)
	g.Start(t)
	var link []string
	for end := time.Now().Add(browserLimit); len(link) == 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		stdout, _ := g.Output()
		link = regexp.MustCompile(`(http://localhost:\d+)/invitation#(\S+)`).FindStringSubmatch(stdout)
	}
	if link == nil {
		t.Fatal("the first start printed no link")
	}
	began := time.Now()
	b := &dashboardBed{Gateway: g, url: link[1]}
	tab := newTab(t, b.url)
	b.signUp(t, tab, link[2], "Ada Lovelace", "ada@example.com")
	tab.sees("Make your first request")
	curl := strings.Fields(tab.eval(`document.querySelector("details.langs code").textContent`))
	if len(curl) != 4 || curl[0] != "curl" {
		t.Fatalf("the example is %q", curl)
	}
	token := strings.TrimSuffix(curl[3], ":")
	g.Admin.Remember(token)
	r, err := http.NewRequestWithContext(t.Context(), "GET", curl[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(token, "")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Errorf("the example answers %d", answer.StatusCode)
	}
	t.Logf("from the link to an accepted request: %v", time.Since(began).Round(time.Millisecond))
	tab.press("Request logs")
	logs := strings.TrimPrefix(tab.eval("location.href"), b.url)
	for end := time.Now().Add(browserLimit); tab.eval(`document.querySelectorAll("#logs tbody tr").length`) != "1"; tab.open(logs) {
		if time.Now().After(end) {
			t.Fatal("the request is not in the log")
		}
	}
	tab.gallery("first-request")
}
