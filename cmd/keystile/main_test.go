package main_test

import (
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// bed is the gateway that the tests of single requests share: many sites on one process, one set of keys.
type bed struct {
	*gatetest.Gateway
	*gatetest.Fixture

	echo        *gatetest.Backend // behind every site but routes and down
	echoLive    *gatetest.Backend // behind routes
	echoSandbox *gatetest.Backend

	any      string // mode any, /public/* and /healthz open
	live     string // mode live
	sandbox  string // mode sandbox
	routes   string // mode any, upstreams by mode
	liveOnly string // mode any, upstreams for live only
	header   string // key_header X-Api-Key, cors_origins https://app.example.com
	down     string // its backend does not answer
	tls      string // TLS for the name localhost, h2
	h2c      string // h2 in clear; the same listener as any
	dual     string // listens on IPv6 and IPv4
}

var (
	bedOnce sync.Once
	bedOnly *bed
)

// theBed starts the shared gateway on the first call.
func theBed(t *testing.T) *bed {
	t.Helper()
	bedOnce.Do(func() { bedOnly = newBed(t) })
	if bedOnly == nil {
		t.Fatal("the shared gateway did not start: see the first test that needed it")
	}
	return bedOnly
}

func newBed(t *testing.T) *bed {
	t.Helper()
	g := gatetest.NewShared(t, "bed")
	b := &bed{
		Gateway:     g,
		echo:        gatetest.NewSharedBackend(t, "echo"),
		echoLive:    gatetest.NewSharedBackend(t, "live"),
		echoSandbox: gatetest.NewSharedBackend(t, "sandbox"),
	}
	var sites strings.Builder
	site := func(directive, behind string) string {
		port := gatetest.FreePort(t)
		// No access log of Caddy's: the attacks put keys where no key is read, and that log shows such headers as they came.
		// TestDebugLogHoldsNoToken and TestKeyHeaderInCaddysLog search it.
		fmt.Fprintf(&sites, "http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n%s\n\t}\n\t%s\n}\n", port, directive, behind)
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	proxy := "reverse_proxy " + b.echo.Addr
	b.any = site("mode any\nopen /public/* /healthz", proxy)
	b.h2c = b.any
	b.live = site("mode live", proxy)
	b.sandbox = site("mode sandbox", proxy)
	b.routes = site("mode any\nupstreams {\nlive "+b.echoLive.Addr+"\nsandbox "+b.echoSandbox.Addr+"\n}", "")
	b.liveOnly = site("mode any\nupstreams {\nlive "+b.echoLive.Addr+"\n}", "")
	b.header = site("mode any\nkey_header X-Api-Key\ncors_origins https://app.example.com", proxy)
	b.down = site("mode any", "reverse_proxy "+gatetest.FreeAddr(t))
	tlsPort := gatetest.FreePort(t)
	fmt.Fprintf(&sites, "https://localhost:%d {\n\tbind 127.0.0.1\n\ttls internal\n\tkeystile {\n\tmode any\n\t}\n\t%s\n}\n", tlsPort, proxy)
	b.tls = fmt.Sprintf("127.0.0.1:%d", tlsPort)
	dualPort := gatetest.FreePort(t)
	fmt.Fprintf(&sites, "http://:%d {\n\tkeystile {\n\tmode any\n\t}\n\t%s\n}\n", dualPort, proxy)
	b.dual = fmt.Sprintf("127.0.0.1:%d", dualPort)

	config := gatetest.Config{
		Global: "servers {\n\tprotocols h1 h2 h2c\n\ttrusted_proxies static " + gatetest.TrustedProxy + "/32 10.0.0.1/32\n}\n" +
			"metrics\nskip_install_trust\n",
		Keystile: gatetest.Catalog,
		Sites:    sites.String(),
	}
	g.WriteConfig(t, config.Text(g))
	g.Start(t)
	b.Fixture = gatetest.NewFixture(t, g.Admin)
	return b
}

// sources counts the source addresses handed out.
var sources atomic.Uint32

// source returns a loopback address that no request came from before, so that the throttle of failed tries, which counts
// by address, does not mix the tests.
func source() string {
	n := sources.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 10+n/(250*250)%200, n/250%250, 1+n%250)
}

// calls is how many requests arrived at any backend of the bed.
func (b *bed) calls() int { return b.echo.Count() + b.echoLive.Count() + b.echoSandbox.Count() }

// send sends raw bytes to a site from an address of its own.
func (b *bed) send(t *testing.T, site, request string) *gatetest.Answer {
	t.Helper()
	return b.sendFrom(t, source(), site, request)
}

// sendFrom is send from a given address.
func (b *bed) sendFrom(t *testing.T, from, site, request string) *gatetest.Answer {
	t.Helper()
	answer, err := gatetest.Send(site, from, request)
	if err != nil {
		t.Fatalf("sending %.300q: %v", request, err)
	}
	return answer
}

// want is what section 3.2 of the contract fixes of a denial.
type want struct {
	status    int
	typ, code string
}

// The rows of section 3.2 by their codes.
var (
	malformed      = want{400, "invalid_request_error", "request_malformed"}
	badMethod      = want{405, "invalid_request_error", "method_not_allowed"}
	missing        = want{401, "invalid_request_error", "api_key_missing"}
	invalid        = want{401, "invalid_request_error", "api_key_invalid"}
	expired        = want{401, "authentication_error", "api_key_expired"}
	ipNotAllowed   = want{403, "permission_error", "ip_not_allowed"}
	modeMismatch   = want{403, "permission_error", "livemode_mismatch"}
	contextNeeded  = want{400, "invalid_request_error", "context_required"}
	versionNeeded  = want{400, "invalid_request_error", "version_required"}
	versionInvalid = want{400, "invalid_request_error", "version_invalid"}
	contextInvalid = want{400, "invalid_request_error", "context_invalid"}
	accountInvalid = want{403, "permission_error", "account_invalid"}
	secretRequired = want{403, "invalid_request_error", "secret_key_required"}
	originDenied   = want{403, "invalid_request_error", "origin_not_allowed"}
	notPermitted   = want{403, "permission_error", "permission_denied"}
	routeUnknown   = want{403, "permission_error", "route_unknown"}
	rateLimited    = want{429, "rate_limit_error", "rate_limit"}
	upstreamDown   = want{502, "api_error", "upstream_unavailable"}
)

// denied sends and wants one denial, whole: status, type, code, headers, no token, and no backend asked.
func (b *bed) denied(t *testing.T, site, request string, w want) gatetest.APIError {
	t.Helper()
	return b.deniedFrom(t, source(), site, request, w)
}

// deniedFrom is denied from a given address.
func (b *bed) deniedFrom(t *testing.T, from, site, request string, w want) gatetest.APIError {
	t.Helper()
	before := b.calls()
	answer := b.sendFrom(t, from, site, request)
	e := b.checkDenial(t, answer, w)
	if got := b.calls() - before; got != 0 {
		t.Errorf("%.200q: the backend was asked %d times, want 0", request, got)
	}
	return e
}

// checkDenial checks everything that an answer of the gateway's own must hold.
func (b *bed) checkDenial(t *testing.T, answer *gatetest.Answer, w want) gatetest.APIError {
	t.Helper()
	e := answer.Error(t)
	if answer.Status != w.status || e.Type != w.typ || e.Code != w.code {
		t.Errorf("got %d %s %s, want %d %s %s (message %q)", answer.Status, e.Type, e.Code, w.status, w.typ, w.code, e.Message)
	}
	if e.Message == "" {
		t.Error("the error has no message")
	}
	id := answer.Header.Get("Request-Id")
	if !strings.HasPrefix(id, "req_") || len(id) < len("req_")+16 || e.RequestID != id {
		t.Errorf("got Request-Id %q and request_id %q, want the same req_…", id, e.RequestID)
	}
	if got := answer.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("got Content-Type %q, want application/json", got)
	}
	challenge := answer.Header.Get("WWW-Authenticate")
	if w.status == http.StatusUnauthorized {
		if !strings.HasPrefix(challenge, `Bearer realm="`) {
			t.Errorf("got WWW-Authenticate %q, want Bearer realm=\"…\"", challenge)
		}
	} else if challenge != "" {
		t.Errorf("got WWW-Authenticate %q on a %d", challenge, w.status)
	}
	if w.status < 500 && w.status != http.StatusTooManyRequests {
		if got := answer.Header.Get("Stripe-Should-Retry"); got != "false" {
			t.Errorf("got Stripe-Should-Retry %q, want false", got)
		}
		if got := answer.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("got Cache-Control %q, want no-store", got)
		}
	}
	if got := answer.Header.Get("Keystile-Required-Permission"); got != e.RequiredPermission {
		t.Errorf("got Keystile-Required-Permission %q beside required_permission %q", got, e.RequiredPermission)
	}
	for name, values := range answer.Header {
		if err := b.FindTokens("header "+name, []byte(strings.Join(values, "\n"))); err != nil {
			t.Error(err)
		}
	}
	if err := b.FindTokens("the body", answer.Body); err != nil {
		t.Error(err)
	}
	return e
}

