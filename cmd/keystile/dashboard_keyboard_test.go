package main_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// stop is where the focus is.
type stop struct {
	Index   int    // in the document's order of what Tab goes to; -1: none of it
	Name    string // what a reader hears of it, or so
	Visible bool   // it is in the window, and not under anything of ours
	Marked  string // how the focus is shown, "" if it is not
}

// keyboardScript numbers what Tab should go to, in the order of the document, and tells the stop that has the focus. Of radio
// buttons with one name, one is gone to: the arrow keys go on from there.
const keyboardScript = `(() => {
	const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")].filter(e =>
		e.tabIndex >= 0 && !e.disabled && e.getClientRects().length && e.checkVisibility({ visibilityProperty: true }));
	window.stops = all.filter(e => {
		if (e.type !== "radio") return true;
		const group = all.filter(o => o.type === "radio" && o.name === e.name && o.form === e.form);
		return e === (group.find(o => o.checked) || group[0]);
	});
	const e = document.activeElement;
	if (!e || e === document.body || e === document.documentElement) return JSON.stringify({ Index: -1, Name: "", Visible: true, Marked: "none" });
	const name = (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.name || e.tagName).trim().replace(/\s+/g, " ").slice(0, 80);
	const r = e.getBoundingClientRect();
	const marked = [e, e.closest("label")].filter(Boolean).map(x => getComputedStyle(x)).map(s =>
		s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 ? "outline" : s.boxShadow !== "none" ? "shadow" : "").find(Boolean) || "";
	const visible = r.width > 0 && r.height > 0 && r.right > 0 && r.bottom > 0 && r.left < innerWidth && r.top < innerHeight;
	const group = e.type === "radio" ? window.stops.findIndex(o => o.name === e.name && o.form === e.form) : window.stops.indexOf(e);
	return JSON.stringify({ Index: group, Name: name, Visible: visible, Marked: marked });
})()`

// hit presses a key, perhaps with modifiers.
func (b *tab) hit(key string, modifiers ...chromedp.Modifier) {
	b.t.Helper()
	b.run("pressing a key", chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...)))
}

// at is where the focus is. It must be seen there.
func (b *tab) at() stop {
	b.t.Helper()
	var s stop
	mustJSON(b.t, b.eval(keyboardScript), &s)
	if !s.Visible || s.Marked == "" {
		b.t.Errorf("%s: the focus on %q cannot be seen: in the window %v, marked by %q", b.eval("location.pathname"), s.Name, s.Visible, s.Marked)
	}
	return s
}

// tabTo goes on with Tab until the focus is on what has this name, or one that goes on with a space or a comma.
func (b *tab) tabTo(name string) {
	b.t.Helper()
	var seen []string
	for range 300 {
		b.hit(kb.Tab)
		s := b.at()
		if s.Name == name || strings.HasPrefix(s.Name, name+" ") || strings.HasPrefix(s.Name, name+",") {
			return
		}
		if seen = append(seen, s.Name); s.Index < 0 && len(seen) > 1 {
			break
		}
	}
	b.t.Fatalf("Tab does not lead to %q, but to %q", name, seen)
}

// enter presses Enter on what has the focus, and waits for the page that follows.
func (b *tab) enter() {
	b.t.Helper()
	b.eval(`(window.before = true)`)
	b.hit(kb.Enter)
	b.until("the page after Enter", there)
}

// types types into what has the focus.
func (b *tab) types(text string) {
	b.t.Helper()
	b.run("typing", chromedp.KeyEvent(text))
}

