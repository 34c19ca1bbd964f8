package main_test

import (
	"net/url"
	"strings"
	"testing"
)

// TestDashboardPages: what is not a key's life nor a way in: the switcher, nodes, consent to an address that is not proven, who
// to ask for rights that are missing, and a live tail whose session ends.
func TestDashboardPages(t *testing.T) {
	t.Parallel()
	b := newDashboardBed(t)
	organization := b.Admin.CreateOrganization(t, "Acme")
	shop := b.Admin.CreateAccount(t, "Shop", organization)
	depot := b.Admin.CreateAccount(t, "A depot with a name that is rather too long for the head of a page", organization)
	lone := b.Admin.CreateAccount(t, "Lone", "")
	tab := newTab(t, b.url)
	b.signUp(t, tab, b.invite(t), "Ada Lovelace", "ada@example.com")

	// The switcher keeps the mode, names what is open, and leads to all there are.
	tab.open("/" + shop.ID + "/live/keys")
	tab.touch(".switch summary")
	tab.galleryOf("switcher", ".switch")
	tab.follow("choosing the depot", `[...document.querySelectorAll(".switch a")].find(e => e.textContent.includes("A depot"))`)
	tab.sees("real money")
	if at := tab.eval("location.pathname"); at != "/"+depot.ID+"/live/keys" {
		t.Errorf("the switcher leads to %s", at)
	}
	if title := tab.eval("document.title"); !strings.HasPrefix(title, "Live mode: API keys") || !strings.Contains(title, "A depot") {
		t.Errorf("the title is %q", title)
	}
	tab.gallery("long-name")
	tab.follow("choosing the organization", `[...document.querySelectorAll(".switch a")].find(e => e.textContent.startsWith("Acme"))`)
	tab.sees("Organization keys")
	if at := tab.eval("location.pathname"); at != "/"+organization+"/live/keys" {
		t.Errorf("the switcher leads to %s", at)
	}
	if current := tab.eval(`document.querySelector(".switch [aria-current]").textContent`); !strings.HasPrefix(current, "Acme") {
		t.Errorf("the switcher says that %q is open", current)
	}

	// One node, which is this one.
	tab.open("/nodes")
	tab.sees("this page is from here")
	tab.sees("Live")
	tab.sees("up to date")
	if rows := tab.eval(`document.querySelectorAll("tbody tr").length`); rows != "1" {
		t.Errorf("%s nodes", rows)
	}
	tab.gallery("nodes")

	// A member by a handed-over link has not proven the address: more is granted after a box is ticked.
	viewer := b.invite(t, map[string]any{"role": "viewer", "account": shop.ID})
	other := newTab(t, b.url)
	b.signUp(t, other, viewer, "Grace Hopper", "")
	tab.open("/members")
	tab.sees("Address not proven")
	tab.fill("#email", "someone@example.com")
	tab.choose("#role", "viewer")
	tab.fill("#limit", lone.ID)
	tab.press("Invite member")
	tab.sees("has not shown that it is theirs")
	tab.lacks("email_unproven&#34;: true")
	tab.gallery("members-unproven")
	tab.touch("[name=email_unproven]")
	tab.press("Invite member")
	tab.sees("the role is added to theirs")

	// A member of two accounts: each has its own pages, and the switcher both and no other.
	other.open("/")
	if names := other.eval(`[...document.querySelectorAll(".switch .pop > a .clip")].map(e => e.textContent).sort().join()`); names != "Lone,Shop" {
		t.Errorf("the switcher of a member of two accounts has %q", names)
	}
	other.follow("choosing the other account", `[...document.querySelectorAll(".switch a")].find(e => e.textContent.startsWith("Lone"))`)
	other.sees("Standard keys")
	if at := other.eval("location.pathname"); !strings.HasPrefix(at, "/"+lone.ID+"/") {
		t.Errorf("the switcher leads to %s", at)
	}

	// What is missing is said with whom to ask, for each page that a viewer has no right to.
	key := b.Admin.Keys(t, url.Values{"account": {shop.ID}, "mode": {"live"}, "kind": {"secret"}})[0]
	for _, page := range []string{"/keys/new", "/keys/" + key.ID + "/rotate", "/keys/" + key.ID + "/ip", "/keys/" + key.ID + "/reveal"} {
		other.open("/" + shop.ID + "/live" + page)
		other.sees("Ask the owner")
		other.sees("Ada Lovelace")
	}
	for _, page := range []string{"/members", "/tokens", "/webhooks", "/nodes", "/" + depot.ID + "/live/keys", "/" + organization + "/live/organization"} {
		other.open(page)
		if !other.has("Ask the owner") && !other.has("There is nothing here") {
			t.Errorf("a viewer sees %s: %s", page, other.textOf())
		}
	}

	// A live tail ends with its session, and says what to do.
	other.open("/" + shop.ID + "/live/logs")
	other.touch("#tail")
	other.sees("Live: waiting")
	tab.open("/members")
	tab.press("Grace Hopper")
	tab.press("Sign out everywhere")
	tab.sees("signed out everywhere")
	other.until("the end of the tail", `!document.querySelector("#tail[aria-pressed=true]") && document.getElementById("tail-state").innerText.toLowerCase().includes("sign in")`)
	other.gallery("logs-tail-ended")
	b.call(t, "GET", "/v1/charges", b.Admin.Reveal(t, key.ID).Token)
	other.open("/" + shop.ID + "/live/logs")
	other.fill("#email", "someone@example.com")
	other.fill("#password", memberPassword)
	other.press("Sign in")
	other.waitsFor("GET /v1/charges")
}
