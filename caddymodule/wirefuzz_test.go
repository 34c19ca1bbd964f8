package caddymodule

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keystile/keystile/policy"
)

// twoWays is one Caddy with two sites in front of one backend, which keeps every byte: the short way of `upstreams`, and
// Caddy's reverse_proxy. Both sign what they decided on.
type twoWays struct {
	*caddyProcess
	backend *scriptedBackend
	sites   [2]string
	token   string
}

func newTwoWays(t testing.TB, answer func() string) *twoWays {
	w := &twoWays{caddyProcess: newCaddy(t)}
	w.backend = newScriptedBackend(t, func(int, *http.Request, net.Conn) (string, bool) { return answer(), false })
	other := freeAddress()
	address := w.backend.Addr().String()
	gate := w.mustLoad(w.config("servers {\nprotocols h1 h2c\n}", wireCatalog, "keystile {\nsign on\nupstreams {\nlive "+address+"\n}\n}\n}\nhttp://"+other+
		" {\nkeystile {\nsign on\n}\nreverse_proxy "+address+" {\ntransport http {\ncompression off\n}\n}"))
	w.sites = [2]string{w.site, other}
	_, keys, err := gate.store.CreateAccount(context.Background(), testActor, accountNamed("two"))
	if err != nil {
		t.Fatal(err)
	}
	w.token = revealSecrets(t, gate.store, keys)["live"]
	return w
}

// passed is one request as the backend got it, and what the gateway says that it decided on.
type passed struct {
	status               int
	method, target       string // on the wire
	claimMethod, decided string
}

// FuzzWireTarget sends any request target, over HTTP/1.1 and HTTP/2, by both ways to a backend. What is let through is read by
// the backend as the path that was decided on, byte by byte the same by both ways; what is not never arrives.
func FuzzWireTarget(f *testing.F) {
	w := newTwoWays(f, func() string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" })
	for _, target := range []string{
		"/v1/charges", "/v1/%63harges", "/v1/customers/../charges", "/v1/customers/%2e%2e/charges", "//v1/charges", "/v1/a%2fb", "/v1/a%5cb", "/a;b/c", "/..;/a",
		"/%252e%252e/x", "/a?b=../c", "/a?b#c", "/a#b", "*", "http://other.example/v1/charges", "/é", "/%C3%A9", "/%c3%a9", "/%", "/a%", "/a|b", "/[a]", "/a b",
		"/a\tb", "/a\"b", "/{a}^`", "/a%00", "/%ff", "/a?", "/?/", "/a%3fb", "/a%23b", "/:80/", "/.", "/a/.", "/a/%2E", "?a", "", "a:b", "/a%20b", "/a+b", "/a%2Bb",
	} {
		for _, method := range []string{"GET", "HEAD", "PURGE"} {
			f.Add(method, target, false)
			f.Add(method, target, true)
		}
	}
	f.Add("TRACE", "/v1/charges", false)
	f.Add("CONNECT", "/v1/charges", true)
	f.Add("get", "/v1/charges", false)
	f.Fuzz(func(t *testing.T, method, target string, h2 bool) {
		if len(method)+len(target) > 4096 || !h2 && strings.ContainsAny(method+target, "\r\n") {
			return // the second: more lines than one are another request
		}
		var ways [2]passed
		for i, site := range w.sites {
			ways[i] = w.send(t, site, method, target, h2)
		}
		if ways[0] != ways[1] {
			t.Fatalf("%q %q: the short way %+v, Caddy's proxy %+v", method, target, ways[0], ways[1])
		}
		got := ways[0]
		if got.target == "" {
			if path, ok := policy.CanonicalPath(target); ok && method == "GET" {
				if _, err := url.ParseRequestURI(target); err == nil && path == target {
					t.Fatalf("%q is plain, and was answered %d", target, got.status)
				}
			}
			return
		}
		if got.claimMethod != got.method || got.method != method && !h2 {
			t.Fatalf("method %q: decided on %q, sent %q", method, got.claimMethod, got.method)
		}
		escaped, query, _ := strings.Cut(got.target, "?")
		if decoded, err := url.PathUnescape(escaped); err != nil || decoded != got.decided {
			t.Fatalf("%q: decided on %q, and the backend reads %q", target, got.decided, decoded)
		}
		if path, ok := policy.CanonicalPath(escaped); !ok || path != got.decided {
			t.Fatalf("%q: decided on %q, and sent %q, which is read as %q, %v", target, got.decided, got.target, path, ok)
		}
		r, err := http.ReadRequest(bufioReader("GET " + got.target + " HTTP/1.1\r\nHost: x\r\n\r\n"))
		if err != nil || r.URL.Path != got.decided || r.URL.RawQuery != query {
			t.Fatalf("%q: sent %q, which net/http reads as %+v, %v", target, got.target, r, err)
		}
		if _, sent, _ := strings.Cut(target, "?"); sent != query {
			t.Fatalf("%q: the query became %q", target, query)
		}
	})
}

// send sends a request and answers what came of it.
func (w *twoWays) send(t *testing.T, site, method, target string, h2 bool) passed {
	t.Helper()
	w.backend.taken()
	var got passed
	var err error
	if h2 {
		got.status, err = askHTTP2(site, method, target, "Bearer "+w.token)
	} else {
		got.status, err = askHTTP1(site, method+" "+target+" HTTP/1.1\r\nHost: "+w.site+"\r\nConnection: close\r\nAuthorization: Bearer "+w.token+"\r\n\r\n", method)
	}
	if err != nil {
		t.Fatalf("%q %q: %v", method, target, err)
	}
	wire := w.backend.taken()
	if wire == "" {
		return got
	}
	if n := strings.Count(wire, "\r\n\r\n"); n != 1 || !strings.HasSuffix(wire, "\r\n\r\n") {
		t.Fatalf("%q %q became %d requests: %q", method, target, n, wire)
	}
	line, head, _ := strings.Cut(wire, "\r\n")
	words := strings.Split(line, " ")
	if len(words) != 3 || words[2] != "HTTP/1.1" {
		t.Fatalf("%q %q: request line %q", method, target, line)
	}
	got.method, got.target = words[0], words[1]
	_, assertion, _ := strings.Cut(head, "Keystile-Assertion: ")
	assertion, _, _ = strings.Cut(assertion, "\r\n")
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		t.Fatalf("%q %q: no assertion in %q", method, target, head)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		t.Fatalf("%q: %v", payload, err)
	}
	got.claimMethod, got.decided = c.Method, c.Path
	return got
}

// askHTTP1 sends bytes and answers the status, 0 for a connection that was closed without an answer.
func askHTTP1(site, request, method string) (int, error) {
	conn, err := net.Dial("tcp", site)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, err
	}
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); errors.Is(err, io.EOF) || err != nil && isReset(err) {
		return 0, nil
	}
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil && !isReset(err) {
		return 0, err
	}
	return res.StatusCode, nil
}

// askHTTP2 sends one request with any method and path, and answers the status, 0 if the server refuses the stream.
func askHTTP2(site, method, path, authorization string) (status int, err error) {
	conn, err := net.Dial("tcp", site)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", site}, {":path", path}, {"authorization", authorization}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return 0, err
		}
	}
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return 0, err
	}
	if err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true,
	})); err != nil {
		return 0, err
	}
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) || err != nil && isReset(err) {
			return status, nil
		}
		if err != nil {
			return 0, err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if _, err := fmt.Sscan(frame.PseudoValue("status"), &status); err != nil {
				return 0, err
			}
			if frame.StreamEnded() {
				return status, nil
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return status, nil
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status, nil
		}
	}
}