// walk goes through the whole page by Tab and back by Shift+Tab: it goes to everything that can be used, in the order of the
// document, first to the link that leaves out the frame; and nothing keeps the focus.
func (b *tab) walk(name string) {
	b.t.Helper()
	b.eval(`(document.activeElement?.blur(), getSelection()?.removeAllRanges(), scrollTo(0, 0), document.body.setAttribute("tabindex", "-1"), document.body.focus(), document.body.removeAttribute("tabindex"), true)`)
	for _, way := range []struct {
		what      string
		modifiers []chromedp.Modifier
	}{{"Tab", nil}, {"Shift+Tab", []chromedp.Modifier{chromedp.ModifierShift}}} {
		var visited []int
		var names []string
		for {
			b.hit(kb.Tab, way.modifiers...)
			s := b.at()
			if s.Index < 0 && s.Name == "" {
				if len(visited) == 0 && way.what != "Tab" {
					continue // the way back begins at the page itself
				}
				break
			}
			if n := len(visited); n > 0 && visited[n-1] == s.Index {
				b.t.Fatalf("%s: %s stays on %q", name, way.what, s.Name)
			}
			if s.Index >= 0 {
				visited, names = append(visited, s.Index), append(names, s.Name)
			} // else something that scrolls, which browsers let one go to
			if len(visited) > 1000 {
				b.t.Fatalf("%s: %s never ends: %q", name, way.what, names[:20])
			}
		}
		if way.what != "Tab" {
			slices.Reverse(visited)
			slices.Reverse(names)
		}
		total := b.eval("window.stops.length")
		if fmt.Sprint(len(visited)) != total || !slices.IsSorted(visited) {
			b.t.Errorf("%s: %s goes to %d of %s places, in the order %v: %q", name, way.what, len(visited), total, visited, names)
		}
		if len(names) > 0 && names[0] != "Skip to content" {
			b.t.Errorf("%s: the first place is %q", name, names[0])
		}
	}
}

