package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKeyHeaderInAccessLog: Caddy copies a request for its log before any handler can take the key from it.
func TestKeyHeaderInAccessLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	site := func(directive string) string {
		return "log {\noutput file " + file + "\n}\n" + directive
	}
	g := newWireGateway(t, "debug", site("keystile {\nkey_header X-Api-Key\nopen /broken\n}\nerror /broken \"on purpose\" 500"))
	send := func(path string, lines ...string) string {
		return exchangeRaw(t, g.site, "GET "+path+" HTTP/1.1\r\nHost: "+g.site+"\r\n"+strings.Join(lines, "\r\n")+"\r\nConnection: close\r\n\r\n")
	}
	if answer := send("/v1/customers", "X-Api-Key: "+g.secret); !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Fatalf("by the key header: %s", answer)
	}
	send("/v1/charges", "x-api-key: "+g.restricted)
	send("/v1/customers", "X-Api-Key: "+g.secret, "x-api-key: "+g.secret)
	if answer := send("/broken", "X-Api-Key: "+g.secret); !strings.HasPrefix(answer, "HTTP/1.1 500") || !strings.Contains(answer, "Request-Id: req_") {
		t.Errorf("an error of a later handler: %s", answer)
	}
	send("/v1/customers", "Authorization: Bearer "+g.secret)
	stopCaddy(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), g.secret) || strings.Contains(string(text), g.restricted) {
		t.Errorf("the access log shows a key:\n%s", text)
	}
	var statuses []int
	for line := range strings.Lines(string(text)) {
		var e struct {
			Logger, Msg string
			Status      int
			UserID      string `json:"user_id"`
			Request     struct{ URI string }
			Keystile    struct {
				Decision  string
				RequestID string `json:"request_id"`
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Logger, "http.log.access") || e.Msg != "handled request" || e.Request.URI == "" || e.Keystile.RequestID == "" {
			t.Errorf("entry %s", line)
		}
		if (e.Keystile.Decision == "allowed" || e.Keystile.Decision == "permission_denied") != strings.HasPrefix(e.UserID, "key_") {
			t.Errorf("user_id %q with decision %q", e.UserID, e.Keystile.Decision)
		}
		statuses = append(statuses, e.Status)
	}
	if want := []int{200, 403, 401, 500, 200}; !slices.Equal(statuses, want) {
		t.Errorf("statuses in the access log %v, want %v\n%s", statuses, want, text)
	}
}
