package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/dashboard"
	"github.com/keystile/keystile/policy"
)

// fuzzedForms are the paths of all forms, sorted.
func fuzzedForms(f *testing.F) []string {
	f.Helper()
	d, ok := newFixture(f).handler.(*dashboard.Dashboard)
	if !ok {
		f.Fatal("the fixture's handler is no Dashboard")
	}
	var all []string
	for pattern := range d.Patterns() {
		if path, ok := strings.CutPrefix(pattern, "POST "); ok {
			all = append(all, path)
		}
	}
	slices.Sort(all)
	return all
}

// formSeeds are forms as pages send them, and some that no page sends.
var formSeeds = []string{
	"name=x&note=vault&expires=never&_once=1",
	"name=x&limit=yes&ranges=10.0.0.1+10.0.0.0%2F8&p.charges=write&c.charges=read&connected=yes&save=1",
	"address=10.0.0.1&prefix=32&address=&prefix=&again=1&limit=yes",
	"filter=cha&filtered=&group=&grouped=&kept=AAAA&set=read&p.charges=none&from=x&enter=1",
	"meta_was=a&meta_name=a&meta_value=b&meta_name=&meta_value=&meta_name=a&meta_value=c&revision=1",
	"how=later&at=2026-03-02T12%3A00&expires=custom&expires_at=2027-01-01&overlap=24h&days=90&ends=now&force=yes",
	"email=jenny%40example.com&role=viewer&on=%7B%7D&others=viewer+acct_x%0Aowner&email_unproven=yes&grants=1",
	"url=https%3A%2F%2Fexample.com%2Fhook&events=*&events=key.created&description=d&status=disabled&event=evt_x",
	"email=jenny%40example.com&password=x&code=123456&use=recovery&sealed=AAAA&next=%2F%2Fevil.example",
	"invitation=inv_x&name=Jenny&email=jenny%40example.com&password=correct+horse+battery&again=correct+horse+battery",
	"method=GET&path=%2Fv1%2Fcharges&key=sk_live_x&context=acct_x&origin=null&object=key_x",
	"current_password=x&password=y&again=z&code=12345678&recovery=1&verification=ver_x&another=1",
	"a&a=&=a&%zz=1&;&a=%00%ff%ed%a0%80&" + "name=%3Cscript%3Ealert(1)%3C%2Fscript%3E",
}

// FuzzForm sends any form with any id, query and fields to any page, as an owner and as a guest. No answer blames the server,
// none is a page that its own policy forbids, and what was sent does not come back as markup.
func FuzzForm(f *testing.F) {
	forms := fuzzedForms(f)
	bed := newFixture(f)
	key := bed.defaultKey(policy.KindSecret, policy.ModeLive).ID
	for i := range forms {
		for _, seed := range formSeeds {
			f.Add(uint8(i), false, key, "", []byte(seed))
		}
		f.Add(uint8(i), true, "x", "show=all&tab=x&next=/", []byte(formSeeds[8]))
	}
	handler, guests := bed.handler, newFixture(f)
	guests.guest()
	f.Fuzz(func(t *testing.T, which uint8, guest bool, id, query string, form []byte) {
		owner := bed.account
		path := strings.NewReplacer("{owner}", owner, "{mode}", []string{"live", "sandbox"}[len(form)%2], "{id}", url.PathEscape(id)).Replace(forms[int(which)%len(forms)])
		target := path
		if query != "" {
			target += "?" + query
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(form)))
		r.URL, r.RequestURI = u, target
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		w, to := httptest.NewRecorder(), handler
		if guest {
			to = guests.handler
		}
		to.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("POST %s %q: %d %.2000s", target, form, w.Code, text(w.Body.String()))
		}
		got := &answer{t: t, call: "POST " + target, status: w.Code, header: w.Header(), body: w.Body.String()}
		got.check()
		if to := w.Header().Get("Location"); strings.HasPrefix(to, "//") || strings.Contains(to, "\\") || to != "" && !strings.HasPrefix(to, "/") {
			t.Fatalf("POST %s %q leads to %q", target, form, to)
		}
	})
}
