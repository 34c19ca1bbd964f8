package caddymodule

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// TestShortWayIsTaken: the other tests of this file would pass as well if every request went through Caddy's proxy.
func TestShortWayIsTaken(t *testing.T) {
	transport := func(text string) string { return "transport http {\n" + text + "\n}" }
	for options, short := range map[string]bool{
		"":                                           true,
		"header_up X-Own value":                      true,
		"header_down -Server":                        true,
		"flush_interval -1":                          true,
		"lb_policy round_robin":                      true,
		"fail_duration 2s":                           true,
		transport("response_header_timeout 1s"):      true,
		transport("keepalive_idle_conns 10"):         true,
		"lb_policy least_conn":                       false,
		"lb_policy cookie":                           false,
		"unhealthy_status 5xx":                       false,
		"request_buffers 4KiB":                       false,
		"trusted_proxies private_ranges":             false,
		transport("read_timeout 1s"):                 false,
		transport("keepalive off"):                   false,
		transport("max_conns_per_host 5"):            false,
		transport("tls"):                             false,
		transport("versions h2c"):                    false,
		transport("proxy_protocol v2"):               false,
		transport("network_proxy url http://a"):      false,
		"@err status 500\nhandle_response @err {\n}": false,
	} {
		newShortGateway(t, "", options, "127.0.0.1:1")
		if _, is := liveUpstream(t).(*shortWay); is != (short && canProbe) {
			t.Errorf("%q: short way %v, want %v", options, is, short)
		}
	}
}

// TestShortWayKnowsTheProxy fails when an update of Caddy brings new options: shortWayFits and plainTransport have to say
// whether the short way does what they ask for.
func TestShortWayKnowsTheProxy(t *testing.T) {
	t.Parallel()
	for _, known := range []struct {
		of     any
		fields int
	}{
		{reverseproxy.Handler{}, 18}, {reverseproxy.HTTPTransport{}, 19}, {reverseproxy.PassiveHealthChecks{}, 5},
		{reverseproxy.LoadBalancing{}, 5}, {reverseproxy.KeepAlive{}, 5}, {reverseproxy.Upstream{}, 2},
	} {
		count, kind := 0, reflect.TypeOf(known.of)
		for i := range kind.NumField() {
			if name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
				count++
			}
		}
		if count != known.fields {
			t.Errorf("%v has %d options, the short way was written for %d", kind, count, known.fields)
		}
	}
}

// TestShortWaySendsWhatTheProxySends: the same requests, through both, reach the backend alike, and its answers the client.
func TestShortWaySendsWhatTheProxySends(t *testing.T) {
	for _, global := range []string{"", "servers {\ntrusted_proxies static 127.0.0.1/32\n}"} {
		backend := newScriptedBackend(t, func(_ int, r *http.Request, _ net.Conn) (string, bool) {
			body := "Content-Length: 4\r\n\r\nbody"
			if r.Method == http.MethodHead {
				body = "Content-Length: 4\r\n\r\n"
			}
			return "HTTP/1.1 200 OK\r\nServer: own\r\nVia: 1.0 inner\r\nX-Two: a\r\nX-Two: b\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n" +
				"Connection: keep-alive, X-Hop\r\nRequest-Id: theirs\r\nDate: Mon, 23 Nov 2026 04:40:36 GMT\r\n" + body, true
		})
		const options = "header_up -X-Gone\nheader_up X-Own {upstream_hostport}\nheader_up Host backend.example\nheader_down X-Two c"
		for _, options := range []string{"", options} {
			short := newShortGateway(t, global, options, backend.Addr().String())
			var ways [2][]string
			for i, site := range []string{
				"keystile {\nupstreams {\nlive " + backend.Addr().String() + " {\n" + options + "\n}\n}\n}",
				"keystile\nreverse_proxy " + backend.Addr().String() + " {\n" + options + "\ntransport http {\ncompression off\n}\n}",
			} {
				short.anew()
				short.mustLoad(short.config(global, wireCatalog, site))
				for _, request := range []struct{ method, more string }{
					{"GET", ""},
					{"GET", "User-Agent: x\r\nAccept-Encoding: gzip\r\nX-Gone: 1\r\nX-Two: 1\r\nX-Two: 2\r\n"},
					{"GET", "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: other.example\r\n"},
					{"GET", "X-Forwarded-For:\r\nX-Forwarded-Proto:\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.2.3.4\r\n"},
					{"GET", "Via: 1.1 outer\r\nTe: trailers, deflate\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n"},
					{"HEAD", ""}, {"DELETE", ""}, {"PROPFIND", ""},
					{"POST", "Content-Length: 3\r\nContent-Type: text/plain\r\n\r\na=b"},
					{"POST", "Content-Length: 0\r\n"}, {"PUT", ""}, {"PATCH", ""},
					{"GET", "Content-Length: 2\r\n\r\nhi"},
				} {
					answer := short.once(request.method, request.more)
					seen := backend.taken()
					if seen == "" {
						t.Fatalf("%s: the backend saw nothing; the answer:\n%s", site, answer)
					}
					both := request.method + " " + request.more + "\n" + alike(seen) + "\n" + alike(answer)
					ways[i] = append(ways[i], strings.ReplaceAll(both, short.site, "SITE"))
				}
			}
			for i := range ways[0] {
				if ways[0][i] != ways[1][i] {
					t.Errorf("the short way:\n%s\n\nCaddy's proxy:\n%s", ways[0][i], ways[1][i])
				}
			}
		}
	}
}

