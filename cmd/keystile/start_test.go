package main_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// listing describes every file and directory below a place: path, mode, and the hash of what is in it. Files that Caddy
// itself writes on any start (its instance id, its clean-up note, its locks) are left out.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch filepath.Base(path) {
		case "instance.uuid", "last_clean.json", "locks", "autosave.json":
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == "data" || name == "config" || name == filepath.Join("data", "caddy") || name == filepath.Join("config", "caddy") {
				return nil // Caddy makes its own directories
			}
			lines = append(lines, fmt.Sprintf("%s %v", name, info.Mode()))
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %v %d %x", name, info.Mode(), len(data), sha256.Sum256(data)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// wantRefusal wants that a start fails with a sentence that holds all words, and changes nothing below the home.
func wantRefusal(t *testing.T, g *gatetest.Gateway, words ...string) {
	t.Helper()
	before := listing(t, g.Dir)
	err := g.TryStart()
	var refused *gatetest.StartError
	if !errors.As(err, &refused) {
		if err == nil {
			g.Stop(t)
		}
		t.Fatalf("got %v, want the start refused", err)
	}
	checkSentence(t, refused.Code, refused.Stderr, words...)
	if after := listing(t, g.Dir); after != before {
		t.Errorf("the refused start changed the home; before:\n%s\nafter:\n%s", before, after)
	}
}

// checkSentence wants an exit code that is not 0 and an error line that holds all words and no stack.
func checkSentence(t *testing.T, code int, stderr string, words ...string) {
	t.Helper()
	if code == 0 {
		t.Error("got exit code 0")
	}
	line := "" // the last error: plain on a terminal's stderr, a log line otherwise
	for l := range strings.Lines(stderr) {
		if strings.HasPrefix(l, "Error:") || strings.HasPrefix(l, `{"level":"error"`) {
			line = strings.TrimSpace(l)
		}
	}
	if line == "" {
		t.Fatalf("no line of stderr is an error:\n%s", stderr)
	}
	at := strings.LastIndex(stderr, line)
	for _, word := range words {
		if !strings.Contains(strings.ToLower(stderr[at:]), strings.ToLower(word)) {
			t.Errorf("the error does not say %q: %s", word, line)
		}
	}
	for _, noise := range []string{"goroutine ", "panic", ".go:", "0xc0", "%!"} {
		if strings.Contains(stderr[at:], noise) {
			t.Errorf("the error holds %q: %s", noise, stderr[at:])
		}
	}
	if len(line) > 700 {
		t.Errorf("the error is no sentence but %d characters long: %s", len(line), line)
	}
}

