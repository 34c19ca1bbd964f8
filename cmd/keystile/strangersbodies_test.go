package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// stranger sends the head of a request to a site, with the length of a body, and the beginning of that body, and then nothing.
func stranger(t *testing.T, site, head string, length int, begin string) *http.Response {
	t.Helper()
	addr := strings.TrimPrefix(site, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", strings.ReplaceAll(head, "\n", "\r\n"), addr, length, begin)
	method, _, _ := strings.Cut(head, " ")
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.40q: %v", head, err)
	}
	return answer
}

// TestStrangersBodiesAreHeldForEver: what somebody sends who is nobody yet was read up to a megabyte, and waited for without end:
// by the sign-in, by the form of the sign-in page, and by the server before each answer that needed no body at all. It is 16 KiB
// now, and ten seconds.
func TestStrangersBodiesAreHeldForEver(t *testing.T) {
	t.Parallel()
	s := newMemberSite(t)
	const (
		json = "\nContent-Type: application/json"
		form = "\nContent-Type: application/x-www-form-urlencoded"
	)
	much := strings.Repeat("x", 1_000_000)
	for _, test := range []struct {
		name, head string
		length     int
		begin      string
		status     int
		says       string
	}{
		{"a large sign-in", "POST /v1/session HTTP/1.1" + json, 1_040_000, much, 413, "16384 bytes"},
		{"a large invitation", "POST /v1/invitations/accept HTTP/1.1" + json, 1_040_000, much, 413, "16384 bytes"},
		{"a large form", "POST /sign_in HTTP/1.1" + form, 1_040_000, much, 400, "16 KiB"},
		{"a slow sign-in", "POST /v1/session HTTP/1.1" + json, 200, `{"email"`, 400, "10 seconds"},
		{"a slow form", "POST /sign_in HTTP/1.1" + form, 200, "email=", 400, "16 KiB"},
		{"a form for members", "POST /profile/password HTTP/1.1" + form, 200, "password=", 401, ""},
		{"a call without a token", "POST /v1/keys HTTP/1.1" + json, 200, "{", 401, "authentication_required"},
		{"a call by another site", "POST /v1/keys HTTP/1.1\nOrigin: https://evil.example" + json, 200, "{", 403, "cross_origin_refused"},
		{"a path that is not there", "POST /v1/nothing HTTP/1.1", 200, "{", 404, "path_unknown"},
		{"a body that nobody reads", "GET /v1/openapi.json HTTP/1.1", 200, "{", 200, "openapi"},
		{"a body of a page", "GET /sign_in HTTP/1.1", 200, "{", 200, "Sign in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			answer := stranger(t, s.url, test.head, test.length, test.begin)
			if test.length > 1_000_000 {
				// The rest is on its way, and the connection may end before it is there.
				if answer.StatusCode != test.status {
					t.Errorf("got %d, want %d", answer.StatusCode, test.status)
				}
				return
			}
			body, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != test.status || !strings.Contains(string(body), test.says) {
				t.Errorf("got %d %.300s, %v; want %d with %q", answer.StatusCode, body, err, test.status, test.says)
			}
		})
	}
}

// TestSlowBodyOfAnAdministrator: who is known may be slow for longer than a stranger.
func TestSlowBodyOfAnAdministrator(t *testing.T) {
	t.Parallel()
	s := newAdminSite(t)
	body, send := io.Pipe()
	go func() {
		pieces := strings.SplitAfter(`{"name": "a b c d e f g h i j k l"}`, " ")
		for _, piece := range pieces {
			time.Sleep(time.Second) // this is the slowness that is tested
			if _, err := io.WriteString(send, piece); err != nil {
				return
			}
		}
		_ = send.Close()
	}()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/v1/organizations", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != 200 {
		t.Errorf("got %d %s", answer.StatusCode, text)
	}
}

// TestSecretFilesOfEverybody: a configuration is refused that reads a secret from a file which others may read.
func TestSecretFilesOfEverybody(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	file := filepath.Join(t.TempDir(), "client")
	if err := os.WriteFile(file, []byte("of the identity provider"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog + "\noidc {\n\tissuer https://login.example.com\n\tclient_id keystile\n\tclient_secret file " + file + "\n}"}.Text(g))
	validate := func() gatetest.Result {
		return g.Run(t, "validate", "--config", g.ConfigPath(), "--adapter", "caddyfile")
	}
	if got := validate(); got.Code != 0 {
		t.Fatalf("mode 0600: %s", got.Stderr)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := validate(); got.Code == 0 || !strings.Contains(got.Stderr, "oidc: client_secret: ") || !strings.Contains(got.Stderr, file) ||
		!strings.Contains(got.Stderr, "(mode 0644): run chmod 600 on it") {
		t.Errorf("mode 0644: %d %s", got.Code, got.Stderr)
	}
}