// TestShortWayAnswers: what backends may answer, and what becomes of it.
func TestShortWayAnswers(t *testing.T) {
	tests := []struct {
		name, method, answer string
		status               int
		body                 string // "…": the client must not take it for whole
	}{
		{"length", "GET", fine, 200, "fine"},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", 200, "fine"},
		{"until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nfine", 200, "fine"},
		{"nothing", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{"unchanged", "GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", 304, ""},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 200, ""},
		{"hints first", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + fine, 200, "fine"},
		{"announced trailer", "GET", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX-Sum: 1\r\n\r\n", 200, "fine+X-Sum: 1"},
		{"other trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX-Sum: 1\r\n\r\n", 200, "fine+X-Sum: 1"},
		{"many hints", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 7) + fine, 200, "fine"},
		{"another protocol", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502, ""},
		{"no HTTP", "GET", "SSH-2.0-OpenSSH\r\n", 502, ""},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine!", 502, ""},
		{"a length that is none", "GET", "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine", 502, ""},
		{"a head without end", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10), 502, ""},
		{"cut off", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nfine", 200, "…"},
		{"cut off in chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n", 200, "…"},
		{"nothing at all", "GET", "", 502, ""},
		{"nothing at all to a POST", "POST", "", 502, ""},
	}
	// Each of them by both ways: what one does for an ordinary request the other does for one that has a word which the short way knows
	// nothing of. Each has a gateway of its own, with no connection from before, so that it is certain which way was gone.
	for _, test := range tests {
		for way, more := range map[string]string{"short way": "", "proxy": "Incremental: ?0\r\n"} {
			t.Run(test.name+" by the "+way, func(t *testing.T) {
				backend := newScriptedBackend(t, func(int, *http.Request, net.Conn) (string, bool) { return test.answer, false })
				g := newShortGateway(t, "", "transport http {\nmax_response_header 64KiB\n}", backend.Addr().String())
				raw := g.once(test.method, more)
				if n := backend.requests.Load(); n != 1 {
					t.Errorf("the backend was asked %d times", n)
				}
				res, err := finalAnswer(raw, test.method)
				if err != nil {
					t.Fatalf("%v\n%s", err, raw)
				}
				body, err := io.ReadAll(res.Body)
				got := string(body)
				for name := range res.Trailer {
					got += "+" + name + ": " + res.Trailer.Get(name)
				}
				switch {
				case res.StatusCode != test.status:
					t.Errorf("status %d, want %d\n%s", res.StatusCode, test.status, raw)
				case test.body == "…" && err == nil:
					t.Errorf("the client takes %q for a whole answer", got)
				case test.status == 502:
					if !strings.Contains(got, `"upstream_unavailable"`) {
						t.Errorf("body %q", got)
					}
				case test.body != "…" && got != test.body:
					t.Errorf("body %q, want %q\n%s", got, test.body, raw)
				}
				if r := g.record(); r.Status != test.status || r.UpstreamAddress != backend.Addr().String() {
					t.Errorf("the record says status %d of %q", r.Status, r.UpstreamAddress)
				}
				if test.name == "hints first" && !strings.HasPrefix(raw, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n") {
					t.Errorf("the hints are lost, or come after what nobody waits for: %s", raw)
				}
			})
		}
	}
}

