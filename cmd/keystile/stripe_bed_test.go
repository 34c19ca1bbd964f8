package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// importedToken is the key of another system, in the spelling that SDK test suites use.
const importedToken = "sk_test_123"

// backendCredential is what the mock gets in place of the client's key.
const backendCredential = "sk_test_backend"

// seenByMock is one request as the mock received it.
type seenByMock struct {
	method, path, authorization, key, account, idempotencyKey, protocol string
}

// stripeBed is a gateway in front of stripe-mock, whose own OpenAPI document is the catalog. Live mode has another backend,
// which no sandbox key may reach, nor the mock a live one.
type stripeBed struct {
	*gatetest.Gateway
	httpAddr, httpsAddr string
	live                *gatetest.Backend

	account, org string
	keys         map[string]gatetest.Key // secret, live, restricted, organization, deleted, imported

	mu   sync.Mutex
	seen []seenByMock
}

var (
	stripeOnce sync.Once
	stripeOnly *stripeBed
)

func theStripeBed(t *testing.T) *stripeBed {
	t.Helper()
	stripeOnce.Do(func() { stripeOnly = newStripeBed(t) })
	if stripeOnly == nil {
		t.Fatal("the gateway in front of stripe-mock did not start: see the first test that needed it")
	}
	return stripeOnly
}

func newStripeBed(t *testing.T) *stripeBed {
	t.Helper()
	s := &stripeBed{Gateway: gatetest.NewShared(t, "stripe"), live: gatetest.NewSharedBackend(t, "live"), keys: make(map[string]gatetest.Key)}
	mock := s.startMock(t)
	spec := filepath.Join(s.Dir, "spec3.json")
	if err := os.WriteFile(spec, embedded.OpenAPISpec, 0o600); err != nil {
		t.Fatal(err)
	}
	httpPort, httpsPort := gatetest.FreePort(t), gatetest.FreePort(t)
	s.httpAddr, s.httpsAddr = fmt.Sprintf("127.0.0.1:%d", httpPort), fmt.Sprintf("localhost:%d", httpsPort)
	block := fmt.Sprintf(`{
	bind 127.0.0.1
	keystile {
		mode any
		upstreams {
			live %s
			sandbox %s {
				header_up Authorization "Bearer %s"
			}
		}
	}
}
`, s.live.Addr, mock, backendCredential)
	s.WriteConfig(t, gatetest.Config{
		Global:   "skip_install_trust",
		Keystile: "catalog openapi " + spec,
		Sites:    fmt.Sprintf("http://:%d %shttps://localhost:%d %s", httpPort, block, httpsPort, strings.Replace(block, "bind", "tls internal\n\tbind", 1)),
	}.Text(s.Gateway))
	s.Start(t)

	a := s.Admin
	s.org = a.CreateOrganization(t, "Org")
	s.account = a.CreateAccount(t, "Shop", s.org).ID
	s.keys["secret"] = a.DefaultKey(t, s.account, "secret", "sandbox")
	s.keys["live"] = a.DefaultKey(t, s.account, "secret", "live")
	s.keys["publishable"] = a.DefaultKey(t, s.account, "publishable", "sandbox")
	s.keys["restricted"] = a.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "sandbox", "account": s.account, "name": "reader",
		"permissions": gatetest.Fields{"customer": "read"}})
	s.keys["organization"] = a.CreateKey(t, gatetest.Fields{"kind": "organization", "mode": "sandbox", "organization": s.org, "name": "org"})
	s.keys["deleted"] = a.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "sandbox", "account": s.account, "name": "deleted"})
	a.DeleteKey(t, s.keys["deleted"].ID)
	imported := a.Import(t, gatetest.Fields{"token": importedToken, "kind": "secret", "mode": "sandbox", "account": s.account, "name": "imported"})[0]
	imported.Token = importedToken
	s.keys["imported"] = imported
	return s
}

// startMock runs stripe-mock's own server on a free port and keeps what arrives.
func (s *stripeBed) startMock(t *testing.T) string {
	t.Helper()
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", stub.HandleRequest)
	handler := &server.DoubleSlashFixHandler{Mux: mux}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test server on loopback
			s.mu.Lock()
			s.seen = append(s.seen, seenByMock{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Keystile-Key-Id"),
				r.Header.Get("Keystile-Account"), r.Header.Get("Idempotency-Key"), r.Proto})
			s.mu.Unlock()
			handler.ServeHTTP(w, r)
		}))
	}()
	return ln.Addr().String()
}

// since returns what the mock received after the first n requests.
func (s *stripeBed) since(n int) []seenByMock {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seenByMock(nil), s.seen[n:]...)
}

func (s *stripeBed) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// wantMock wants n requests at the mock since a count, each with the backend's credential and the key's id.
func (s *stripeBed) wantMock(t *testing.T, since, n int, key gatetest.Key) {
	t.Helper()
	got := s.since(since)
	if len(got) != n {
		t.Errorf("the mock was asked %d times, want %d", len(got), n)
	}
	for _, r := range got {
		if r.authorization != "Bearer "+backendCredential {
			t.Errorf("%s %s: the mock did not get its own credential", r.method, r.path)
		}
		if r.key != key.ID {
			t.Errorf("%s %s: got Keystile-Key-Id %q, want %q", r.method, r.path, r.key, key.ID)
		}
	}
}