// TestDashboardByKeyboard: from signing in to a key that is made, copied, rotated and deleted, without a mouse.
func TestDashboardByKeyboard(t *testing.T) {
	t.Parallel()
	b := newDashboardBed(t)
	account := b.Admin.CreateAccount(t, "Shop", b.Admin.CreateOrganization(t, "Acme"))
	tab := newTab(t, b.url)
	b.signUp(t, tab, b.invite(t), "Ada Lovelace", "ada@example.com")
	tab.click(`form[action$="/sign_out"] button`)
	code := func(n int) {
		t.Helper()
		tab.sees("Verification code")
		tab.types(b.code(t, n)) // the field has the focus
		tab.enter()
	}

	// In, and past the frame.
	tab.open("/sign_in")
	tab.walk("sign-in")
	tab.open("/sign_in")
	tab.types("ada@example.com")
	tab.hit(kb.Tab)
	tab.types(memberPassword)
	tab.enter()
	tab.sees("Make your first request")
	tab.hit(kb.Tab)
	if first := tab.at(); first.Name != "Skip to content" {
		t.Errorf("the first place is %q", first.Name)
	}
	tab.picture("keyboard-skip")
	tab.hit(kb.Enter)
	tab.until("the focus in the main part", `document.activeElement.id === "main"`)
	tab.hit(kb.Tab)
	if inMain := tab.eval(`document.getElementById("main").contains(document.activeElement)`); inMain != "true" {
		t.Error("after the link that skips the frame, Tab is still in it")
	}

	// Menus: opened, gone into, closed with Escape, which gives the focus back.
	tab.open("/" + account.ID + "/sandbox/keys")
	tab.tabTo("Account: Shop")
	tab.hit(kb.Enter)
	tab.until("the open menu", `document.querySelector(".switch").open`)
	tab.hit(kb.Tab)
	if at := tab.at(); !strings.Contains(at.Name, "organization") && !strings.Contains(at.Name, "account") {
		t.Errorf("in the menu the first place is %q", at.Name)
	}
	tab.picture("keyboard-menu")
	tab.hit(kb.Escape)
	tab.until("the closed menu", `!document.querySelector(".switch").open && document.activeElement === document.querySelector(".switch summary")`)
	tab.hit(" ")
	tab.until("the menu opened by the space bar", `document.querySelector(".switch").open`)
	tab.hit(kb.Escape)
	tab.tabTo("Live")
	tab.enter()
	tab.sees("real money")

	// A restricted key: radio buttons by arrows, Enter sends the form.
	tab.tabTo("Create restricted key")
	tab.enter()
	tab.tabTo("Key name")
	tab.types("billing")
	tab.tabTo("Expiration")
	tab.hit(kb.ArrowDown) // in 24 hours
	tab.hit(kb.ArrowUp)
	for range 300 {
		tab.hit(kb.Tab)
		tab.at()
		if tab.eval("document.activeElement.name") == "p.charges" {
			break
		}
	}
	tab.hit(kb.ArrowRight)
	tab.at()
	tab.hit(kb.ArrowRight)
	tab.at()
	tab.sees("Read and write charges")
	tab.picture("keyboard-permissions")
	tab.tabTo("Create key")
	tab.enter()
	code(1)
	tab.sees("Save your new key")
	token := tab.eval(`document.getElementById("secret").value`)
	b.Admin.Remember(token)
	tab.tabTo("Copy")
	tab.hit(" ")
	tab.sees("Copied")
	tab.tabTo("Add a note: where did you put it?")
	tab.run("pasting", command(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "v", Modifiers: int64(chromedp.ModifierCtrl), Commands: []string{"paste"}}))
	if pasted := tab.eval(`document.activeElement.value`); pasted != token {
		t.Errorf("%d characters are pasted, the key has %d", len(pasted), len(token))
	}
	tab.run("selecting", command(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "a", Modifiers: int64(chromedp.ModifierCtrl), Commands: []string{"selectAll"}}))
	tab.types("vault: billing")
	tab.tabTo("Done")
	tab.enter()
	tab.sees("vault: billing")

	// Rotate it by its menu.
	menu := "Actions for billing"
	tab.menuTo(menu, "Rotate key")
	tab.tabTo("Expiration of the old key")
	tab.hit(kb.ArrowUp)
	if chosen := tab.eval("document.activeElement.value"); chosen != "1h" {
		t.Errorf("the arrow chose %q", chosen)
	}
	tab.tabTo("Rotate API key")
	tab.enter()
	code(2)
	rotated := tab.eval(`document.getElementById("secret").value`)
	b.Admin.Remember(rotated)
	tab.tabTo("Done")
	tab.enter()
	tab.sees("Expires in")
	if got := [2]int{b.call(t, "GET", "/v1/charges", token), b.call(t, "GET", "/v1/charges", rotated)}; got != [2]int{200, 200} {
		t.Errorf("after the rotation: %v", got)
	}

	// Delete both.
	for range 2 {
		tab.menuTo(menu, "Delete key")
		tab.tabTo("Delete key")
		tab.picture("keyboard-delete")
		tab.enter()
		tab.sees("The key is deleted")
	}
	if got := [2]int{b.call(t, "GET", "/v1/charges", token), b.call(t, "GET", "/v1/charges", rotated)}; got != [2]int{401, 401} {
		t.Errorf("after the deletion: %v", got)
	}

	// Through whole pages, forth and back, in a wide and in a narrow window.
	key := b.Admin.Keys(t, url.Values{"account": {account.ID}, "mode": {"live"}, "kind": {"secret"}})[0]
	for _, l := range []look{{1280, false}, {390, false}} {
		tab.as(l)
		for _, page := range []string{"keys", "keys/new?kind=restricted", "keys/" + key.ID, "keys/" + key.ID + "/ip?tab=bulk", "logs"} {
			tab.open("/" + account.ID + "/live/" + page)
			tab.walk(page + " " + l.String())
		}
		for _, page := range []string{"/", "/members", "/profile"} {
			tab.open(page)
			tab.walk(page + " " + l.String())
		}
	}
}

// menuTo opens the menu with a name, looks whether Escape closes it, and follows one of its links.
func (b *tab) menuTo(menu, link string) {
	b.t.Helper()
	open := `document.activeElement.closest("details").open`
	b.tabTo(menu)
	b.hit(kb.Enter)
	b.until("the open menu", open)
	b.hit(kb.Tab)
	b.at()
	b.hit(kb.Escape)
	b.until("the closed menu", `document.activeElement.tagName === "SUMMARY" && !`+open)
	b.hit(kb.Enter)
	b.until("the open menu", open)
	b.tabTo(link)
	b.enter()
}
