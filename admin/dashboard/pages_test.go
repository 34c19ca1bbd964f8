package dashboard_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/dashboard"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// sample fills the store with one of everything, its texts from a function, and returns the addresses of all pages that show
// it. what makes a text from a plain one.
func (f *fixture) sample(what func(string) string) []string {
	f.t.Helper()
	ctx := f.t.Context()
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	k, _ := f.key(func(p *keystore.KeyParams) {
		p.Name, p.Note, p.IPRanges, p.ExpiresAt = what("billing"), what("vault"), []string{"203.0.113.0/24"}, f.clock().Add(50*time.Hour)
		p.Metadata = map[string]string{"team": what("team")}
	})
	scheduled, _ := f.key(func(p *keystore.KeyParams) { p.Name = what("scheduled") })
	_, err := f.store.ScheduleRotation(ctx, by, scheduled.ID, keystore.ScheduleParams{EveryDays: 30, Overlap: time.Hour})
	must(err)
	rotated, _, err := f.store.RotateKey(ctx, by, scheduled.ID, keystore.RotateParams{ExpiresAt: f.clock().Add(time.Hour)})
	must(err)
	org, _, err := f.store.CreateKey(ctx, by, keystore.KeyParams{Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: f.organization, Name: what("central")})
	must(err)
	pk := f.defaultKey(policy.KindPublishable, policy.ModeLive)
	_, err = f.store.UpdateAccount(ctx, by, f.account, keystore.AccountPatch{Name: keystore.To(what("Shop"))})
	must(err)
	_, err = f.store.UpdateOrganization(ctx, by, f.organization, keystore.OrganizationPatch{Name: keystore.To(what("Org"))})
	must(err)
	other, _, err := f.store.CreateAccount(ctx, by, keystore.AccountParams{Name: what("Other")})
	must(err)
	_, err = f.store.Connect(ctx, by, f.account, other.ID)
	must(err)
	sandbox, _, err := f.store.CreateSandbox(ctx, by, f.account, what("staging"))
	must(err)
	_, _, err = f.store.CreateAdminToken(ctx, by, keystore.AdminTokenParams{Name: what("deploy"), Role: keystore.RoleViewer, Account: f.account})
	must(err)
	hook, _, err := f.store.CreateWebhookEndpoint(ctx, by, keystore.WebhookParams{URL: "https://example.com/x", Description: what("hook"), Events: []string{"*"}, Account: f.account})
	must(err)
	invited, _, err := f.store.InviteMember(ctx, by, keystore.MemberParams{Name: what("Grace"), Email: "grace@example.com", Grants: []keystore.Grant{{Role: keystore.RoleViewer, Account: f.account}}}, time.Hour)
	must(err)
	record := f.record(func(r *requestlog.Record) {
		r.Key, r.TokenMasked, r.UserAgent, r.Path, r.Target, r.Query, r.Host = k.ID, k.Mask, what("curl"), "/v1/"+what("charges"), "/v1/"+what("charges"), what("query"), what("host")
		r.Decision, r.Status, r.RequiredPermission, r.ErrorMessage, r.APIVersion, r.IdempotencyKey = "permission_denied", 403, "charges_write", what("message"), what("2026"), what("key")
	})
	used := f.record(func(r *requestlog.Record) { r.Key, r.UserAgent = k.ID, what("agent"); r.Time = f.clock() })
	in := func(page string) string { return f.in("live", page) }
	key := func(page string) string { return in("keys/" + k.ID + page) }
	return []string{
		"/", "/?account=" + f.account, "/accounts", "/events", "/events?account=" + f.account, "/events?verify=yes", "/events?type=key.*&actor=test", "/tokens", "/tokens?account=" + f.account,
		"/webhooks", "/webhooks/" + hook.ID, "/nodes", "/members", "/members/" + invited.ID, "/members?organization=" + f.organization,
		in("keys"), in("keys?query=b"), in("keys?ended=yes"), f.in("sandbox", "keys"), f.in("sandbox", "keys?sandbox="+sandbox.ID),
		in("keys/new"), in("keys/new?kind=restricted"), key(""), key("?since=1h"), key("/edit"), key("/ip"), key("/ip?tab=bulk"), key("/rotate"), key("/duplicate"), key("/delete"), key("/reveal"),
		in("keys/" + scheduled.ID), in("keys/" + rotated.ID), in("keys/" + rotated.ID + "/rotate"), in("keys/" + pk.ID), in("keys/" + pk.ID + "/edit"), in("account"), f.in("sandbox", "account"), f.in("sandbox", "sandboxes"),
		in("logs"), in("logs?status=4xx&path=/v1"), in("logs?key=" + k.ID), in("logs/" + record), in("logs/" + used + "?status=2xx"), f.in("sandbox", "logs"),
		in("explain"), in("explain?method=POST&path=/v1/charges&key=" + k.ID + "&client_address=203.0.113.9"),
		"/" + f.organization + "/live/keys", "/" + f.organization + "/live/organization", "/" + f.organization + "/live/keys/new", "/" + f.organization + "/live/keys/" + org.ID, "/" + f.organization + "/live/logs",
		"/sign_in?next=%2Faccounts", "/invitation",
	}
}

