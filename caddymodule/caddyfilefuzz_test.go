package caddymodule

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// FuzzCaddyfile has any text in the block of the global option and in that of the directive. What is taken has one reading:
// its JSON is JSON of Caddy's strict kind for our modules, and `keystile fmt` changes nothing of what it says; the same text with a
// word in it that there is not, is not taken.
func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		source, _, _ := strings.Cut(string(text), goldenLine)
		f.Add(blockOf(source, "\n\tkeystile"), blockOf(source, "\n\tkeystile"))
	}
	for _, seed := range [][2]string{
		{"store bolt /x", "mode live"}, {"request_log archive /x {\nretention 30d\nmax_size 10GiB\n}", "open /a /b/*"},
		{"catalog {\nresource a {\nread GET /a/{b}/*\npublishable POST /c\n}\n}", "upstreams {\nlive a:1\nsandbox b:2 {\nheader_up A b\n}\n}"},
		{"rate_limit live 100 sandbox 25", "capture {\nrequest_body 4KiB\nquery a b\nonly errors\n}"},
		{"verification http http://localhost {\nsecret env X\n}", "cors_origins https://a.example\nsign on\ndenials json"},
		{"api_versions pattern ^[0-9]+$", "key_header X-Api-Key\non_overload deny\ndoc_url https://a.example/{code}"},
		{"smtp {\nhost a\nfrom b@c.example\npassword file /x\n}", "rewrites allowed"},
		{"oidc {\nissuer https://a.example\nclient_id b\nclient_secret env C\n}\nwebhooks {\nallow_private on\n}", "mode \"any\" # a comment"},
		{"max_staleness -1s", "mode `live`"}, {"import x", "import y"}, {"{$HOME}", "{env.HOME}"}, {"}", "}\nrespond ok"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, global, directive string) {
		if strings.Contains(global+directive, "import") || strings.Contains(global+directive, "{$") {
			return // these read files and the environment
		}
		text := "{\n\tkeystile {\n" + global + "\n}\n}\nhttp://a.example {\n\tkeystile {\n" + directive + "\n}\n\treverse_proxy b:80\n}\n"
		config, err := adaptQuietly(text)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("an error that says nothing")
			}
			return
		}
		checkStrict(t, config)
		again, err := adaptQuietly(string(caddyfile.Format([]byte(text))))
		if err != nil || !bytes.Equal(again, config) {
			if sameWords(text) {
				t.Fatalf("formatted it says\n%s, %v\nand before\n%s", again, err, config)
			}
		}
		if strings.Count(global, "{") == strings.Count(global, "}") && !strings.ContainsAny(global, "\"`<\\#") {
			wrong := strings.Replace(text, "\tkeystile {\n"+global, "\tkeystile {\n"+global+"\nno_such_word on", 1)
			if _, err := adaptQuietly(wrong); err == nil && balanced(global) {
				t.Fatalf("an unknown word is taken:\n%s", wrong)
			}
		}
	})
}

func adaptQuietly(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// blockOf is what stands in the first block that begins with some words; "" without one.
func blockOf(source, words string) string {
	_, rest, ok := strings.Cut("\n"+source, words+" {\n")
	if !ok {
		return ""
	}
	depth := 1
	for i, c := range rest {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return rest[:i]
			}
		}
	}
	return ""
}

// balanced says whether blocks of a text begin and end in it.
func balanced(text string) bool {
	depth := 0
	for _, c := range text {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

// sameWords says whether Caddy's formatter leaves the words of a text as they are, which it does not where quotes, escapes or braces stand
// oddly. That is Caddy's own.
func sameWords(text string) bool {
	words := func(b []byte) (all []string) {
		tokens, err := caddyfile.Tokenize(b, "Caddyfile")
		if err != nil {
			return nil
		}
		line := 0
		for _, token := range tokens {
			if token.Line != line {
				all = append(all, "\n")
				line = token.Line
			}
			all = append(all, token.Text)
		}
		return all
	}
	a, b := words([]byte(text)), words(caddyfile.Format([]byte(text)))
	return a != nil && strings.Join(a, "\x00") == strings.Join(b, "\x00")
}

// checkStrict decodes what the config holds for our modules, as Caddy does when it loads it: a name that is unknown is an error.
func checkStrict(t *testing.T, config []byte) {
	t.Helper()
	var root struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &root); err != nil {
		t.Fatal(err)
	}
	if raw, ok := root.Apps["keystile"]; ok {
		if err := caddy.StrictUnmarshalJSON(raw, new(App)); err != nil {
			t.Fatalf("the app: %v\n%s", err, raw)
		}
	}
	var node any
	if err := json.Unmarshal(config, &node); err != nil {
		t.Fatal(err)
	}
	walkHandlers(node, func(handler map[string]any) {
		delete(handler, "handler")
		raw, err := json.Marshal(handler)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.StrictUnmarshalJSON(raw, new(Handler)); err != nil {
			t.Fatalf("the directive: %v\n%s", err, raw)
		}
	})
}

// walkHandlers finds the directive wherever it stands.
func walkHandlers(node any, found func(map[string]any)) {
	switch n := node.(type) {
	case map[string]any:
		if n["handler"] == "keystile" {
			found(n)
			return
		}
		for _, inner := range n {
			walkHandlers(inner, found)
		}
	case []any:
		for _, inner := range n {
			walkHandlers(inner, found)
		}
	}
}
