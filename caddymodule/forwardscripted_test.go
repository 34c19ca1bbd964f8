package caddymodule

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keystile/keystile/requestlog"
)

// scriptedBackend answers the requests of each connection as its script says, byte for byte.
type scriptedBackend struct {
	net.Listener
	connections, requests atomic.Int64

	mu   sync.Mutex
	wire strings.Builder // heads and bodies, as they came
}

// newScriptedBackend calls script for each request, with the number of the request on its connection. The script answers
// what is written, and whether the connection stays open.
func newScriptedBackend(t testing.TB, script func(nth int, r *http.Request, conn net.Conn) (answer string, stay bool)) *scriptedBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &scriptedBackend{Listener: listener}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.connections.Add(1)
			go b.serve(conn, script)
		}
	}()
	return b
}

func (b *scriptedBackend) serve(conn net.Conn, script func(int, *http.Request, net.Conn) (string, bool)) {
	defer conn.Close()
	reader := bufio.NewReader(io.TeeReader(conn, lockedWriter{b}))
	for nth := 0; ; nth++ {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		b.requests.Add(1)
		answer, stay := script(nth, r, conn)
		if _, err := io.WriteString(conn, answer); err != nil || !stay {
			return
		}
	}
}

type lockedWriter struct{ b *scriptedBackend }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.wire.Write(p)
}

// taken is what came since the last call.
func (b *scriptedBackend) taken() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wire.Reset()
	return b.wire.String()
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"

// shortGateway is a gateway in Caddy whose live requests take the short way.
type shortGateway struct {
	*caddyProcess
	token string
}

// newShortGateway runs a site whose live upstreams are these, with options of reverse_proxy.
func newShortGateway(t *testing.T, global, options string, backends ...string) *shortGateway {
	t.Helper()
	g := &shortGateway{caddyProcess: newCaddy(t)}
	gate := g.mustLoad(g.config(global, wireCatalog, "keystile {\nupstreams {\nlive "+strings.Join(backends, " ")+" {\n"+options+"\n}\n}\n}"))
	_, keys, err := gate.store.CreateAccount(context.Background(), testActor, accountNamed("short"))
	if err != nil {
		t.Fatal(err)
	}
	g.token = revealSecrets(t, gate.store, keys)["live"]
	return g
}

func (g *shortGateway) request(method, more string) string {
	return method + " /v1/charges HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.token + "\r\n" + more + "\r\n"
}

// once sends a request over a connection of its own.
func (g *shortGateway) once(method, more string) string {
	g.t.Helper()
	return exchangeRaw(g.t, g.site, g.request(method, "Connection: close\r\n"+more))
}

// record is the newest record of the log.
func (g *shortGateway) record() *requestlog.Record {
	g.t.Helper()
	log := g.gate().log
	if err := log.Flush(context.Background()); err != nil {
		g.t.Fatal(err)
	}
	page, err := log.List(context.Background(), requestlog.Filter{}, 1, "")
	if err != nil || len(page.Records) != 1 {
		g.t.Fatalf("reading the newest record: %v, %d records", err, len(page.Records))
	}
	return page.Records[0]
}

// finalAnswer passes over 1xx answers.
func finalAnswer(raw, method string) (*http.Response, error) {
	reader := bufioReader(raw)
	for {
		res, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil || res.StatusCode >= 200 {
			return res, err
		}
	}
}

// alike brings the lines of a message into an order, joins those of one name, and takes out what differs each time.
func alike(message string) string {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first := lines[0]
	headers := make(map[string][]string)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if name != "Keystile-Request-Id" && name != "Request-Id" {
			headers[name] = append(headers[name], value)
		}
	}
	joined := make([]string, 0, len(headers))
	for name, values := range headers {
		joined = append(joined, name+": "+strings.Join(values, ", "))
	}
	slices.Sort(joined)
	return first + "\n" + strings.Join(joined, "\n") + "\n\n" + body
}
