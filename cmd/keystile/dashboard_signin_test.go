package main_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestDashboardSignIn: the ways in that need somebody else: an invitation by mail, an identity provider, codes by mail, and
// what is left to who has lost their phone.
func TestDashboardSignIn(t *testing.T) {
	t.Parallel()
	provider, mail := newIdentityProvider(t), newMailServer(t)
	s := &memberSite{url: fmt.Sprintf("http://localhost:%d", gatetest.FreePort(t)), mail: mail, Gateway: gatetest.New(t)}
	s.Setenv("SMTP_PASSWORD=" + mailPassword)
	s.Setenv("OIDC_SECRET=" + providerSecret)
	s.Admin.Remember(mailPassword)
	s.Admin.Remember(providerSecret)
	s.WriteConfig(t, gatetest.Config{
		Keystile: gatetest.Catalog + fmt.Sprintf(`
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
				client_secret env OIDC_SECRET
			}`, mail.addr.Port, provider.URL),
		Sites: s.url + " {\n\tbind 127.0.0.1\n\tlog\n\tkeystile_admin\n}",
	}.Text(s.Gateway))
	s.Start(t)
	account := s.Admin.CreateAccount(t, "Shop", "")
	b := &dashboardBed{Gateway: s.Gateway, url: s.url}
	// An owner by the machine's own link; nobody mails it, since it names nobody.
	tab := newTab(t, s.url)
	b.signUp(t, tab, b.invite(t), "Ada Lovelace", "ada@example.com")

	// Ada invites Grace: the link goes out by mail, and the page does not show it.
	tab.open("/members")
	tab.fill("#email", "grace@example.com")
	tab.fill("#limit", account.ID)
	tab.choose("#role", "developer")
	tab.press("Invite member")
	if tab.has("Verification code") {
		tab.fill("#code", s.mailedCode(t, "ada@example.com"))
		tab.press("Continue")
	}
	tab.sees("on its way by e-mail")
	link := ownerLink.FindStringSubmatch(mail.last(t, "grace@example.com"))
	if link == nil {
		t.Fatal("the mail has no link")
	}
	tab.lacks(link[1])
	grace := newTab(t, s.url)
	b.Admin.Remember(link[1])
	grace.open(strings.TrimPrefix(link[0], s.url))
	grace.lacks(link[1])
	grace.fill("#name", "Grace Hopper")
	grace.fill("#password", "too short")
	grace.fill("#again", memberPassword)
	grace.eval(`document.querySelectorAll("[minlength]").forEach(e => e.removeAttribute("minlength"))`)
	grace.press("Set password and sign in")
	grace.sees("two passwords are not the same")
	grace.gallery("invitation-wrong")
	grace.fill("#password", memberPassword)
	grace.fill("#again", memberPassword)
	grace.press("Set password and sign in")
	grace.sees("Welcome")
	grace.sees("Make your first request")
	grace.lacks(link[1])
	again := newTab(t, s.url)
	again.open(strings.TrimPrefix(link[0], s.url))
	again.fill("#password", memberPassword)
	again.fill("#again", memberPassword)
	again.press("Set password and sign in")
	again.sees("invitation")
	again.gallery("invitation-used")

	// A code by mail: wrong four times, wrong for the last time, and then a new one; and one that is used up already.
	grace.open("/" + account.ID + "/live/keys/new")
	grace.press("Create key")
	grace.sees("to g…@example.com")
	first := s.mailedCode(t, "grace@example.com")
	wrong := fmt.Sprintf("%06d", (atoi(t, first)+1)%1_000_000)
	for range 4 {
		grace.fill("#code", wrong)
		grace.press("Continue")
		grace.sees("The code is wrong")
	}
	grace.gallery("code-wrong")
	grace.fill("#code", wrong)
	grace.press("Continue")
	grace.sees("That was the last try")
	grace.gallery("code-last-try")
	second := s.mailedCode(t, "grace@example.com")
	if second != first {
		grace.fill("#code", first)
		grace.press("Continue")
		grace.sees("The code is wrong")
	}
	grace.fill("#code", second)
	grace.press("Continue")
	b.Admin.Remember(grace.eval(`document.getElementById("secret").value`))
	grace.sees("Save your new key")
	// Reloading sends the form again: nothing is made a second time, and nothing is shown again.
	grace.eval(`(window.before = true, setTimeout(() => location.reload()), true)`)
	grace.until("the page after reloading", there)
	grace.sees("This was done already")
	grace.gallery("secret-reloaded")
	if keys := b.Admin.Keys(t, url.Values{"account": {account.ID}, "mode": {"live"}, "kind": {"secret"}}); len(keys) != 2 {
		t.Errorf("there are %d keys, want the default one and the new one", len(keys))
	}
	// A code that is not awaited any more, as after its ten minutes.
	grace.open("/" + account.ID + "/live/keys/new")
	grace.press("Create key")
	third := s.mailedCode(t, "grace@example.com")
	grace.eval(`(document.querySelector("[name=_verification]").value = "ver_8DpB666ojJIBrHTw33ZR", true)`)
	grace.fill("#code", third)
	grace.press("Continue")
	grace.sees("That code is over. A new one is on its way.")
	grace.gallery("code-over")

	// Recovery codes: each opens once, and the profile says how many are left.
	grace.open("/profile")
	grace.fill("#app-password", memberPassword)
	grace.press("Set up an app")
	app := strings.TrimSpace(grace.eval(`document.querySelector("ol code").textContent`))
	grace.fill("#code", "12345")
	grace.press("Confirm")
	grace.sees("begin again")
	grace.gallery("profile-app-wrong")
	grace.fill("#code", appCode(t, app))
	grace.press("Confirm")
	codes := strings.Fields(grace.eval(`document.getElementById("codes").textContent`))
	for _, code := range append(codes, app) {
		b.Admin.Remember(code)
	}
	grace.open("/profile")
	grace.sees("10 recovery codes left")
	grace.gallery("profile-with-app")
	signInByCode := func(code string) {
		t.Helper()
		grace.click(`form[action$="/sign_out"] button`)
		grace.fill("#email", "grace@example.com")
		grace.fill("#password", memberPassword)
		grace.press("Sign in")
		grace.press("Use a recovery code")
		grace.fill("#code", code)
		grace.press("Continue")
	}
	signInByCode(codes[3])
	grace.sees("Make your first request")
	signInByCode(codes[3])
	grace.sees("wrong")
	grace.gallery("sign-in-recovery-wrong")
	grace.fill("#code", codes[4])
	grace.press("Continue")
	grace.open("/profile")
	grace.sees("8 recovery codes left")
	grace.touch("details.more-filters summary")
	grace.fill("#codes-password", memberPassword)
	grace.fill("#codes-code", codes[5])
	grace.press("Make new codes")
	fresh := strings.Fields(grace.eval(`document.getElementById("codes").textContent`))
	for _, code := range fresh {
		b.Admin.Remember(code)
	}
	grace.press("Done")
	grace.sees("10 recovery codes left")
	signInByCode(codes[6])
	grace.sees("wrong")
	grace.fill("#code", fresh[0])
	grace.press("Continue")
	grace.sees("Make your first request")

	s.providerSignIn(t, provider, tab)
}

