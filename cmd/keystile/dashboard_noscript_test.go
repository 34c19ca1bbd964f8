package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// withoutScripts switches off the scripts of pages, as some readers do. What the test itself asks the page goes on working.
func (b *tab) withoutScripts() {
	b.t.Helper()
	b.run("switching scripts off", command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.bare = true
}

// pictures looks at a page in both widths. Without scripts axe-core cannot run; that the page fits is seen all the same.
func (b *tab) pictures(name string) {
	b.t.Helper()
	for _, l := range []look{{1280, false}, {390, false}} {
		b.as(l)
		b.fits(name + " " + l.String())
		b.picture(name + "-" + l.String())
	}
	b.as(looks[0])
}

// downloads lets the browser save files, and returns where.
func (b *tab) downloads() string {
	b.t.Helper()
	dir := b.t.TempDir()
	b.run("allowing downloads", command(cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{Behavior: cdpbrowser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir}))
	return dir
}

// saved waits for a whole file in a directory.
func saved(t *testing.T, dir string) string {
	t.Helper()
	for end := time.Now().Add(browserLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".crdownload") || strings.HasPrefix(f.Name(), ".") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatal("no file was saved")
	return ""
}

// TestDashboardWithoutScripts: everything about keys and logs works for who lets no site run scripts; the live tail, which
// cannot, says so.
func TestDashboardWithoutScripts(t *testing.T) {
	t.Parallel()
	b := newDashboardBed(t)
	account := b.Admin.CreateAccount(t, "Shop", "")
	in := func(mode, page string) string { return "/" + account.ID + "/" + mode + "/" + page }
	tab := newTab(t, b.url)
	files := tab.downloads()
	tab.withoutScripts()
	secret := func() string {
		t.Helper()
		token := tab.eval(`document.getElementById("secret").value`)
		b.Admin.Remember(token)
		return token
	}

	// The invitation: its whole link is pasted.
	token := b.invite(t)
	tab.open("/invitation")
	tab.pictures("noscript-invitation")
	tab.fill("#invitation", b.url+"/invitation#"+token)
	tab.fill("#name", "Ada Lovelace")
	tab.fill("#email", "ada@example.com")
	tab.fill("#password", memberPassword)
	tab.fill("#again", memberPassword)
	tab.press("Set password and sign in")
	tab.sees("Welcome")
	tab.pictures("noscript-home")

	// Modes and reveal.
	tab.press("Go to the API keys")
	tab.sees("For testing")
	tab.open(in("sandbox", "keys"))
	tab.press("Reveal test key")
	tab.sees("Hide test key")
	shown := tab.eval(`document.querySelector("code[data-token]:not(:empty)").textContent`)
	if strings.HasPrefix(shown, "pk_") {
		shown = tab.eval(`[...document.querySelectorAll("code[data-token]")].map(e => e.textContent).find(s => s.startsWith("sk_"))`)
	}
	b.Admin.Remember(shown)
	if status := b.call(t, "GET", "/v1/customers", shown); status != 200 {
		t.Errorf("the revealed key: %d", status)
	}
	tab.pictures("noscript-keys")
	tab.click(`.modes a:not([aria-current])`)
	tab.sees("real money")
	tab.press("Reveal live key")
	tab.press("Reveal live key")
	tab.fill("#code", b.code(t, 1))
	tab.press("Continue")
	if token := secret(); !strings.HasPrefix(token, "sk_live_") {
		t.Error("no live key is shown")
	}
	tab.fill("#note", "vault: live")
	tab.press("Done")
	tab.sees("vault: live")
	tab.click(`.modes a:not([aria-current])`)

	// A restricted key: find, set all at once, one by one, and the sum of it, each by a button that asks the server.
	tab.press("Create restricted key")
	tab.fill("#name", "billing")
	tab.fill("#note", "vault: billing")
	tab.fill("#filter", "cust")
	tab.press("Find")
	tab.sees("customers")
	if name := tab.eval(`document.getElementById("name").value`); name != "billing" {
		t.Errorf("the name is %q after looking for a resource", name)
	}
	tab.choose(`input[name="p.customers"][value=write]`, "write")
	tab.press("Update")
	tab.sees("Read and write customers")
	tab.fill("#filter", "")
	tab.press("Find")
	tab.choose(`input[name="p.charges"][value=read]`, "read")
	tab.press("Update")
	tab.sees("Read and write customers")
	tab.sees("Read charges")
	tab.pictures("noscript-key-new")
	tab.press("Create key")
	restricted := secret()
	tab.pictures("noscript-secret")
	if got := [3]int{b.call(t, "POST", "/v1/customers", restricted), b.call(t, "GET", "/v1/charges", restricted), b.call(t, "POST", "/v1/charges", restricted)}; got != [3]int{200, 200, 403} {
		t.Errorf("the restricted key: %v", got)
	}
	tab.press("Done")

	// Edit and note, from the menu, which opens without a script too.
	id := b.sandboxKey(t, account.ID, "billing")
	row := `tr:has(a[href*="` + id + `"]) `
	tab.touch(row + "details.more summary")
	tab.pictures("noscript-menu")
	tab.click(row + `.pop a[href*="/edit"]`)
	tab.fill("#note", "in the other vault")
	tab.press("Save")
	tab.sees("in the other vault")

	// IP ranges: rows, the text, and rows again.
	tab.press("Manage IP restrictions")
	tab.choose(`input[name=limited][value=yes]`, "yes")
	tab.fill(`input[name=address]`, "203.0.113.7")
	tab.press("+ Add")
	tab.fill(`tr:last-child input[name=address]`, "198.51.100.0")
	tab.fill(`tr:last-child input[name=prefix]`, "24")
	tab.pictures("noscript-key-ip")
	tab.press("Bulk manage")
	if text := tab.eval(`document.getElementById("ranges").value`); text != "203.0.113.7\n198.51.100.0/24" {
		t.Errorf("the other tab has %q", text)
	}
	tab.fill("#ranges", "203.0.113.7 198.51.100.0/24\n192.0.2.0/33")
	tab.press("Save")
	tab.sees("192.0.2.0/33")
	tab.fill("#ranges", "203.0.113.7 198.51.100.0/24 127.0.0.1")
	tab.press("Individual")
	tab.click(`button[name=remove][value^="198.51.100.0"]`)
	tab.press("Save")
	tab.sees("IP restrictions are saved")
	tab.sees("127.0.0.1")
	tab.lacks("198.51.100.0")
	if status := b.call(t, "GET", "/v1/charges", restricted); status != 200 {
		t.Errorf("from an address of the list: %d", status)
	}

	// Duplicate, rotate with an overlap, delete.
	tab.press("Duplicate key")
	tab.fill("#name", "billing 2")
	tab.press("Create duplicate")
	secret()
	tab.press("Done")
	tab.open(in("sandbox", "keys/"+id+"/rotate"))
	tab.pictures("noscript-rotate")
	tab.choose("#expires", "1h")
	tab.press("Rotate API key")
	rotated := secret()
	tab.press("Done")
	tab.sees("Expires in")
	next := b.sandboxKey(t, account.ID, "billing")
	tab.open(in("sandbox", "keys/"+next))
	tab.press("Delete key")
	tab.press("Delete key")
	tab.sees("The key is deleted")
	if got := [2]int{b.call(t, "GET", "/v1/charges", restricted), b.call(t, "GET", "/v1/charges", rotated)}; got != [2]int{200, 401} {
		t.Errorf("after the rotation, and the end of the replacement: %v", got)
	}

	// The log: the key's own, filters, one record, why, what would allow it, and the export.
	tab.open(in("sandbox", "keys/"+id))
	tab.press("View request logs")
	tab.waitsFor("Permission denied")
	tab.sees("The live tail needs scripts")
	if tab.eval(`document.getElementById("tail").checkVisibility()`) != "false" {
		t.Error("the button for the live tail is there, and would do nothing")
	}
	tab.pictures("noscript-logs")
	tab.fill("#f-status", "403")
	tab.press("Apply")
	tab.sees("POST /v1/charges")
	tab.lacks("GET /v1/charges<")
	tab.press("POST /v1/charges")
	tab.sees("What would allow this?")
	tab.pictures("noscript-log-record")
	tab.press("What would allow this?")
	tab.sees("charges_write")
	tab.fill("#path", "/v1/customers")
	tab.press("Explain")
	tab.sees("Allowed")
	tab.open(in("sandbox", "logs?status=403"))
	tab.touch(".actions details summary")
	tab.eval(`(document.querySelector('.pop a[href*="format=jsonl"]').click(), true)`)
	if text := saved(t, files); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"permission_denied"`) || strings.Contains(text, restricted) {
		t.Errorf("the export is %q", text)
	}

	// The other flows that forms alone carry.
	tab.open(in("sandbox", "sandboxes"))
	tab.fill("#name", "staging")
	tab.press("Create sandbox")
	tab.sees("The sandbox is made")
	tab.sees("staging")
	tab.click(`form[action$="/sign_out"] button`)
	tab.sees("You are signed out")
}

// waitsFor loads the page again until it shows a text: by itself a page stays as it was when it came.
func (b *tab) waitsFor(text string) {
	b.t.Helper()
	b.reloads("the text "+text, `document.body.innerText.includes(`+quoteJS(text)+`)`)
}

// reloads loads the page again until a condition holds.
func (b *tab) reloads(what, condition string) {
	b.t.Helper()
	for end := time.Now().Add(browserLimit); b.eval(condition) != "true"; b.open(strings.TrimPrefix(b.eval("location.href"), b.base)) {
		if time.Now().After(end) {
			b.t.Fatalf("the page never has %s: %s", what, b.textOf())
		}
	}
}

// clickFor clicks an element with the mouse.
func (b *tab) clickFor(element string) {
	b.t.Helper()
	at := b.eval(`(() => { const e = ` + element + `; e.closest("details")?.setAttribute("open", ""); e.scrollIntoView({ block: "center", behavior: "instant" }); const r = e.getBoundingClientRect(); return JSON.stringify({ x: r.x + r.width / 2, y: r.y + r.height / 2 }); })()`)
	var point struct{ X, Y float64 }
	mustJSON(b.t, at, &point)
	b.run("clicking", chromedp.MouseClickXY(point.X, point.Y))
}
