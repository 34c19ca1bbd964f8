package api_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/policy"
)

func init() {
	for _, media := range []string{"application/x-ndjson", "application/x-tar", "text/csv"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
}

// file sends a file of keys.
func (f *fixture) file(query, media, body string, headers ...string) *answer {
	f.t.Helper()
	return f.do("POST", "/v1/key_imports"+query, body, append([]string{"Content-Type", media}, headers...)...)
}

// want is the answer if it has the status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s answered %d, want %d: %s", a.call, a.status, status, a.body)
	}
	return a
}

const (
	jsonLines = "application/x-ndjson"
	csvText   = "text/csv; charset=utf-8"
)

func TestKeyFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Shop").ID
	lines := fmt.Sprintf(`{"token":"sk_test_123","kind":"secret","mode":"sandbox","account":%q}`+"\r\n\n"+
		`{"sha256":"%s","last4":"9zZ9","kind":"restricted","mode":"live","account":%q,"name":"billing","permissions":{"charges":"write"}}`,
		a, strings.Repeat("ab", 32), a)
	dry := as[api.KeyFileImport](f.file("?dry_run=true", jsonLines, lines).want(200))
	if dry.Keys != 2 || !dry.DryRun || dry.ID != nil || dry.Counts["live restricted"] != 1 || f.store.Len() != 4 {
		t.Errorf("the dry run answers %+v, and the store has %d keys", dry, f.store.Len())
	}
	done := f.file("", jsonLines, lines, "Idempotency-Key", "once").want(200)
	sum := as[api.KeyFileImport](done)
	if sum.Keys != 2 || sum.ID == nil || sum.First == nil || f.store.Len() != 6 {
		t.Errorf("the import answers %+v, and the store has %d keys", sum, f.store.Len())
	}
	again := f.file("", jsonLines, lines, "Idempotency-Key", "once").want(200)
	if !bytes.Equal(again.body, done.body) || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the repetition answers %s", again.body)
	}
	d := policy.DigestOf("sk_test_123")
	if k, _ := f.store.Lookup(&d); k == nil || !k.Imported || k.ID != *sum.First {
		t.Errorf("the token leads to %+v", k)
	}
	f.file("", jsonLines, lines).want(409)

	table := "\xef\xbb\xbfToken,kind,mode,account,name,permissions,ip_ranges,metadata\n" +
		"t-1,restricted,live," + a + ",\"two, words\",charges=write customers=read,1.2.3.4 5.6.7.8,team=x;env=y\n" +
		"t-2,restricted,live," + a + ",none at all,none,,\"{\"\"a\"\":\"\"b\"\"}\"\n"
	if sum = as[api.KeyFileImport](f.file("", csvText, table).want(200)); sum.Keys != 2 {
		t.Errorf("CSV: %+v", sum)
	}
	d = policy.DigestOf("t-1")
	k, _ := f.store.Lookup(&d)
	if k == nil || k.Principal.Permissions.Len() != 2 || len(k.IPRanges) != 2 || k.Metadata["env"] != "y" {
		t.Errorf("CSV: %+v", k)
	}
	events := as[api.EventList](f.ok("GET", "/v1/events?object="+k.ID, nil))
	if len(events.Data) != 1 || events.Data[0].Type != "key_import.completed" || events.Data[0].Object != *sum.ID {
		t.Errorf("events of an imported key: %+v", events)
	}
}

func TestKeyFileErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Shop").ID
	row := func(token string) string {
		return fmt.Sprintf(`{"token":%q,"kind":"secret","mode":"live","account":%q}`+"\n", token, a)
	}
	head := "token,kind,mode,account\n"
	tests := []struct {
		name, media, body string
		status            int
		lines             string // line:param:code of each error
	}{
		{"nothing", jsonLines, "\n\n", 400, ""},
		{"only a head", csvText, head, 400, ""},
		{"several", jsonLines, row("aaaa1") + row("aaaa1") + "{\n" + row("aaaa2") + `{"token":"aaaa3","kind":"sekret","mode":"live"}` + "\n", 409,
			"2:token:conflict 3::body_invalid 5:kind:parameter_invalid"},
		{"unknown field", jsonLines, `{"tokn":"aaaa1"}`, 400, "1:tokn:parameter_unknown"},
		{"no owner", jsonLines, `{"token":"aaaa1","kind":"secret","mode":"live","account":"acct_0000000000000000"}`, 404, "1:account:resource_missing"},
		{"a long line", jsonLines, row("aaaa1") + `{"note":"` + strings.Repeat("x", 70<<10) + `"}` + "\n" + row("aaaa2"), 400, "2::body_invalid"},
		{"no head", csvText, "aaaa-1,secret,live," + a + "\n", 400, "1::body_invalid"},
		{"too few cells", csvText, head + "aaaa-1,secret,live\n", 400, "2::body_invalid"},
		{"a bad cell", csvText, "token,kind,mode,account,permissions\naaaa-1,restricted,live," + a + ",charges\naaaa-2,sekret,live," + a + ",\n", 400,
			"2:permissions:parameter_invalid 3:kind:parameter_invalid"},
		{"an open quote", csvText, head + "aaaa-1,secret,live,\"" + strings.Repeat("x\n", 60<<10), 400, "2::body_invalid"},
		{"not text", jsonLines, "\xff\xfe{\n", 400, "1::body_invalid"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := as[api.ErrorBody](f.file("", tc.media, tc.body).want(tc.status)).Error
			var lines []string
			for _, e := range got.Errors {
				lines = append(lines, fmt.Sprintf("%d:%s:%s", e.Line, e.Param, e.Code))
			}
			if strings.Join(lines, " ") != tc.lines {
				t.Errorf("got %q (%s), want %q", lines, got.Message, tc.lines)
			}
			if strings.Contains(fmt.Sprint(got), "aaaa") {
				t.Errorf("the answer repeats a token: %+v", got)
			}
		})
	}
	var many strings.Builder
	for range 150 {
		many.WriteString("{}\n")
	}
	if got := as[api.ErrorBody](f.file("", jsonLines, many.String()).want(400)).Error; len(got.Errors) != 100 {
		t.Errorf("%d errors are listed, want 100", len(got.Errors))
	}
	for _, media := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		f.file("", media, row("aaaa1")).want(415)
	}
	f.file("", jsonLines, row("aaaa1"), "Content-Encoding", "gzip").want(415)
	f.file("?dryrun=true", jsonLines, row("aaaa1")).want(400)
	if f.store.Len() != 4 {
		t.Errorf("the store has %d keys, want the account's 4", f.store.Len())
	}
}