// homeWithKeys is a stopped gateway whose store holds an account with sealed tokens.
func homeWithKeys(t *testing.T) (*gatetest.Gateway, gatetest.Key) {
	t.Helper()
	g := gatetest.New(t)
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog}.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "kept", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	g.Stop(t)
	return g, key
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStoreThatCannotBeOpened: one clear sentence each, and nothing is touched.
func TestStoreThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	base, key := homeWithKeys(t)
	whole, err := os.ReadFile(base.StorePath())
	if err != nil {
		t.Fatal(err)
	}
	masterPath := filepath.Join(filepath.Dir(base.StorePath()), "master.key")
	master, err := os.ReadFile(masterPath)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(masterPath); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("master.key: got mode %v, %v, want 0600", info.Mode(), err)
	}
	if info, err := os.Stat(base.StorePath()); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("keys.db: got mode %v, %v, want nothing for group and others", info.Mode(), err)
	}
	// fresh is a home of its own with the store's files as given (nil: absent) and a line for the store.
	fresh := func(t *testing.T, store, key []byte, line string) *gatetest.Gateway {
		g := gatetest.New(t)
		g.WriteConfig(t, gatetest.Config{Keystile: strings.ReplaceAll(line, "$HOME", g.Dir) + "\n" + gatetest.Catalog}.Text(g))
		if err := os.MkdirAll(filepath.Dir(g.StorePath()), 0o700); err != nil {
			t.Fatal(err)
		}
		if store != nil {
			write(t, g.StorePath(), store)
		}
		if key != nil {
			write(t, filepath.Join(filepath.Dir(g.StorePath()), "master.key"), key)
		}
		return g
	}
	t.Run("directory", func(t *testing.T) {
		g := fresh(t, nil, nil, "store bolt $HOME/a-directory")
		if err := os.Mkdir(filepath.Join(g.Dir, "a-directory"), 0o700); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, g, "a-directory", "directory")
	})
	t.Run("below a file", func(t *testing.T) {
		g := fresh(t, nil, nil, "store bolt $HOME/a-file/keys.db")
		write(t, filepath.Join(g.Dir, "a-file"), []byte("x"))
		wantRefusal(t, g, "a-file")
	})
	t.Run("unreadable", func(t *testing.T) {
		g := fresh(t, whole, master, "")
		if err := os.Chmod(g.StorePath(), 0); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Open(g.StorePath()); err == nil {
			_ = f.Close() // root reads everything: the file must be unreadable in another way
			if err := os.Remove(g.StorePath()); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("keys.db", g.StorePath()); err != nil { // a link to itself
				t.Fatal(err)
			}
			err := g.TryStart()
			var refused *gatetest.StartError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want the start refused", err)
			}
			checkSentence(t, refused.Code, refused.Stderr, "keys.db")
			if err := os.Remove(g.StorePath()); err != nil {
				t.Fatal(err)
			}
			return
		}
		err := g.TryStart()
		if err := os.Chmod(g.StorePath(), 0o600); err != nil {
			t.Fatal(err)
		}
		var refused *gatetest.StartError
		if !errors.As(err, &refused) {
			t.Fatalf("got %v, want the start refused", err)
		}
		checkSentence(t, refused.Code, refused.Stderr, "keys.db", "permission")
	})
	corrupt := []struct {
		name string
		data []byte
	}{
		{"text", bytes.Repeat([]byte("this is no key store\n"), 2000)},
		{"short", []byte("short")},
		{"zeros", make([]byte, 64<<10)},
		{"first pages overwritten", append(bytes.Repeat([]byte{0xa5}, 8192), whole[8192:]...)},
		{"cut in half", whole[:len(whole)/2]},
		{"cut behind the head", whole[:8192]},
		{"random", func() []byte {
			data := make([]byte, len(whole))
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			return data
		}()},
		{"pages swapped", func() []byte {
			data := bytes.Clone(whole)
			for at := 8192; at+8192 <= len(data); at += 8192 {
				page := bytes.Clone(data[at : at+4096])
				copy(data[at:], data[at+4096:at+8192])
				copy(data[at+4096:], page)
			}
			return data
		}()},
	}
	for _, tt := range corrupt {
		t.Run("corrupt: "+tt.name, func(t *testing.T) { wantRefusal(t, fresh(t, tt.data, master, ""), "keys.db") })
	}
	t.Run("master key lost", func(t *testing.T) { wantRefusal(t, fresh(t, whole, nil, ""), "master") })
	t.Run("master key of another store", func(t *testing.T) {
		other, _ := homeWithKeys(t)
		key, err := os.ReadFile(filepath.Join(filepath.Dir(other.StorePath()), "master.key"))
		if err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, fresh(t, whole, key, ""), "master")
	})
	t.Run("master key empty", func(t *testing.T) { wantRefusal(t, fresh(t, whole, []byte{}, ""), "master") })
	t.Run("master key junk", func(t *testing.T) { wantRefusal(t, fresh(t, whole, []byte("junk"), ""), "master") })
	t.Run("master key cut", func(t *testing.T) { wantRefusal(t, fresh(t, whole, master[:len(master)-5], ""), "master") })
	t.Run("the same files without a fault", func(t *testing.T) {
		g := fresh(t, whole, master, "")
		g.Start(t)
		if got := g.Admin.Reveal(t, key.ID); got.Token != key.Token {
			t.Error("the key was revealed with another token")
		}
	})
}