// TestEveryPage: each page shows with data, is whole HTML with a heading, ids that stand once and labels for its fields, and
// stays within its size. The harness checks the headers and the size.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range f.sample(func(s string) string { return s }) {
		page := f.get(path)
		if path == "/sign_in?next=%2Faccounts" {
			page.goesTo("/accounts")
			continue
		}
		page.ok()
		checkHTML(t, path, page.body)
	}
	f.guest()
	for _, path := range []string{"/", "/sign_in", "/invitation"} {
		checkHTML(t, path, f.get(path).ok().body)
	}
}

// TestEmptyPages: each list says what to do where there is nothing.
func TestEmptyPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, want := range map[string]string{
		f.in("live", "keys"): "None yet", f.in("live", "logs"): "No request in the last 24 hours", f.in("live", "logs?status=500"): "No request fits these filters",
		"/tokens": "None yet", "/webhooks": "None yet", "/members": "Nobody yet", f.in("live", "keys?query=zzz"): "No key fits", f.in("live", "account"): "None. Connect",
		"/events?actor=nobody": "No event fits", "/" + f.organization + "/live/keys": "None yet",
	} {
		checkHTML(t, path, f.get(path).ok().has(want).body)
	}
	f.get(f.in("live", "logs?status=banana")).ok().has("is not a status")
	empty := newFixture(t, "a") // a member who sees nothing
	empty.as(keystore.RoleViewer, "org_00000000000000000000", "")
	empty.get("/").ok().has("no account that you can see")
}

