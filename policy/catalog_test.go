package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rule reads "resource access METHOD[,METHOD] pattern" with access read, write, publishable, or read+publishable.
func rule(line int, s string) Rule {
	f := strings.Fields(s)
	r := Rule{Resource: f[0], Methods: strings.Split(f[2], ","), Pattern: f[3], File: "Caddyfile", Line: line}
	access, _, both := strings.Cut(f[1], "+")
	r.Publishable = both || access == "publishable"
	if access != "publishable" {
		r.Access, _ = ParseAccess(access)
	}
	return r
}

func ruleList(lines ...string) []Rule {
	var list []Rule
	for i, s := range lines {
		list = append(list, rule(i+1, s))
	}
	return list
}

func mustCatalog(tb testing.TB, lines ...string) *Catalog {
	tb.Helper()
	c, err := NewCatalog(ruleList(lines...), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestCatalogMatch(t *testing.T) {
	t.Parallel()
	c := mustCatalog(t,
		"charges read GET /v1/charges",
		"charges read GET /v1/charges/*",
		"charges write POST,DELETE /v1/charges/{id}",
		"search read GET /v1/charges/search",
		"refunds write POST /v1/charges/{charge}/refunds",
		"disputes read GET /v1/{noun}/{id}/dispute",
		"special read GET /v1/{noun}/fixed",
		"root read GET /",
		"slash read GET /slash/",
		"public read GET /public/*",
		"head read HEAD /v1/heads",
		"heads write GET /v1/heads",
		"exports write GET /v1/exports",
		"tokens publishable POST /v1/tokens",
		"tokens publishable GET /v1/tokens/{id}",
		"both read+publishable POST /v1/both",
		"spaces read GET /a%/é",
		"custom write PURGE /v1/cache",
		"deep read GET /x/{a}/{b}/c/end",
		"deep_wild read GET /x/{a}/*",
	)
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/v1/charges", "charges_read"},
		{"HEAD", "/v1/charges", "charges_read"},
		{"GET", "/v1/charges/", "charges_read"}, // the wildcard: a further segment, which is empty
		{"GET", "/v1/charges/ch_1", "charges_read"},
		{"GET", "/v1/charges/ch_1/a/b/c", "charges_read"},
		{"POST", "/v1/charges/ch_1", "charges_write"},
		{"DELETE", "/v1/charges/ch_1", "charges_write"},
		{"PUT", "/v1/charges/ch_1", ""}, // known with other methods only
		{"POST", "/v1/charges", ""},
		{"POST", "/v1/charges/", ""},                    // {id} is not empty
		{"GET", "/v1/charges/search", "search_read"},    // literal before parameter and wildcard
		{"POST", "/v1/charges/search", "charges_write"}, // the most specific one that serves the method
		{"POST", "/v1/charges/ch_1/refunds", "refunds_write"},
		{"GET", "/v1/charges/ch_1/refunds", "charges_read"}, // back to the wildcard
		{"GET", "/v1/charges/ch_1/dispute", "charges_read"}, // the literal "charges" comes first from the left
		{"GET", "/v1/invoices/in_1/dispute", "disputes_read"},
		{"GET", "/v1/invoices/fixed", "special_read"},
		{"GET", "/v1/charges/fixed", "charges_read"},
		{"GET", "/", "root_read"},
		{"GET", "/v1", ""},
		{"GET", "/v1/", ""},
		{"GET", "/slash/", "slash_read"},
		{"GET", "/slash", ""},
		{"GET", "/public", ""},
		{"GET", "/public/", "public_read"},
		{"GET", "/public/a/b", "public_read"},
		{"GET", "/publicity/a", ""},
		{"GET", "/V1/Charges", ""},
		{"get", "/v1/charges", ""},
		{"", "/v1/charges", ""},
		{"HEAD", "/v1/heads", "head_read"},
		{"GET", "/v1/heads", "heads_write"},
		{"HEAD", "/v1/exports", "exports_write"}, // HEAD is covered by the rule for GET, whatever that needs
		{"POST", "/v1/tokens", "tokens_write publishable"},
		{"GET", "/v1/tokens/tok_1", "tokens_read publishable"},
		{"HEAD", "/v1/tokens/tok_1", "tokens_read publishable"},
		{"POST", "/v1/both", "both_read publishable"},
		{"GET", "/a%/é", "spaces_read"},
		{"PURGE", "/v1/cache", "custom_write"},
		{"GET", "/x/1/2/c/end", "deep_read"},
		{"GET", "/x/1/2/c/other", "deep_wild_read"},
		{"GET", "/x/1", ""},
		{"GET", "", ""},
		{"GET", "v1/charges", ""},
		{"GET", "*", ""},
		{"GET", "/" + strings.Repeat("a/", 5000), ""},
	} {
		route := c.Match(tt.method, tt.path)
		got := route.Permission
		if route.Publishable {
			got += " publishable"
		}
		if got != tt.want || route.Known != (tt.want != "") {
			t.Errorf("%s %.40s: got %q (%+v), want %q", tt.method, tt.path, got, route, tt.want)
		}
	}
	var none *Catalog
	if none.Match("GET", "/").Known || none.Has("charges") || none.Resources() != nil {
		t.Error("the nil catalog must know nothing")
	}
}

func TestCatalogOverrides(t *testing.T) {
	t.Parallel()
	source := ruleList(
		"charge read GET /v1/charges/{charge}",
		"charge write POST /v1/charges",
		"invoice write POST /v1/invoices/preview",
		"token write POST /v1/tokens",
		"key write+publishable POST /v1/keys",
		"head read GET /v1/head",
		"head read HEAD /v1/head",
		"mark write POST /v1/mark",
	)
	overrides := []Rule{
		rule(1, "payments read GET /v1/charges/{id}"),     // another resource, another name of the parameter
		rule(2, "invoice read POST /v1/invoices/preview"), // another access
		rule(3, "token publishable POST /v1/tokens"),      // only the mark: the access of the source stays
		rule(4, "key write POST /v1/keys"),                // takes the mark away
		rule(5, "head write GET /v1/head"),                // HEAD of the source must not be a way around it
		rule(6, "other publishable POST /v1/mark"),        // another resource: access by method
		rule(7, "extra read GET /v1/extra"),
	}
	c, err := NewCatalog(source, overrides)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/v1/charges/ch_1", "payments_read false"},
		{"POST", "/v1/charges", "charge_write false"},
		{"POST", "/v1/invoices/preview", "invoice_read false"},
		{"POST", "/v1/tokens", "token_write true"},
		{"POST", "/v1/keys", "key_write false"},
		{"HEAD", "/v1/head", "head_write false"},
		{"POST", "/v1/mark", "other_write true"},
		{"GET", "/v1/extra", "extra_read false"},
	} {
		r := c.Match(tt.method, tt.path)
		if got := fmt.Sprint(r.Permission, " ", r.Publishable); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestCatalogErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		rules []string
		want  string
	}{
		{"other resource", []string{"a read GET /x", "b read GET /x"}, "Caddyfile:2: GET /x is b here and a at Caddyfile:1"},
		{"other access", []string{"a read GET /x/{i}", "a write GET /x/{j}"}, "Caddyfile:2: GET /x/{j} needs write here and read at Caddyfile:1"},
		{"twice", []string{"a read GET /x/*", "a read HEAD,GET /x/*"}, "Caddyfile:2: GET /x/* is there already, at Caddyfile:1"},
		{"marked twice", []string{"a publishable GET /x", "a publishable GET /x"}, "Caddyfile:2: GET /x is marked publishable already, at Caddyfile:1"},
		{"mark on another resource", []string{"a read GET /x", "b publishable GET /x"}, "Caddyfile:2: GET /x is b here and a at Caddyfile:1"},
		{"method twice in one rule", []string{"a read GET,GET /x"}, "Caddyfile:1: GET /x is there already, at Caddyfile:1"},
		{"resource in capitals", []string{"Charges read GET /x"}, `Caddyfile:1: the resource name "Charges" must be`},
		{"resource with a dash", []string{"a-b read GET /x"}, "must be lower-case letters"},
		{"resource with a digit first", []string{"1a read GET /x"}, "must be lower-case letters"},
		{"resource that ends in an underscore", []string{"a_ read GET /x"}, "must be lower-case letters"},
		{"long resource", []string{strings.Repeat("a", 65) + " read GET /x"}, "must be lower-case letters"},
		{"nothing given", []string{"a none GET /x"}, "gives nothing: say read, write or publishable"},
		{"CONNECT", []string{"a read CONNECT /x"}, "the method CONNECT is never served"},
		{"TRACE", []string{"a read TRACE /x"}, "the method TRACE is never served"},
		{"method in small letters", []string{"a read get /x"}, `"get" is no method`},
		{"no slash", []string{"a read GET x"}, `the pattern "x" must start with a slash`},
		{"empty segment", []string{"a read GET //x"}, "it has an empty segment"},
		{"empty segment inside", []string{"a read GET /x//y"}, "it has an empty segment"},
		{"empty segment before the wildcard", []string{"a read GET /x//*"}, "it has an empty segment"},
		{"two slashes at the end", []string{"a read GET /x//"}, "it has an empty segment"},
		{"dot segment", []string{"a read GET /x/../y"}, "it has a dot segment"},
		{"dot segment at the end", []string{"a read GET /x/."}, "it has a dot segment"},
		{"escaped", []string{"a read GET /x%2Fy"}, "write the character instead of %2F"},
		{"query", []string{"a read GET /x?y=1"}, "take no part in matching"},
		{"fragment", []string{"a read GET /x#y"}, "take no part in matching"},
		{"matrix parameter", []string{"a read GET /x;y=1"}, "matrix parameters take no part"},
		{"backslash", []string{`a read GET /x\y`}, "it has a backslash"},
		{"control character", []string{"a read GET /x\x01y"}, "control character"},
		{"no UTF-8", []string{"a read GET /x\xff"}, "not UTF-8"},
		{"wildcard inside", []string{"a read GET /x/*/y"}, "'*' that is not its last segment"},
		{"wildcard in a segment", []string{"a read GET /x/y*"}, "'*' must be a whole segment"},
		{"two stars", []string{"a read GET /x/**"}, "'*' must be a whole segment"},
		{"parameter in a segment", []string{"a read GET /x/{id}.json"}, "braces must enclose a whole segment"},
		{"open brace", []string{"a read GET /x/{id"}, "braces must enclose a whole segment"},
		{"nested braces", []string{"a read GET /x/{{id}}"}, "braces must enclose a whole segment"},
		{"no name", []string{"a read GET /x/{}"}, "a parameter needs a name"},
		{"long pattern", []string{"a read GET /" + strings.Repeat("x", 1024)}, "longer than 1024 bytes"},
		{"deep pattern", []string{"a read GET " + strings.Repeat("/x", 65)}, "more than 64 segments"},
	} {
		c, err := NewCatalog(ruleList(tt.rules...), nil)
		var e *RuleError
		if c != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "Caddyfile:") {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
		if _, err := NewCatalog(nil, ruleList(tt.rules...)); err == nil {
			t.Errorf("%s as overrides: got a catalog, want an error", tt.name)
		}
	}
	for _, r := range []Rule{
		{Resource: "a", Access: AccessRead, Pattern: "/x"},
		{Resource: "a", Access: AccessRead, Methods: []string{"GET"}},
		{Resource: "a", Access: AccessRead, Methods: []string{""}, Pattern: "/x"},
		{Resource: "a", Access: 3, Methods: []string{"GET"}, Pattern: "/x"},
		{Access: AccessRead, Methods: []string{"GET"}, Pattern: "/x"},
	} {
		if _, err := NewCatalog([]Rule{r}, nil); err == nil || strings.HasPrefix(err.Error(), ":") {
			t.Errorf("%+v: got %v, want an error without place", r, err)
		}
	}
}