// TestShortWayKeepsConnections: one after the other over one connection, and what a backend writes unasked is never the
// answer to somebody's request.
func TestShortWayKeepsConnections(t *testing.T) {
	const late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 5\r\n\r\nother"
	for _, test := range []struct {
		name        string
		answer      string
		stay        bool
		connections int64
	}{
		{"kept", fine, true, 1},
		{"more than was asked for", fine + late, true, 10},
		{"closed", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine", false, 10},
		{"closed without a word", fine, false, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := newScriptedBackend(t, func(int, *http.Request, net.Conn) (string, bool) { return test.answer, test.stay })
			g := newShortGateway(t, "", "", backend.Addr().String())
			for i := range 10 {
				method := [...]string{"GET", "DELETE"}[i%2]
				raw := g.once(method, "")
				if !strings.HasPrefix(raw, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(raw, "\r\n\r\nfine") {
					t.Errorf("answer %d:\n%s", i, raw)
				}
				waitForQuiet(t, test.connections > 1)
			}
			if got := backend.connections.Load(); got != test.connections {
				t.Errorf("%d connections for 10 requests, want %d", got, test.connections)
			}
			if got := backend.requests.Load(); got != 10 {
				t.Errorf("the backend saw %d requests, want 10", got)
			}
		})
	}
}

// waitForQuiet waits until the kernel knows that a backend has closed its connection, or has written more on it.
func waitForQuiet(t *testing.T, ends bool) {
	t.Helper()
	if !ends {
		return
	}
	var b *backend
	for _, b = range liveUpstream(t).(*shortWay).backends {
	}
	for range 2000 {
		b.mu.Lock()
		silent := false
		for _, c := range b.idle {
			silent = silent || c.silent()
		}
		b.mu.Unlock()
		if !silent {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the backend does not close its connection")
}

// liveUpstream is what forwards live requests at the one site.
func liveUpstream(t *testing.T) caddyhttp.Handler {
	t.Helper()
	app, err := activeApp()
	if err != nil {
		t.Fatal(err)
	}
	app.run.sites.mu.Lock()
	defer app.run.sites.mu.Unlock()
	return app.run.sites.handlers[0].Upstreams.live
}

// TestShortWayRepeats: a request goes out twice only if its method allows that, or nothing of it was sent.
func TestShortWayRepeats(t *testing.T) {
	for method, want := range map[string]struct {
		status   int
		requests int64
	}{"GET": {200, 3}, "HEAD": {200, 3}, "POST": {502, 2}, "DELETE": {502, 2}} {
		t.Run(method, func(t *testing.T) {
			var total atomic.Int64
			// The second request of all is read, and its connection ends without an answer.
			backend := newScriptedBackend(t, func(_ int, r *http.Request, _ net.Conn) (string, bool) {
				if total.Add(1) == 2 {
					return "", false
				}
				if r.Method == http.MethodHead {
					return "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", true
				}
				return fine, true
			})
			g := newShortGateway(t, "", "", backend.Addr().String())
			g.once("GET", "")
			raw := g.once(method, "Content-Length: 0\r\n")
			if !strings.HasPrefix(raw, fmt.Sprintf("HTTP/1.1 %d ", want.status)) || backend.requests.Load() != want.requests {
				t.Errorf("%d requests, want %d; answer, want %d:\n%s", backend.requests.Load(), want.requests, want.status, raw)
			}
		})
	}
}

// TestShortWayFailsOver: with several backends no request is lost to one that is not there.
func TestShortWayFailsOver(t *testing.T) {
	there := newScriptedBackend(t, func(int, *http.Request, net.Conn) (string, bool) { return fine, true })
	g := newShortGateway(t, "", "", freeAddress(), there.Addr().String(), freeAddress())
	for i := range 20 {
		method, more := "GET", ""
		if i%2 == 1 {
			method, more = "POST", "Content-Length: 3\r\n\r\na=b"
		}
		if raw := g.once(method, more); !strings.HasSuffix(raw, "\r\n\r\nfine") {
			t.Errorf("request %d:\n%s", i, raw)
		}
		if r := g.record(); r.UpstreamAddress != there.Addr().String() {
			t.Errorf("request %d: the record names %q", i, r.UpstreamAddress)
		}
	}
	if got := there.requests.Load(); got != 20 {
		t.Errorf("the backend saw %d requests, want 20", got)
	}
	if wire := there.taken(); strings.Count(wire, "a=b") != 10 {
		t.Errorf("not every body arrived:\n%s", wire)
	}
}

// TestShortWayTimesOut: a backend that does not answer in time is a 504, and is not asked again.
func TestShortWayTimesOut(t *testing.T) {
	release := make(chan struct{})
	backend := newScriptedBackend(t, func(nth int, _ *http.Request, _ net.Conn) (string, bool) {
		if nth > 0 {
			<-release
		}
		return fine, true
	})
	defer close(release)
	g := newShortGateway(t, "", "transport http {\nresponse_header_timeout 100ms\n}", backend.Addr().String())
	g.once("GET", "")
	raw := g.once("GET", "")
	if !strings.HasPrefix(raw, "HTTP/1.1 504 ") || !strings.Contains(raw, "upstream_unavailable") || backend.requests.Load() != 2 {
		t.Errorf("after %d requests:\n%s", backend.requests.Load(), raw)
	}
}

// TestShortWayClientGone: a client that goes away ends the request at the backend too, and its record says 499.
func TestShortWayClientGone(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	backend := newScriptedBackend(t, func(_ int, _ *http.Request, conn net.Conn) (string, bool) {
		close(asked)
		_, _ = conn.Read(make([]byte, 1)) // until the gateway closes
		close(ended)
		return "", false
	})
	g := newShortGateway(t, "", "", backend.Addr().String())
	conn, err := net.Dial("tcp", g.site)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, g.request("GET", "")); err != nil {
		t.Fatal(err)
	}
	<-asked
	conn.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the backend is still waited for")
	}
	deadline := time.Now().Add(20 * time.Second)
	for g.gate().log.Stats().Appended == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if r := g.record(); r.Status != statusClientGone || r.Decision != "allowed" {
		t.Errorf("the record says %d %s", r.Status, r.Decision)
	}
}

// TestShortWayBodyCut: a body that does not come whole never reaches the backend.
func TestShortWayBodyCut(t *testing.T) {
	backend := newScriptedBackend(t, func(int, *http.Request, net.Conn) (string, bool) { return fine, true })
	g := newShortGateway(t, "", "", backend.Addr().String())
	conn, err := net.Dial("tcp", g.site)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, g.request("POST", "Content-Length: 10\r\n")+"four"); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	deadline := time.Now().Add(20 * time.Second)
	for g.gate().log.Stats().Appended == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if r := g.record(); r.Status != statusClientGone || r.BytesIn != 4 || backend.connections.Load() != 0 {
		t.Errorf("the record says status %d, %d bytes in; the backend has %d connections", r.Status, r.BytesIn, backend.connections.Load())
	}
}