// TestHostileData: texts of users and clients are texts on every page.
func TestHostileData(t *testing.T) {
	t.Parallel()
	for name, evil := range map[string]string{
		"element":   `<em>UHOH</em><script>alert(1)</script>`,
		"attribute": `" onmouseover="alert(1)" x='"`,
		"url":       `javascript:alert(1)//`,
		"comment":   `--><img src=x onerror=alert(1)>`,
		"template":  `{{.}}</title></textarea>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			for _, path := range f.sample(func(s string) string { return s + evil }) {
				page := f.get(path)
				if page.status == http.StatusSeeOther {
					continue
				}
				if page.status != http.StatusOK {
					t.Errorf("%s: %d", path, page.status)
				}
				checkNodes(t, path, page.body)
			}
			// What an address and a form say stays text, too.
			for _, path := range []string{f.in("live", "keys?query=") + "%22%3E%3Cem%3E", "/events?actor=%3Cem%3EUHOH", f.in("live", "logs?path=%3Cem%3EUHOH"), "/sign_in?next=javascript:alert(1)"} {
				checkNodes(t, path, f.get(path).body)
			}
			checkNodes(t, "form", f.post(f.in("live", "keys/new"), "name", evil+"\x00", "note", evil).body)
		})
	}
}

// checkNodes wants no element and no attribute that our own templates do not have, and no address but our own.
func checkNodes(t *testing.T, path, body string) {
	t.Helper()
	walk(t, body, func(n *html.Node) {
		if n.Type != html.ElementNode {
			return
		}
		if slices.Contains([]string{"em", "img", "iframe", "object", "base", "style"}, n.Data) {
			t.Errorf("%s: there is an element <%s>", path, n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s: there is an attribute %s", path, a.Key)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "?") {
				t.Errorf("%s: %s leads to %q", path, a.Key, a.Val)
			}
		}
		if n.Data == "script" && (n.FirstChild != nil || len(n.Attr) == 0) {
			t.Errorf("%s: there is a script in the page", path)
		}
	})
}

// checkHTML holds a page against what a reader without sight or script needs.
func checkHTML(t *testing.T, path, body string) {
	t.Helper()
	ids, labelled, fields := map[string]int{}, map[string]bool{}, map[string]bool{}
	headings := 0
	walk(t, body, func(n *html.Node) {
		if n.Type != html.ElementNode {
			return
		}
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		if id := attr["id"]; id != "" {
			ids[id]++
		}
		switch n.Data {
		case "h1":
			headings++
		case "label":
			labelled[attr["for"]] = true
		case "input", "select", "textarea":
			if attr["type"] != "hidden" && attr["type"] != "radio" && attr["aria-label"] == "" {
				fields[attr["id"]] = true
			}
		case "form":
			if attr["method"] == "" {
				t.Errorf("%s: a form says no method", path)
			}
		}
	})
	if headings != 1 {
		t.Errorf("%s: %d headings of the first level", path, headings)
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%s: the id %s stands %d times", path, id, n)
		}
	}
	for id := range fields {
		if !labelled[id] {
			t.Errorf("%s: the field %q has no label", path, id)
		}
	}
	if !strings.Contains(body, "</html>") || strings.Contains(body, "&lt;nil&gt;") || strings.Contains(body, "0xc0") {
		t.Errorf("%s: the page is not whole, or shows what is inside of the program", path)
	}
}

func walk(t *testing.T, body string, visit func(*html.Node)) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var down func(*html.Node)
	down = func(n *html.Node) {
		visit(n)
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			down(c)
		}
	}
	down(root)
}

// TestLinksLead: every link, form and file of every page is one that the dashboard serves, below a prefix, too.
func TestLinksLead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const prefix = "/some/where"
	seen := map[string]bool{}
	for _, path := range f.sample(func(s string) string { return s }) {
		page := f.get(path, "Test-Prefix", prefix)
		if page.status != http.StatusOK {
			continue
		}
		walk(t, page.body, func(n *html.Node) {
			method := http.MethodGet
			for _, a := range n.Attr {
				if n.Data == "form" && a.Key == "method" && a.Val == "post" {
					method = http.MethodPost
				}
			}
			for _, a := range n.Attr {
				if (a.Key != "href" && a.Key != "src" && a.Key != "action") || strings.HasPrefix(a.Val, "#") {
					continue
				}
				inside, ok := strings.CutPrefix(a.Val, prefix)
				if !ok {
					t.Errorf("%s: %s=%q does not begin with the prefix", path, a.Key, a.Val)
					continue
				}
				seen[method+" "+inside] = true
			}
		})
	}
	for link := range seen {
		method, path, _ := strings.Cut(link, " ")
		if strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/profile") || strings.HasPrefix(path, "/sign_") || path == "/invitation" { // served elsewhere, or without a session
			continue
		}
		if strings.Contains(path, "export") && strings.Contains(path, "parquet") {
			continue // streamed: see TestStreams
		}
		if method == http.MethodPost {
			// Sent from another site it is refused, and so does nothing; but a form that goes nowhere answers 404 or 405 before.
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			f.guest()
			page := f.send(r, nil)
			f.as(keystore.RoleOwner, "", "")
			if page.status != http.StatusUnauthorized {
				t.Errorf("the form to %s answers a guest %d, want 401", path, page.status)
			}
			continue
		}
		if page := f.get(path); page.status >= 400 {
			t.Errorf("the link to %s answers %d", path, page.status)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d links were found", len(seen))
	}
}

// TestRoles: what a role may not do has no button, and its address says whom to ask: for every page and every action, by the
// API's own table.
func TestRoles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sample(func(s string) string { return s })
	k, _ := f.key(nil)
	wild := regexp.MustCompile(`\{[a-z]+\}`)
	patterns := f.handler.(*dashboard.Dashboard).Patterns()
	type place struct {
		owner, organization, account string
		reach                        []auth.Reach // of calls that are within the limit
	}
	places := []place{
		{f.account, "", f.account, []auth.Reach{auth.Account}},
		{f.organization, f.organization, "", []auth.Reach{auth.Account, auth.Organization}},
		{f.account, "", "", []auth.Reach{auth.Account, auth.Organization, auth.Everything}},
	}
	for i := range 4 * len(places) {
		role, at := []keystore.Role{keystore.RoleViewer, keystore.RoleDeveloper, keystore.RoleAdministrator, keystore.RoleOwner}[i%4], places[i/4]
		f.as(role, at.organization, at.account)
		for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
			operation := patterns[pattern]
			method, path, _ := strings.Cut(pattern, " ")
			if operation == "" || strings.HasPrefix(path, "/profile") || strings.HasSuffix(path, "/tail") {
				continue
			}
			owner := at.owner
			if at.organization+at.account == "" && strings.HasSuffix(path, "/organization") {
				owner = f.organization // on a page of an account, whoever looks is limited to that
			}
			path = strings.NewReplacer("{owner}", owner, "{mode}", "live", "{id}", k.ID).Replace(path)
			if wild.MatchString(path) {
				t.Fatalf("%s has a part that this test does not know", pattern)
			}
			rule, _ := auth.RuleOf(operation)
			may := role.Includes(rule.Role) && slices.Contains(at.reach, rule.Reach)
			page := f.send(request(method, path, "limit="+at.owner), nil)
			refused := page.status == http.StatusForbidden && strings.Contains(page.body, "Ask the owner")
			if refused == may {
				t.Errorf("%s of %s%s: %s answers %d, want may=%v: %.300s", role, at.organization, at.account, pattern, page.status, may, text(page.body))
			}
			if method == http.MethodPost && may {
				k, _ = f.key(nil) // the one before may be gone now
			}
		}
	}
	// Buttons.
	for role, has := range map[keystore.Role]bool{keystore.RoleViewer: false, keystore.RoleDeveloper: true} {
		f.as(role, "", f.account)
		page := f.get(f.in("live", "keys")).ok()
		for _, button := range []string{"Create secret key", "Create restricted key", "Edit key", "Rotate key", "Manage IP restrictions", "Duplicate key", "Delete key"} {
			if strings.Contains(page.body, button) != has {
				t.Errorf("%s: the button %q is there: %v", role, button, !has)
			}
		}
		page.has("View request logs")
	}
	f.as(keystore.RoleViewer, "", f.account)
	f.get(f.in("live", "keys")).ok().lacks("pk_live_y", "Reveal")
	f.get("/").ok().lacks(f.defaultKey(policy.KindSecret, policy.ModeSandbox).Mask)
	// Beyond the limit nothing is there.
	f.as(keystore.RoleOwner, "", f.account)
	for _, path := range []string{"/" + f.organization + "/live/keys", "/tokens?organization=" + f.organization} {
		if page := f.get(path); page.status != http.StatusForbidden && page.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, page.status)
		}
	}
}

func request(method, path, form string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(form))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

// TestCrossSite: a form that another site sends is refused before anything, for every action.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, _ := f.key(nil)
	for pattern := range f.handler.(*dashboard.Dashboard).Patterns() {
		method, path, _ := strings.Cut(pattern, " ")
		if method != http.MethodPost {
			continue
		}
		path = strings.NewReplacer("{owner}", f.account, "{mode}", "live", "{id}", k.ID).Replace(path)
		for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
			r := request(method, path, "")
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set(name, value)
			if page := f.send(r, nil); page.status != http.StatusForbidden || !strings.Contains(page.body, "another site") {
				t.Errorf("%s with %s: %d", pattern, name, page.status)
			}
		}
	}
	if now, _ := f.store.Snapshot().Key(k.ID); now.Deleted || now.Successor != "" {
		t.Error("something was done")
	}
}

// TestUnknownPages: what is no page is answered as one, to who asks, with what to do next.
func TestUnknownPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, want := range map[string]int{
		"/nowhere": 404, "/accounts/": 404, "//accounts": 404, "/acct_x": 404, f.in("nomode", "keys"): 404, f.in("live", "keys/key_00000000000000000000"): 404,
		"/acct_00000000000000000000/live/keys": 403, f.in("live", "sandboxes"): 404, "/static/nothing.css": 404, "/accounts/new": 405, f.in("live", "logs/req_none"): 404,
	} {
		page := f.get(path)
		if want == 403 && page.status == 404 {
			continue // a visitor of the installation covers what is not there, and is told that it is not
		}
		if page.status != want {
			t.Errorf("%s: %d, want %d", path, page.status, want)
		}
		if !strings.HasPrefix(path, "/static/") {
			page.has("Ada Lovelace", "Go to the home page")
		}
	}
	f.guest()
	f.get(f.in("live", "keys")).goesTo("/sign_in?next=")
	if page := f.post(f.in("live", "keys/new")); page.status != http.StatusUnauthorized {
		t.Errorf("a form of a guest: %d", page.status)
	}
}

// TestFiles: style and scripts can be kept for ever by the address that pages name, and only by that.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, name := range regexp.MustCompile(`/static/[^"]+`).FindAllString(f.get(f.in("live", "logs")).ok().body, -1) {
		file := f.get(name).ok()
		if got := file.header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
		if len(file.body) > 50<<10 {
			t.Errorf("%s has %d bytes", name, len(file.body))
		}
	}
}

// TestUnprovenAddress: a role for somebody who has not shown that the address is theirs asks whether the viewer knows them.
func TestUnprovenAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	by := keystore.Actor{Kind: "test"}
	m, token, err := f.store.InviteMember(t.Context(), by, keystore.MemberParams{
		Email: "boss@example.com", Grants: []keystore.Grant{{Role: keystore.RoleViewer, Account: f.account}},
	}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	digest := token.Digest()
	if _, err := f.store.AcceptInvitation(t.Context(), by, &digest, keystore.Acceptance{Name: "Eve", Password: policy.TokenFrom("a hash")}); err != nil {
		t.Fatal(err)
	}
	f.get("/members").ok().has("Address not proven")
	f.get("/members/" + m.ID).ok().has("Address not proven")
	form := []string{"email", "boss@example.com", "role", "viewer", "limit", f.organization}
	f.post("/members", form...).has("has not shown that it is theirs", `name="email_unproven"`)
	f.post("/members", append(form, "email_unproven", "yes")...).goesTo("/members")
}

// TestNodes: the nodes of the fleet are shown, and linked, to who may list them: to nobody with a limit.
func TestNodes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	page := f.get("/nodes").ok().has("node-1", "Live", "up to date", "this page is from here", `href="/nodes" aria-current="page"`)
	checkHTML(t, "/nodes", page.body)
	f.get("/nodes?after=node-1").ok().has("No more nodes")
	f.as(keystore.RoleViewer, "", "")
	f.get("/nodes").ok().has("node-1")
	f.as(keystore.RoleOwner, "", f.account)
	f.get("/accounts").ok().lacks(`href="/nodes"`)
	if page := f.get("/nodes"); page.status != http.StatusForbidden || strings.Contains(page.body, "node-1") {
		t.Errorf("who is limited to an account is answered %d: %s", page.status, text(page.body))
	}
}
