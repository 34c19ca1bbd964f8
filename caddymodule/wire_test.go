package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// wireBackend counts requests and keeps every byte that reached it.
type wireBackend struct {
	*httptest.Server
	mu    sync.Mutex
	bytes bytes.Buffer
	count int
	body  string
}

func newWireBackend(t *testing.T) *wireBackend {
	b := &wireBackend{}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.count++
		b.body = string(body)
		b.mu.Unlock()
		w.Header().Set("Request-Id", "req_backend")
		fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
	}))
	b.Listener = tapListener{b.Listener, b}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

type tapListener struct {
	net.Listener
	b *wireBackend
}

func (l tapListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return tapConn{conn, l.b}, err
}

type tapConn struct {
	net.Conn
	b *wireBackend
}

func (c tapConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.b.mu.Lock()
	c.b.bytes.Write(p[:n])
	c.b.mu.Unlock()
	return n, err
}

// taken answers what has reached the backend since the last call: requests, bytes, and the last body.
func (b *wireBackend) taken() (count int, wire, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	count, wire, body = b.count, b.bytes.String(), b.body
	b.count, b.body = 0, ""
	b.bytes.Reset()
	return count, wire, body
}

// exchangeRaw sends bytes over a connection of their own and reads the answers until the server closes, or is silent.
func exchangeRaw(t testing.TB, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// wireGateway is a gateway in Caddy, in front of a wireBackend.
type wireGateway struct {
	*caddyProcess
	backend            *wireBackend
	secret, restricted string
	limited            string // 203.0.113.0/24
	account            string
}

const wireCatalog = `
		catalog {
			resource customers {
				read GET /v1/customers /v1/customers/*
				write POST /v1/customers
			}
			resource charges {
				read GET /v1/charges
				write POST /v1/charges
			}
		}`

func newWireGateway(t *testing.T, global, directive string) *wireGateway {
	w := &wireGateway{caddyProcess: newCaddy(t), backend: newWireBackend(t)}
	gate := w.mustLoad(w.config(global, wireCatalog, directive+"\nreverse_proxy "+w.backend.Listener.Addr().String()))
	ctx := context.Background()
	account, _, err := gate.store.CreateAccount(ctx, testActor, keystore.AccountParams{Name: "wire"})
	if err != nil {
		t.Fatal(err)
	}
	w.account = account.ID
	key := func(p keystore.KeyParams) string {
		p.Account, p.Mode, p.Name = account.ID, policy.ModeLive, "wire"
		_, token, err := gate.store.CreateKey(ctx, testActor, p)
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	w.secret = key(keystore.KeyParams{Kind: policy.KindSecret})
	w.restricted = key(keystore.KeyParams{Kind: policy.KindRestricted, Permissions: policy.NewPermissions(readCustomers())})
	w.limited = key(keystore.KeyParams{Kind: policy.KindSecret, IPRanges: []string{"203.0.113.0/24"}})
	return w
}

// TestOnTheWire sends raw bytes through a real server and Caddy's own reverse_proxy: what counts is what reaches the
// backend.
func TestOnTheWire(t *testing.T) {
	g := newWireGateway(t, "", "keystile")
	send := func(first, token string, lines ...string) string {
		return exchangeRaw(t, g.site, first+" HTTP/1.1\r\nHost: "+g.site+"\r\nAuthorization: Bearer "+token+"\r\n"+strings.Join(lines, "\r\n"))
	}
	end := "Connection: close\r\n\r\n"

	t.Run("A identity headers", func(t *testing.T) {
		answer := send("GET /v1/customers", g.restricted, "keystile-account: forged", "KEYSTILE_Account: forged", "Keystile.Account: forged", "X_Keystile: 1", end)
		count, wire, _ := g.backend.taken()
		if count != 1 || !strings.HasPrefix(answer, "HTTP/1.1 200") || strings.Contains(wire, "forged") || strings.Contains(wire, g.restricted) {
			t.Errorf("count %d, backend got\n%s\nclient got\n%s", count, wire, answer)
		}
		if strings.Count(wire, "Keystile-Account: "+g.account+"\r\n") != 1 {
			t.Errorf("Keystile-Account is not there once:\n%s", wire)
		}
		if strings.Count(answer, "Request-Id: req_") != 1 || strings.Contains(answer, "req_backend") {
			t.Errorf("Request-Id is not ours alone:\n%s", answer)
		}
	})
	t.Run("A5 trailers", func(t *testing.T) {
		for _, announced := range []string{"Trailer: Keystile-Account, X-Sum\r\n", "Trailer: X-Sum\r\n", ""} {
			send("POST /v1/customers", g.secret, announced+"Transfer-Encoding: chunked", "Connection: close", "",
				"5\r\nhello\r\n0\r\nKeystile-Account: forged\r\nkeystile_mode: forged\r\nX-Sum: 1\r\n\r\n")
			count, wire, body := g.backend.taken()
			if count != 1 || body != "hello" || strings.Contains(wire, "forged") {
				t.Errorf("announced %q: count %d, body %q, backend got\n%s", announced, count, body, wire)
			}
			if announced != "" && !strings.Contains(wire, "X-Sum: 1") {
				t.Errorf("announced %q: the client's own trailer is lost:\n%s", announced, wire)
			}
		}
	})
	t.Run("B connection tokens", func(t *testing.T) {
		for _, lines := range []string{
			"Connection: close, Keystile-Key-Id, Keystile-Account, Keystile-Mode",
			"connection: keystile-key-id\r\nConnection: KEYSTILE_ACCOUNT,close",
		} {
			send("GET /v1/customers", g.restricted, lines, "\r\n")
			count, wire, _ := g.backend.taken()
			for _, name := range []string{"Keystile-Key-Id", "Keystile-Account", "Keystile-Mode"} {
				if count != 1 || strings.Count(wire, name+": ") != 1 {
					t.Errorf("%q: count %d, %s is not there once:\n%s", lines, count, name, wire)
				}
			}
		}
		send("GET /v1/customers", g.restricted, "Connection: X-Hop, close", "X-Hop: mine", "\r\n")
		if _, wire, _ := g.backend.taken(); strings.Contains(wire, "X-Hop") {
			t.Errorf("a hop-by-hop header of the client's own went on:\n%s", wire)
		}
	})
	t.Run("B4 framing", func(t *testing.T) {
		inner := "GET /admin/x HTTP/1.1\r\nHost: x\r\nA: bcdef\r\n\r\n"
		answer := send("POST /v1/customers", g.secret, "Connection: Content-Length, close", fmt.Sprintf("Content-Length: %d", len(inner)), "", inner)
		count, _, body := g.backend.taken()
		if count != 1 || body != inner || !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Errorf("count %d, body %q\n%s", count, body, answer)
		}
	})
	t.Run("C targets", func(t *testing.T) {
		for _, target := range []string{
			"/v1/customers/../charges", "/v1/customers/%2e%2e/charges", "/v1/customers/..%2fcharges", `/v1/customers/..\charges`, "//v1/charges",
			"/v1//charges", "//admin/x", "/V1/Charges", "/v1/%63harges", "/v1/charges?path=/v1/customers", "/admin/x?/public/", "http://" + g.site + "/v1/customers",
			"*", "/v1/customers#x", "v1/customers", "/v1/customers/%", "/v1/customers/\x01", "/v1/customers/\xff",
		} {
			answer := send("GET "+target, g.restricted, end)
			if count, wire, _ := g.backend.taken(); count != 0 || !strings.HasPrefix(answer, "HTTP/1.1 400") && !strings.HasPrefix(answer, "HTTP/1.1 403") {
				t.Errorf("%q: count %d\n%s\n%s", target, count, answer, wire)
			}
		}
		send("GET /v1/customers/%252e%252e/charges", g.restricted, end)
		if count, wire, _ := g.backend.taken(); count != 1 || !strings.HasPrefix(wire, "GET /v1/customers/%252e%252e/charges ") {
			t.Errorf("double encoding: count %d\n%s", count, wire)
		}
	})
	t.Run("C17 and D overrides", func(t *testing.T) {
		send("GET /v1/customers", g.restricted, "X-HTTP-Method-Override: DELETE", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Forwarded-Uri: /x", "X-Forwarded-Prefix: /x", "X-Envoy-Original-Path: /x", end)
		count, wire, _ := g.backend.taken()
		for _, name := range []string{"Override", "Original", "Rewrite", "Forwarded-Uri", "Forwarded-Prefix", "Envoy"} {
			if count != 1 || strings.Contains(wire, name) {
				t.Errorf("count %d, %s went on:\n%s", count, name, wire)
			}
		}
	})
	t.Run("D6 CONNECT and TRACE", func(t *testing.T) {
		second := "GET /v1/charges HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.secret + "\r\n\r\n"
		for _, first := range []string{"CONNECT /v1/customers", "CONNECT " + g.site, "TRACE /v1/customers"} {
			answer := send(first, g.secret, "", second)
			if count, wire, _ := g.backend.taken(); count != 0 || wire != "" || !strings.HasPrefix(answer, "HTTP/1.1 405") || strings.Count(answer, "HTTP/1.1 ") != 1 {
				t.Errorf("%s: count %d\n%s\n%s", first, count, answer, wire)
			}
		}
	})
	t.Run("keep-alive after a denied body", func(t *testing.T) {
		second := "GET /v1/customers HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.secret + "\r\n" + end
		answer := send("POST /v1/charges", g.restricted, "Content-Length: 5", "", "hello"+second)
		if count, _, _ := g.backend.taken(); count != 1 || !strings.HasPrefix(answer, "HTTP/1.1 403") || strings.Count(answer, "HTTP/1.1 200") != 1 {
			t.Errorf("count %d\n%s", count, answer)
		}
	})
	t.Run("F addresses of an untrusted peer", func(t *testing.T) {
		for _, header := range []string{"X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"} {
			answer := send("GET /v1/customers", g.limited, header+": 203.0.113.5", end)
			if count, _, _ := g.backend.taken(); count != 0 || !strings.Contains(answer, "ip_not_allowed") {
				t.Errorf("%s: count %d\n%s", header, count, answer)
			}
		}
	})
}

// TestTrustedProxiesOnTheWire: attacks F1 to F4 through Caddy's own setting, in both of its ways.
func TestTrustedProxiesOnTheWire(t *testing.T) {
	for _, strict := range []string{"", "trusted_proxies_strict"} {
		g := newWireGateway(t, "servers {\ntrusted_proxies static 127.0.0.1/32 10.0.0.0/8\n"+strict+"\n}", "keystile")
		tests := []struct {
			lines   []string
			allowed bool
		}{
			{[]string{"203.0.113.5"}, true},
			{[]string{"203.0.113.5, 198.51.100.9"}, false},
			{[]string{"198.51.100.9, 203.0.113.5"}, true},
			{[]string{"198.51.100.9, 203.0.113.5, 10.1.2.3"}, true},
			{[]string{"203.0.113.5", "198.51.100.9"}, false},
			{[]string{"198.51.100.9", "203.0.113.5"}, true},
			{[]string{"::ffff:203.0.113.5"}, true},
			{[]string{"203.0.113.5:4711"}, true},
			{[]string{"203.0.113.5, unknown"}, false},
			{[]string{"unknown, 203.0.113.5"}, true},
			{[]string{"203.0.113.5, "}, false},
			{[]string{"203.0.113.5, ''"}, false},
			{[]string{"203.0.113.5", ""}, false},
			{[]string{"10.1.2.3"}, false},
			{[]string{"203.0.113.5" + strings.Repeat(", 10.0.0.1", 40)}, false},
			{nil, false},
		}
		for _, test := range tests {
			head := "GET /v1/customers HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.limited + "\r\n"
			for _, line := range test.lines {
				head += "X-Forwarded-For: " + line + "\r\n"
			}
			answer := exchangeRaw(t, g.site, head+"Connection: close\r\n\r\n")
			count, _, _ := g.backend.taken()
			if test.allowed != (count == 1) || !test.allowed && !strings.Contains(answer, "ip_not_allowed") {
				t.Errorf("strict %q, X-Forwarded-For %q: backend reached %d times, want allowed %v\n%s", strict, test.lines, count, test.allowed, answer)
			}
		}
		// B3: the header cannot be taken away from the next hop
		exchangeRaw(t, g.site, "GET /v1/customers HTTP/1.1\r\nHost: "+g.site+"\r\nAuthorization: Bearer "+g.limited+
			"\r\nX-Forwarded-For: 203.0.113.5\r\nConnection: X-Forwarded-For, close\r\n\r\n")
		if count, wire, _ := g.backend.taken(); count != 1 || !strings.Contains(wire, "X-Forwarded-For: 203.0.113.5, 127.0.0.1\r\n") {
			t.Errorf("strict %q: count %d, backend got\n%s", strict, count, wire)
		}
	}
}

// TestHTTP2OnTheWire: attack G5, and CONNECT with a body, as frames.
func TestHTTP2OnTheWire(t *testing.T) {
	g := newWireGateway(t, "servers {\nprotocols h1 h2 h2c\n}", "keystile")
	fields := func(pairs ...string) []string { return pairs }
	auth := "Bearer " + g.restricted
	tests := []struct {
		name   string
		fields []string
		body   string
		status []string // "" is a reset stream
		served bool
	}{
		{"good", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", auth), "", []string{"200"}, true},
		{"same host twice", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", auth, "host", g.site), "", []string{"200"}, true},
		{"other host", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", auth, "host", "evil"), "", []string{"400", ""}, false},
		{"path without slash", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "v1/charges", "authorization", auth), "", []string{"400", ""}, false},
		{"path *", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "*", "authorization", auth), "", []string{"400", ""}, false},
		{"absolute path", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "http://evil/v1/customers", "authorization", auth), "", []string{"400", ""}, false},
		{"double slash", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "//v1/customers", "authorization", auth), "", []string{"400"}, false},
		{"connection header", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", auth, "connection", "keystile-mode"), "", []string{"400", ""}, false},
		{"CONNECT", fields(":method", "CONNECT", ":authority", g.site, "authorization", auth), "GET /admin/x HTTP/1.1\r\nHost: x\r\n\r\n", []string{"405"}, false},
		{"TRACE", fields(":method", "TRACE", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", auth), "GET /admin/x HTTP/1.1\r\nHost: x\r\n\r\n", []string{"405"}, false},
		{"two credentials", fields(":method", "GET", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", auth, "authorization", auth), "", []string{"401"}, false},
		{"denied body", fields(":method", "POST", ":scheme", "http", ":authority", g.site, ":path", "/v1/charges", "authorization", auth), "x", []string{"403"}, false},
		{"trailer", fields(":method", "POST", ":scheme", "http", ":authority", g.site, ":path", "/v1/customers", "authorization", "Bearer "+g.secret, "trailer", "keystile-account, x-sum"), "trailers", []string{"200"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status := h2Exchange(t, g.site, test.fields, test.body)
			count, wire, _ := g.backend.taken()
			ok := false
			for _, s := range test.status {
				ok = ok || s == status
			}
			if !ok || (count == 1) != test.served || strings.Contains(wire, "forged") || strings.Contains(wire, "/admin/x") {
				t.Errorf("status %q, want %q; backend reached %d times, want served %v\n%s", status, test.status, count, test.served, wire)
			}
			if test.name == "trailer" && !strings.Contains(wire, "X-Sum: 1") {
				t.Errorf("the client's own trailer is lost:\n%s", wire)
			}
		})
	}
}

// h2Exchange sends one request as HTTP/2 frames and answers the status, "" if the stream was reset. A body "trailers"
// stands for a body with trailers.
func h2Exchange(t *testing.T, address string, fields []string, body string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encode := func(pairs ...string) []byte {
		block.Reset()
		for i := 0; i < len(pairs); i += 2 {
			_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return bytes.Clone(block.Bytes())
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(fields...), EndHeaders: true, EndStream: body == ""})
	switch body {
	case "":
	case "trailers":
		_ = framer.WriteData(1, false, []byte("hello"))
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode("keystile-account", "forged", "x-sum", "1", "keystile_mode", "forged"), EndHeaders: true, EndStream: true})
	default:
		_ = framer.WriteData(1, true, []byte(body))
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return ""
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return ""
		case *http2.GoAwayFrame:
			return ""
		}
	}
}

// TestUnreachableBackend: row 12, as JSON of ours; and as Caddy's error where the site asks for it.
func TestUnreachableBackend(t *testing.T) {
	c := newCaddy(t)
	dead := freeAddress()
	gate := c.mustLoad(c.config("", wireCatalog, "keystile {\nopen /healthz\n}\nreverse_proxy "+dead))
	status, body := c.get("http://" + c.site + "/healthz")
	var answer errorBody
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 502 || answer.Error.Code != "upstream_unavailable" || answer.Error.Type != "api_error" {
		t.Errorf("status %d, body %s", status, body)
	}
	if strings.Contains(body, dead) {
		t.Errorf("the answer shows the backend's address: %s", body)
	}
	if err := gate.log.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	rec, err := gate.log.Get(context.Background(), answer.Error.RequestID)
	if err != nil || rec.Decision != "upstream_unavailable" || rec.Status != 502 || rec.UpstreamAddress != dead {
		t.Errorf("record %+v, %v", rec, err)
	}
	c.anew()
	c.mustLoad(c.config("", wireCatalog, "keystile {\nopen /healthz\ndenials handle_errors\n}\nreverse_proxy "+dead+"\nhandle_errors {\nrespond \"{err.status_code} {keystile.decision}\"\n}"))
	if status, body = c.get("http://" + c.site + "/healthz"); status != 502 || body != "502 upstream_unavailable" {
		t.Errorf("by handle_errors: %d %q", status, body)
	}
	if status, body = c.get("http://" + c.site + "/v1/charges"); status != 401 || body != "401 api_key_missing" {
		t.Errorf("by handle_errors: %d %q", status, body)
	}
	// what the operator returns on purpose stays
	c.anew()
	c.mustLoad(c.config("", wireCatalog, "keystile {\nopen /healthz\n}\nerror \"closed for now\" 503\nhandle_errors {\nrespond \"{err.message}\"\n}"))
	if status, body = c.get("http://" + c.site + "/healthz"); status != 503 || body != "closed for now" {
		t.Errorf("the error directive: %d %q", status, body)
	}
}

// TestDenialsDoNotWaitForBodies: a client that announces a body and does not send it gets its answer, and one that waits
// for leave to send is told no.
func TestDenialsDoNotWaitForBodies(t *testing.T) {
	g := newWireGateway(t, "", "keystile")
	second := "GET /v1/customers HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.secret + "\r\nConnection: close\r\n\r\n"
	for name, test := range map[string]struct {
		head string
		kept bool // the connection serves a second request
	}{
		"nothing sent":  {"Content-Length: 1000\r\n\r\n", false},
		"waits":         {"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", false},
		"large":         {"Content-Length: 10000000\r\n\r\nx", false},
		"half a chunk":  {"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", false},
		"whole":         {"Content-Length: 5\r\n\r\nhello", true},
		"whole, chunks": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true},
	} {
		began := time.Now()
		conn, err := net.Dial("tcp", g.site)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST /v1/charges HTTP/1.1\r\nHost: "+g.site+"\r\nAuthorization: Bearer "+g.restricted+"\r\n"+test.head)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil || answer.StatusCode != 403 || answer.Close == test.kept {
			t.Errorf("%s: answer %v, %v after %v; want 403 with the connection kept %v", name, answer, err, time.Since(began), test.kept)
			conn.Close()
			continue
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		if test.kept {
			_, _ = io.WriteString(conn, second)
			if answer, err = http.ReadResponse(reader, nil); err != nil || answer.StatusCode != 200 {
				t.Errorf("%s: second request: %v, %v", name, answer, err)
			}
		} else if _, err := reader.ReadByte(); err != io.EOF && !isReset(err) {
			t.Errorf("%s: the connection is still open: %v", name, err)
		}
		conn.Close()
	}
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