// TestShortWayStreams: pieces of a stream reach the client as they come.
func TestShortWayStreams(t *testing.T) {
	next := make(chan struct{})
	backend := newScriptedBackend(t, func(_ int, _ *http.Request, conn net.Conn) (string, bool) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nContent-Length: 22\r\n\r\ndata: one\n\n")
		<-next
		return "data: two\n\n", true
	})
	g := newShortGateway(t, "", "", backend.Addr().String())
	conn, err := net.Dial("tcp", g.site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, g.request("GET", "")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 11)
	if _, err := io.ReadFull(res.Body, piece); err != nil || string(piece) != "data: one\n\n" {
		t.Fatalf("the first piece: %q, %v", piece, err)
	}
	close(next)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "data: two\n\n" {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}

// TestBackendSweep: connections that are idle for too long are closed, the others stay.
func TestBackendSweep(t *testing.T) {
	t.Parallel()
	listening := newScriptedBackend(t, func(int, *http.Request, net.Conn) (string, bool) { return fine, true })
	b := &backend{network: "tcp", address: listening.Addr().String(), dialTime: time.Second, maxIdle: 2, idleTime: time.Hour}
	var taken []*backendConn
	for range 3 {
		c, err := b.take(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, c)
	}
	for _, c := range taken {
		b.put(c)
	}
	if len(b.idle) != 2 || taken[2].silent() {
		t.Errorf("%d idle connections, want the bound of 2, and the third closed", len(b.idle))
	}
	taken[0].since = time.Now().Add(-2 * time.Hour)
	b.sweep()
	if len(b.idle) != 1 || b.idle[0] != taken[1] || taken[0].silent() || !taken[1].silent() {
		t.Errorf("after the sweep %d are idle, want the newer one, open", len(b.idle))
	}
	b.close()
	b.put(taken[1])
	if len(b.idle) != 0 || taken[1].silent() {
		t.Error("a connection outlives its backend")
	}
}
