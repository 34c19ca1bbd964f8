package gatetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
)

// tokens is the set of tokens that were handed out. It is safe for concurrent use.
type tokens struct {
	mu  sync.Mutex
	set map[string]bool
}

func (t *tokens) add(token string) {
	if token == "" || strings.HasPrefix(token, "pk_") {
		return // publishable tokens are public
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set == nil {
		t.set = make(map[string]bool)
	}
	t.set[token] = true
}

// addJSON adds each member named "token", at any depth.
func (t *tokens) addJSON(raw []byte) {
	if !bytes.Contains(raw, []byte(`"token"`)) {
		return
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return
	}
	t.addValue(v)
}

func (t *tokens) addValue(v any) {
	switch v := v.(type) {
	case map[string]any:
		if token, ok := v["token"].(string); ok {
			t.add(token)
		}
		for _, child := range v {
			t.addValue(child)
		}
	case []any:
		for _, child := range v {
			t.addValue(child)
		}
	}
}

func (t *tokens) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]string, 0, len(t.set))
	for token := range t.set {
		list = append(list, token)
	}
	sort.Strings(list)
	return list
}

// tokenShape is every full token of a secret kind, also one that nobody handed out.
var tokenShape = regexp.MustCompile(`(?:sk_org|sk|rk)_(?:live|test)_[0-9A-Za-z]{38}`)

// FindTokens returns an error for each token of this gateway that stands in clear in data. The error does not repeat it.
func (g *Gateway) FindTokens(where string, data []byte) error {
	return findTokens(where, data, g.Admin.seen.list())
}

// Shows says whether a text stands in data, in any of the spellings that a token is searched for in. A test that finds no
// secret shows by it that it would have found one.
func Shows(data []byte, text string) bool {
	return slices.ContainsFunc(formsOf(text), func(f form) bool { return bytes.Contains(data, []byte(f.text)) })
}

func findTokens(where string, data []byte, known []string) error {
	var errs []error
	report := func(at int, token string) {
		mask := token[:min(len(token), 8)] + "…"
		around := string(data[max(0, at-120):at]) + mask
		errs = append(errs, fmt.Errorf("a token stands in clear in %s at byte %d: %q", where, at, around))
	}
	for _, at := range tokenShape.FindAllIndex(data, 5) {
		report(at[0], string(data[at[0]:at[1]]))
	}
	for _, token := range known {
		for _, f := range formsOf(token) {
			if f.text == token && tokenShape.MatchString(token) {
				continue // seen above
			}
			if at := bytes.Index(data, []byte(f.text)); at >= 0 {
				report(at, "("+f.name+")")
			}
		}
	}
	return errors.Join(errs...)
}

// LeakedTokens searches what the processes wrote and every file of the home for tokens in clear. The first-start message
// is the one place where a token may stand: the sandbox key that it prints on purpose is taken out before.
func (g *Gateway) LeakedTokens() error { return g.leaked(g.Admin.seen.list()) }

// Holds says whether a text stands where LeakedTokens looks. A test that finds no secret there shows by it that it would have
// found one.
func (g *Gateway) Holds(text string) bool { return g.leaked([]string{text}) != nil }

func (g *Gateway) leaked(known []string) error {
	stdout, stderr := g.Output()
	errs := []error{
		findTokens("stdout", []byte(withoutWelcome(stdout)), known),
		findTokens("stderr", []byte(withoutWelcome(stderr)), known),
	}
	walkErr := filepath.WalkDir(g.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		errs = append(errs, findTokens(path, data, known))
		return nil
	})
	if walkErr != nil && !errors.Is(walkErr, fs.ErrNotExist) {
		errs = append(errs, walkErr)
	}
	return errors.Join(errs...)
}

// welcomeToken is a sandbox key as the first start prints it: in a curl line, or alone after a colon.
var welcomeToken = regexp.MustCompile(`(?m)^.*\bsk_test_[0-9A-Za-z]{38}.*$`)

// withoutWelcome removes the at most two lines in which the first start shows the demo account's sandbox key. Log lines
// are JSON or begin with a time; a token in one of those stays and is found.
func withoutWelcome(text string) string {
	removed := 0
	return welcomeToken.ReplaceAllStringFunc(text, func(line string) string {
		log := strings.HasPrefix(line, "{") || (len(line) > 4 && line[4] == '/')
		if log || removed == 2 {
			return line
		}
		removed++
		return ""
	})
}