// All errors are named at once, in the order of the file, but not without end.
func TestCatalogErrorsTogether(t *testing.T) {
	t.Parallel()
	var lines []string
	for range 30 {
		lines = append(lines, "Bad read GET /x")
	}
	_, err := NewCatalog(ruleList(lines...), nil)
	got := strings.Split(err.Error(), "\n")
	if len(got) != 21 || !strings.HasPrefix(got[0], "Caddyfile:1: ") || !strings.HasPrefix(got[19], "Caddyfile:20: ") || got[20] != "and 10 more" {
		t.Errorf("got %d lines:\n%v", len(got), err)
	}
}

func TestCatalogResources(t *testing.T) {
	t.Parallel()
	c := mustCatalog(t, "b write POST /b", "a read GET /a/{id}", "a read+publishable GET /a", "b publishable GET /b")
	got := fmt.Sprintf("%+v", c.Resources())
	want := "[{Name:a Read:true Write:false Routes:[{Method:GET Pattern:/a Access:read Publishable:true File:Caddyfile Line:3} " +
		"{Method:GET Pattern:/a/{id} Access:read Publishable:false File:Caddyfile Line:2}]} " +
		"{Name:b Read:true Write:true Routes:[{Method:GET Pattern:/b Access:read Publishable:true File:Caddyfile Line:4} " +
		"{Method:POST Pattern:/b Access:write Publishable:false File:Caddyfile Line:1}]}]"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for name, want := range map[string]bool{"a": true, "b": true, "": false, "c": false, "A": false} {
		if c.Has(name) != want {
			t.Errorf("Has(%q): got %v, want %v", name, !want, want)
		}
	}
}