// TestSecondProcess: a second process on the same file is refused at once and the first does not notice.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	first := gatetest.New(t)
	first.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog}.Text(first))
	first.Start(t)
	second := gatetest.New(t)
	second.WriteConfig(t, gatetest.Config{Keystile: "store bolt " + first.StorePath() + "\n" + gatetest.Catalog}.Text(second))
	before := listing(t, filepath.Dir(first.StorePath()))
	wantRefusal(t, second, "keys.db", "another process")
	if after := listing(t, filepath.Dir(first.StorePath())); after != before {
		t.Errorf("the second process changed the store's directory; before:\n%s\nafter:\n%s", before, after)
	}
	if r := first.Run(t, "validate", "--config", first.ConfigPath(), "--adapter", "caddyfile"); r.Code != 0 {
		t.Errorf("validate beside a running process: code %d\n%s", r.Code, r.Stderr)
	}
	first.Admin.CreateAccount(t, "still here", "")
}

// TestFirstStartThatFails: a fresh home whose configuration is wrong stays fresh, and the word at fault is named.
func TestFirstStartThatFails(t *testing.T) {
	t.Parallel()
	site := "http://127.0.0.1:1 {\n\tkeystile {\n\t\t%s\n\t}\n\trespond ok\n}\n"
	directive := func(text string) gatetest.Config {
		return gatetest.Config{Keystile: gatetest.Catalog, Sites: fmt.Sprintf(site, text)}
	}
	global := func(text string) gatetest.Config { return gatetest.Config{Keystile: text} }
	swagger := `{"swagger":"2.0","info":{"title":"x","version":"1"},"paths":{"/v1/x":{"get":{"responses":{"200":{"description":"ok"}}}}}}`
	tests := []struct {
		name   string
		config gatetest.Config
		files  map[string]string
		words  []string
	}{
		{"unknown global word", global("stor bolt"), nil, []string{"stor"}},
		{"unknown store", global("store bold"), nil, []string{"bold"}},
		{"store that is none", global("store etcd http://x"), nil, []string{"etcd"}},
		{"two stores", global("store bolt a.db\nstore bolt b.db"), nil, []string{"store"}},
		{"unknown word in the catalog", global("catalog {\nresorce charges {\n}\n}"), nil, []string{"resorce"}},
		{"unknown access", global("catalog {\nresource charges {\nreads GET /v1/charges\n}\n}"), nil, []string{"reads"}},
		{"pattern without a slash", global("catalog {\nresource charges {\nread GET v1/charges\n}\n}"), nil, []string{"v1/charges"}},
		{"pattern with a star inside", global("catalog {\nresource charges {\nread GET /v1/*/charges\n}\n}"), nil, []string{"/v1/*/charges"}},
		{"pattern with dots", global("catalog {\nresource charges {\nread GET /v1/../charges\n}\n}"), nil, []string{"/v1/../charges"}},
		{"conflict", global("catalog {\nresource a {\nread GET /v1/x\n}\nresource b {\nread GET /v1/x\n}\n}"), nil, []string{"/v1/x", "Caddyfile:"}},
		{"conflict of parameters", global("catalog {\nresource a {\nread GET /v1/{id}/x\n}\nresource b {\nread GET /v1/{name}/x\n}\n}"), nil, []string{"/v1/{name}/x", "Caddyfile:"}},
		{"OpenAPI file missing", global("catalog openapi $HOME/none.yaml"), nil, []string{"none.yaml"}},
		{"OpenAPI file is no YAML", global("catalog openapi $HOME/bad.yaml"), map[string]string{"bad.yaml": "openapi: [3.1\n\tx: {"}, []string{"bad.yaml"}},
		{"OpenAPI file is text", global("catalog openapi $HOME/bad.yaml"), map[string]string{"bad.yaml": "hello"}, []string{"bad.yaml"}},
		{"OpenAPI file is empty", global("catalog openapi $HOME/bad.yaml"), map[string]string{"bad.yaml": ""}, []string{"bad.yaml"}},
		{"OpenAPI 2", global("catalog openapi $HOME/old.json"), map[string]string{"old.json": swagger}, []string{"old.json"}},
		{"OpenAPI without paths", global("catalog openapi $HOME/none.json"), map[string]string{"none.json": `{"openapi":"3.1.0","info":{"title":"x","version":"1"}}`}, []string{"none.json"}},
		{"unknown mode", directive("mode both"), nil, []string{"both"}},
		{"mode twice", directive("mode live\nmode sandbox"), nil, []string{"mode"}},
		{"unknown directive word", directive("opne /x"), nil, []string{"opne"}},
		{"open without a path", directive("open"), nil, []string{"open"}},
		{"open with dots", directive("open /public/../x"), nil, []string{"/public/../x"}},
		{"key header that is Authorization", directive("key_header Authorization"), nil, []string{"Authorization"}},
		{"key header that is an identity header", directive("key_header Keystile-Key-Id"), nil, []string{"Keystile-Key-Id"}},
		{"key header with a blank", directive("key_header \"X Key\""), nil, []string{"X Key"}},
		{"unknown upstream", directive("upstreams {\ntest 127.0.0.1:1\n}"), nil, []string{"test"}},
		{"too many words", directive("mode live sandbox"), nil, []string{"sandbox"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := gatetest.New(t)
			for name, text := range tt.files {
				write(t, filepath.Join(g.Dir, name), []byte(text))
			}
			text := strings.ReplaceAll(tt.config.Text(g), "$HOME", g.Dir)
			g.WriteConfig(t, text)
			wantRefusal(t, g, tt.words...)
			before := listing(t, g.Dir)
			r := g.Run(t, "validate", "--config", g.ConfigPath(), "--adapter", "caddyfile")
			checkSentence(t, r.Code, r.Stderr, tt.words...)
			if after := listing(t, g.Dir); after != before {
				t.Errorf("validate changed the home; before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestValidateTouchesNothing: validate and adapt of a good configuration create nothing in a fresh home, and change
// nothing in a used one.
func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	used, _ := homeWithKeys(t)
	fresh := gatetest.New(t)
	site := "http://127.0.0.1:1 {\n\tkeystile {\n\t\tmode live\n\t}\n\treverse_proxy 127.0.0.1:2\n}\n"
	for name, g := range map[string]*gatetest.Gateway{"fresh": fresh, "used": used} {
		g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: site}.Text(g))
		before := listing(t, g.Dir)
		for _, command := range []string{"validate", "adapt"} {
			r := g.Run(t, command, "--config", g.ConfigPath(), "--adapter", "caddyfile")
			if r.Code != 0 {
				t.Errorf("%s on a %s home: code %d\n%s", command, name, r.Code, r.Stderr)
			}
			if strings.Contains(r.Stdout+r.Stderr, "sk_test_") {
				t.Errorf("%s on a %s home prints a key", command, name)
			}
			if after := listing(t, g.Dir); after != before {
				t.Errorf("%s changed a %s home; before:\n%s\nafter:\n%s", command, name, before, after)
			}
		}
		r := g.Run(t, "adapt", "--config", g.ConfigPath(), "--adapter", "caddyfile", "--validate")
		if after := listing(t, g.Dir); r.Code != 0 || after != before {
			t.Errorf("adapt --validate on a %s home: code %d, changed %v", name, r.Code, after != before)
		}
	}
	t.Run("validate sees the corrupt store", func(t *testing.T) {
		write(t, used.StorePath(), bytes.Repeat([]byte("junk"), 10000))
		before := listing(t, used.Dir)
		r := used.Run(t, "validate", "--config", used.ConfigPath(), "--adapter", "caddyfile")
		if after := listing(t, used.Dir); after != before {
			t.Errorf("validate changed the home; before:\n%s\nafter:\n%s", before, after)
		}
		if r.Code != 0 {
			checkSentence(t, r.Code, r.Stderr, "keys.db")
		}
	})
}