// mailedCode is the code in the newest mail to an address.
func (s *memberSite) mailedCode(t *testing.T, to string) string {
	t.Helper()
	found := sentCode.FindStringSubmatch(s.mail.last(t, to))
	if found == nil {
		t.Fatalf("the mail to %s has no code", to)
	}
	return found[1]
}

// providerSignIn is the way in by the provider: for who is invited; not for strangers, nor for who has no verified address.
func (s *memberSite) providerSignIn(t *testing.T, provider *identityProvider, owner *tab) {
	t.Helper()
	owner.open("/members")
	owner.fill("#email", "jenny@example.com")
	owner.choose("#role", "viewer")
	owner.fill("#limit", "")
	owner.press("Invite member")
	if owner.has("Verification code") {
		owner.fill("#code", s.mailedCode(t, "ada@example.com"))
		owner.press("Continue")
	}
	tab := newTab(t, s.url)
	// at says who one is on the provider's page.
	at := func(email, button string, unverified bool) {
		t.Helper()
		tab.open("/sign_in")
		tab.press("Sign in by your identity provider")
		tab.sees("The identity provider")
		if at := tab.eval("location.origin"); at != provider.URL {
			t.Fatalf("sent to %s", at)
		}
		tab.fill("#as", email)
		if unverified {
			tab.touch("#unverified")
		}
		tab.click("#" + button)
	}
	at("mallory@example.com", "yes", false)
	tab.sees("ask the owner for an invitation")
	tab.gallery("provider-stranger")
	tab.press("Back to the sign-in page")
	tab.sees("Sign in by your identity provider")
	tab.gallery("sign-in-provider")
	at("jenny@example.com", "yes", true)
	tab.sees("has not verified your e-mail address")
	at("jenny@example.com", "no", false)
	tab.sees("did not sign you in")
	tab.open("/profile")
	tab.sees("Sign in") // nobody is signed in yet
	at("jenny@example.com", "yes", false)
	tab.sees("Make your first request")
	tab.open("/profile")
	tab.sees("jenny@example.com")
	tab.sees("Jenny Rosen")
	tab.gallery("profile-provider")
	provider.mu.Lock()
	defer provider.mu.Unlock()
	if provider.exchanged != 3 || len(provider.refused) != 0 {
		t.Errorf("the provider exchanged %d codes and refused %v", provider.exchanged, provider.refused)
	}
}