// passes sends and wants the echo of the backend behind the site.
func (b *bed) passes(t *testing.T, site, request string) (*gatetest.Answer, *gatetest.Received) {
	t.Helper()
	answer := b.send(t, site, request)
	if answer.Status != http.StatusOK {
		t.Fatalf("%.200q: got %d, want 200; body: %.500s", request, answer.Status, answer.Body)
	}
	if id := answer.Header.Get("Request-Id"); !strings.HasPrefix(id, "req_") {
		t.Errorf("%.200q: got Request-Id %q, want req_…", request, id)
	}
	return answer, answer.Echo(t)
}

// get is the bytes of a GET with a token.
func get(target, token string, lines ...string) string {
	return gatetest.Request("GET", target, "", append([]string{gatetest.Bearer(token)}, lines...)...)
}

// post is the bytes of a POST with a token and a small form.
func post(target, token string, lines ...string) string {
	return gatetest.Request("POST", target, "name=x", append([]string{gatetest.Bearer(token)}, lines...)...)
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// inventToken makes a token with a right checksum that no store knows, by the contract's rule and without the product's
// code: 32 characters, then the CRC-32 of all before it in base62, six characters wide.
func inventToken(prefix, fill string) string {
	head := prefix + strings.Repeat(fill, 32)[:32]
	sum := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(head))))
	digits := ""
	for range 6 {
		rest := new(big.Int)
		sum.DivMod(sum, big.NewInt(62), rest)
		digits = string(base62[rest.Int64()]) + digits
	}
	return head + digits
}

// mask is a token as messages may show it.
func mask(token string) string {
	for _, prefix := range []string{"sk_org_live_", "sk_org_test_", "sk_live_", "sk_test_", "pk_live_", "pk_test_", "rk_live_", "rk_test_"} {
		if body, ok := strings.CutPrefix(token, prefix); ok && len(body) >= 12 {
			return prefix + "****" + body[len(body)-4:]
		}
	}
	return "****"
}
