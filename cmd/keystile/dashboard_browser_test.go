package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// The browser tests drive a real Chromium against the real binary. Pictures of all pages are kept for who wants to look at
// them; the directory is ignored by git.
const picturesDir = "../../.artifacts/screenshots"

// browserLimit bounds one step in the browser. It is long because machines are busy; nothing is asserted on it.
const browserLimit = 60 * time.Second

// tab is one page of a browser with a profile of its own.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string // URL of the dashboard
	bare bool   // scripts are switched off: see withoutScripts
	wide int64  // of the window, in pixels

	mu     sync.Mutex
	faults []string // what the browser's console complained of
}

// look is a size of window and a colour scheme.
type look struct {
	width int64
	dark  bool
}

func (l look) String() string {
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	return fmt.Sprintf("%d-%s", l.width, scheme)
}

// looks are those in which every page is looked at.
var looks = []look{{1280, false}, {1280, true}, {390, false}, {390, true}}

// newTab starts a browser. Complaints of its console fail the test: a blocked script or style is one.
func newTab(t *testing.T, base string) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(browserLimit),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	b := &tab{t: t, base: base}
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(b.hear))
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting chromium (.ci/deps installs it): %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.picture("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("closing the browser: %v", err)
		}
		cancel()
		stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, fault := range b.faults {
			t.Errorf("the browser complained: %s", fault)
		}
	})
	b.run("listening", command(runtime.Enable, cdp.Empty{}), command(cdplog.Enable, cdp.Empty{}))
	b.as(looks[0])
	return b
}

// hear keeps what the console says is wrong. An answer with a status that the test wants is nothing wrong.
func (b *tab) hear(event any) {
	text := ""
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError && !strings.Contains(e.Entry.Text, "the server responded with a status of") {
			text = e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
	}
	if text == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, text)
}

// command is a command of the browser's protocol as a step.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

// run does steps in the browser.
func (b *tab) run(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v\non the page: %.1500s", what, err, b.textOf())
	}
}

// js is the value of an expression in the page, as text.
func (b *tab) js(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("(async () => String(await ("+expression+")))()", chromedp.EvalAwaitPromise))
	return text, err
}

// eval is js for what must succeed.
func (b *tab) eval(expression string) string {
	b.t.Helper()
	text, err := b.js(expression)
	if err != nil {
		b.t.Fatalf("evaluating %.200s: %v\non the page: %.1500s", expression, err, b.textOf())
	}
	return text
}

// until waits until an expression is true. Between two pages there is nothing to ask, which is no error.
func (b *tab) until(what, condition string) {
	b.t.Helper()
	last := ""
	for end := time.Now().Add(browserLimit); time.Now().Before(end); time.Sleep(15 * time.Millisecond) {
		text, err := b.js(condition)
		if err == nil && text == "true" {
			return
		}
		last = fmt.Sprint(text, err)
	}
	b.t.Fatalf("waiting for %s: %s\non the page: %.1500s", what, last, b.textOf())
}

func (b *tab) textOf() string {
	text, _ := b.js(`location.href + "\n" + document.body.innerText`)
	return text
}

// as sets the size of the window and the colour scheme.
func (b *tab) as(l look) {
	b.t.Helper()
	b.wide = l.width
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	b.run("setting the look",
		command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: 900, DeviceScaleFactor: 1, Mobile: l.width < 500}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// there is when a page has come after the one that has the mark.
const there = `!window.before && document.readyState === "complete" && document.querySelector("main") !== null`

// open goes to a path.
func (b *tab) open(path string) {
	b.t.Helper()
	b.run("opening "+path, chromedp.Navigate("about:blank"), chromedp.Navigate(b.base+path))
	b.until("the page "+path, there)
}

// click clicks what a CSS selector finds first, and waits for the page that follows.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.follow("clicking "+selector, `document.querySelector(`+quoteJS(selector)+`)`)
}

// press clicks the link or button with this text, in the main part of the page.
func (b *tab) press(text string) {
	b.t.Helper()
	b.follow("pressing "+text, `[...document.querySelectorAll("main a, main button, main summary")].find(e => e.textContent.trim() === `+quoteJS(text)+` && !e.classList.contains("default"))`)
}

// follow clicks an element and waits for the page that follows.
func (b *tab) follow(what, element string) {
	b.t.Helper()
	b.until(what, `!!`+element)
	if b.bare { // nor do timers run
		b.eval(`(window.before = true)`)
		b.clickFor(element)
		b.until("the page after "+what, there)
		return
	}
	b.eval(`(window.before = true, setTimeout(() => ` + element + `.click()), true)`)
	b.until("the page after "+what, there)
}

