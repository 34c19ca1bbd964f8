package main_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestDashboardMounted: a dashboard below a path of a site that serves something else, too. Every link, form, file and redirect
// stays below that path, and so do the links that are printed and handed over.
func TestDashboardMounted(t *testing.T) {
	t.Parallel()
	site := fmt.Sprintf("http://localhost:%d", gatetest.FreePort(t))
	g := gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog + "verification log\n",
		Sites:    site + " {\n\tbind 127.0.0.1\n\thandle_path /keys/* {\n\t\tkeystile_admin\n\t}\n\thandle {\n\t\trespond \"the shop itself\" 404\n\t}\n}\n",
	})
	const mount = "/keys"
	b := &dashboardBed{Gateway: g, url: site + mount}

	// With one slash too many it is still the same place, and no link is to a host of that name.
	answer, err := http.Get(site + "/" + mount + "/sign_in")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != 200 || !strings.Contains(string(page), `action="/keys/sign_in"`) || strings.Contains(string(page), `"//`) {
		t.Errorf("with two slashes: %d, %v: %s", answer.StatusCode, err, page)
	}

	var printed []string
	for end := time.Now().Add(browserLimit); printed == nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		stdout, _ := b.Output()
		printed = regexp.MustCompile(`(http://\S+)/invitation#(\S+)`).FindStringSubmatch(stdout)
	}
	if printed == nil || printed[1] != b.url {
		t.Fatalf("the first start printed %v, want a link below %s", printed, b.url)
	}
	tab := newTab(t, b.url)
	b.signUp(t, tab, printed[2], "Ada Lovelace", "ada@example.com")
	account := b.Admin.CreateAccount(t, "Shop", "")
	in := func(mode, page string) string { return "/" + account.ID + "/" + mode + "/" + page }
	below := func() {
		t.Helper()
		if path := tab.eval("location.pathname"); !strings.HasPrefix(path, mount+"/") {
			t.Fatalf("the browser is at %s", path)
		}
		if out := tab.eval(`[...document.querySelectorAll("a[href], form[action], link[href], script[src]")].map(e => new URL(e.href || e.action || e.src)).filter(u => u.origin !== location.origin || !u.pathname.startsWith("/keys/")).join(" ")`); out != "" {
			t.Errorf("%s leads out of it: %s", tab.eval("location.pathname"), out)
		}
		if tab.eval(`getComputedStyle(document.querySelector(".skip")).position`) != "absolute" {
			t.Error("the style sheet is not there")
		}
	}
	below()

	// A form with a redirect, a form with a code, the way to the other mode, and the log's own pages.
	tab.press("Go to the API keys")
	below()
	tab.open(in("live", "keys/new?kind=restricted"))
	tab.fill("#name", "billing")
	tab.press("Create key")
	below()
	tab.fill("#code", b.code(t, 1))
	tab.press("Continue")
	below()
	b.Admin.Remember(tab.eval(`document.getElementById("secret").value`))
	tab.fill("#note", "vault")
	tab.press("Done")
	tab.sees("vault")
	tab.click(`.modes a:not([aria-current])`)
	tab.sees("For testing")
	below()
	for _, page := range []string{in("live", "logs"), in("live", "explain"), "/accounts", "/members", "/webhooks", "/events", "/nodes", "/profile", "/nowhere"} {
		tab.open(page)
		below()
	}
	tab.open(in("live", "logs"))
	tab.touch("#tail")
	tab.sees("Live: waiting")
	tab.open("/v1/docs")
	tab.sees("List webhook endpoints")

	// A new member's link, and the way from a page to the sign-in and back.
	tab.open("/members")
	tab.fill("#email", "grace@example.com")
	tab.choose("#role", "viewer")
	tab.press("Invite member")
	if tab.has("Verification code") {
		tab.fill("#code", b.code(t, 2))
		tab.press("Continue")
	}
	link := tab.eval(`document.getElementById("secret").value`)
	address, token, _ := strings.Cut(link, "#")
	b.Admin.Remember(token)
	if address != b.url+"/invitation" {
		t.Errorf("the invitation leads to %s", address)
	}
	tab.click(`form[action$="/sign_out"] button`)
	below()
	tab.open(in("live", "logs?status=4xx"))
	tab.fill("#email", "ada@example.com")
	tab.fill("#password", memberPassword)
	tab.press("Sign in")
	if at := strings.TrimPrefix(tab.eval("location.href"), b.url); at != in("live", "logs?status=4xx") {
		t.Errorf("signing in leads to %s", at)
	}
}