func TestPathSet(t *testing.T) {
	t.Parallel()
	s, err := NewPathSet([]string{"/healthz", "/public/*", "/docs/{page}"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/healthz": true, "/healthz/": false, "/healthz/x": false, "/public/": true, "/public/a/b": true, "/public": false, "/docs/a": true,
		"/docs/": false, "/docs/a/b": false, "": false, "healthz": false, "/Healthz": false,
	} {
		if got := s.Contains(path); got != want {
			t.Errorf("%q: got %v, want %v", path, got, want)
		}
	}
	if got := s.Patterns(); !slices.Equal(got, []string{"/healthz", "/public/*", "/docs/{page}"}) {
		t.Errorf("got %q", got)
	}
	if (*PathSet)(nil).Contains("/") || (*PathSet)(nil).Patterns() != nil || new(PathSet).Contains("/") {
		t.Error("a set of nothing must contain nothing")
	}
	for _, bad := range [][]string{{"x"}, {"/a", "/a"}, {"/{a}", "/{b}"}, {"/a/../b"}, {""}} {
		if _, err := NewPathSet(bad); err == nil {
			t.Errorf("%q: got a set, want an error", bad)
		}
	}
}

// A look-up visits each node of the tree once at most, however the patterns make it turn back.
func TestCatalogBacktrackingIsBounded(t *testing.T) {
	t.Parallel()
	var lines []string
	const depth = 12
	for bits := range 1 << depth { // all mixtures of literals and parameters
		var b strings.Builder
		for i := range depth {
			if bits>>i&1 == 1 {
				b.WriteString("/{p}")
			} else {
				b.WriteString("/a")
			}
		}
		lines = append(lines, "r read GET "+b.String()+"/end")
	}
	c := mustCatalog(t, lines...)
	path := strings.Repeat("/a", depth) + "/nowhere"
	visits := 0
	var walk func(n *node, rest string)
	walk = func(n *node, rest string) {
		visits++
		if rest == "" {
			return
		}
		name, next := rest[1:], ""
		if i := strings.IndexByte(name, '/'); i >= 0 {
			name, next = name[:i], name[i:]
		}
		if child := n.literals[name]; child != nil {
			walk(child, next)
		}
		if n.param != nil {
			walk(n.param, next)
		}
	}
	walk(&c.tree.root, path)
	if most := 2 << depth; visits > most {
		t.Errorf("got %d visits for %d rules, want at most %d", visits, len(lines), most)
	}
	if c.Match("GET", path).Known {
		t.Error("got a route, want none")
	}
}