// touch clicks what stays on the page.
func (b *tab) touch(selector string) {
	b.t.Helper()
	b.until(selector, `!!document.querySelector(`+quoteJS(selector)+`)`)
	b.eval(`(document.querySelector(` + quoteJS(selector) + `).click(), true)`)
}

// fill types into a field; what was in it is replaced.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.until(selector, `!!document.querySelector(`+quoteJS(selector)+`)`)
	b.eval(`(document.querySelector(` + quoteJS(selector) + `).value = "", true)`)
	b.run("filling "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// choose sets a select or a radio button.
func (b *tab) choose(selector, value string) {
	b.t.Helper()
	b.until(selector, `!!document.querySelector(`+quoteJS(selector)+`)`)
	b.eval(`(() => {
		const e = document.querySelector(` + quoteJS(selector) + `);
		if (e.type === "radio") e.checked = true; else e.value = ` + quoteJS(value) + `;
		e.dispatchEvent(new Event("change", { bubbles: true }));
	})()`)
}

// sees waits until the page shows a text.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.until("the text "+text, `document.body.innerText.includes(`+quoteJS(text)+`)`)
}

// has says whether the page shows a text now.
func (b *tab) has(text string) bool {
	b.t.Helper()
	return b.eval(`document.body.innerText.includes(`+quoteJS(text)+`)`) == "true"
}

// lacks wants a text not to be in the page, seen or not.
func (b *tab) lacks(text string) {
	b.t.Helper()
	if b.eval(`document.documentElement.outerHTML.includes(`+quoteJS(text)+`)`) != "false" {
		b.t.Errorf("the page %s has %q", b.eval("location.href"), text)
	}
}

// picture keeps a picture of the whole page.
func (b *tab) picture(name string) {
	ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Errorf("taking the picture %s: %v", name, err)
		return
	}
	if err := os.MkdirAll(picturesDir, 0o755); err != nil {
		b.t.Error(err)
		return
	}
	if err := os.WriteFile(filepath.Join(picturesDir, name+".png"), png, 0o600); err != nil {
		b.t.Error(err)
	}
}

// axe is the text of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile("testdata/axe/node_modules/axe-core/axe.min.js")
	return string(text), err
})

// accessible holds the page that is open against the rules of WCAG 2.2 AA that a program can check, and against what a narrow
// window needs. within selects the part that is judged, "" the whole.
func (b *tab) accessible(name, within string) {
	b.t.Helper()
	text, err := axe()
	if err != nil {
		b.t.Fatalf("reading axe-core (.ci/deps installs it): %v", err)
	}
	b.run("loading axe-core", chromedp.Evaluate[chromedp.Void](text+"; undefined"))
	part := "document"
	if within != "" {
		part = `document.querySelector(` + quoteJS(within) + `)`
	}
	report := b.eval(`axe.run(` + part + `, {
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	}).then(r => JSON.stringify(r.violations.map(v => ({ id: v.id, help: v.help, nodes: v.nodes.slice(0, 4).map(n => n.html.slice(0, 200) + " | " + (n.any[0] || n.all[0] || n.none[0] || {}).message) }))))`)
	var violations []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(report), &violations); err != nil {
		b.t.Fatalf("%s: reading the report: %v: %s", name, err, report)
	}
	for _, v := range violations {
		b.t.Errorf("%s: %s: %s\n\t%s", name, v.ID, v.Help, strings.Join(v.Nodes, "\n\t"))
	}
	b.fits(name)
}

// fits wants the page to be no wider than its window.
func (b *tab) fits(name string) {
	b.t.Helper()
	// A phone's browser widens the window to what does not fit: the width that was set is what counts.
	if wide := b.eval(fmt.Sprintf(`Math.max(0, document.documentElement.scrollWidth - %d)`, b.wide)); wide != "0" {
		b.t.Errorf("%s: the page is %s pixels wider than its window: %s", name, wide, b.eval(fmt.Sprintf(`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > %d + 1 && !e.closest(".scroll, pre, .side, .sr")).slice(0, 5).map(e => e.outerHTML.slice(0, 100)).join("\n")`, b.wide)))
	}
}

// gallery looks at a page in all looks: a picture of each, and its accessibility.
func (b *tab) gallery(name string) {
	b.t.Helper()
	b.galleryOf(name, "")
}

// galleryOf is gallery for a page on which something lies over the rest, as an open menu does: axe-core takes what is half
// covered for too small, so it judges the part on top.
func (b *tab) galleryOf(name, within string) {
	b.t.Helper()
	for _, l := range looks {
		b.as(l)
		b.accessible(name+" "+l.String(), within)
		b.picture(name + "-" + l.String())
	}
	b.as(looks[0])
}

func quoteJS(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return string(text)
}

func mustJSON(t *testing.T, text string, out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// appCode is what an authenticator app shows for a secret.
func appCode(t *testing.T, secret string) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}
