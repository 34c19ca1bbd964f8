package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// bodyBackend answers with the digest of what it received, and can stream.
func bodyBackend(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/grpc"):
			w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = io.Copy(w, r.Body)
			w.(http.Flusher).Flush()
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "not found")
			w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
		case strings.HasSuffix(r.URL.Path, "/big"):
			block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
			for range 256 { // 16 MiB
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		case strings.HasSuffix(r.URL.Path, "/error"):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Request-Id", "req_of_the_backend")
			w.Header().Set("WWW-Authenticate", "Basic realm=backend")
			w.WriteHeader(http.StatusPaymentRequired)
			_, _ = io.WriteString(w, `{"error":{"type":"card_error","code":"card_declined","message":"Your card was declined."}}`)
		case strings.HasSuffix(r.URL.Path, "/broken"):
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
		default:
			hash := sha256.New()
			n, err := io.Copy(hash, r.Body)
			fmt.Fprintf(w, "%d %s %v %v", n, hex.EncodeToString(hash.Sum(nil)), r.TransferEncoding, err)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// siteFor starts a gateway with one site in front of a backend address and returns it with the site and a live secret key
// and a restricted one (customers read).
func siteFor(t *testing.T, directive, backend string) (g *gatetest.Gateway, site string, secret, restricted gatetest.Key) {
	t.Helper()
	port := gatetest.FreePort(t)
	site = fmt.Sprintf("127.0.0.1:%d", port)
	g = gatetest.Launch(t, gatetest.Config{
		Global:   "servers {\n\tprotocols h1 h2 h2c\n}\n",
		Keystile: gatetest.Catalog,
		Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t%s\n\t}\n\treverse_proxy %s\n}\n", port, directive, backend),
	})
	account := g.Admin.CreateAccount(t, "a", "").ID
	secret = g.Admin.DefaultKey(t, account, "secret", "live")
	restricted = g.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "live", "account": account, "name": "r",
		"permissions": gatetest.Fields{"customers": "read"}})
	return g, site, secret, restricted
}

// TestBodies: bodies of every size and framing arrive whole, in both directions; denials do not wait for them.
func TestBodies(t *testing.T) {
	t.Parallel()
	server := bodyBackend(t)
	g, site, key, _ := siteFor(t, "mode any", server.Listener.Addr().String())
	do := func(t *testing.T, token, path string, body io.Reader) *http.Response {
		t.Helper()
		req, err := http.NewRequest("POST", "http://"+site+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	for _, size := range []int{0, 1, 4096, 100_000, 8 << 20} {
		body := bytes.Repeat([]byte{'x'}, size)
		sum := sha256.Sum256(body)
		for _, chunked := range []bool{false, true} {
			var reader io.Reader = bytes.NewReader(body)
			if chunked {
				reader = io.MultiReader(reader) // hides the length
			}
			resp := do(t, key.Token, "/v1/customers", reader)
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%d %s", size, hex.EncodeToString(sum[:])); !strings.HasPrefix(string(got), want) {
				t.Errorf("size %d, chunked %v: the backend got %.100s, want %s", size, chunked, got, want)
			}
		}
	}
	t.Run("large answer", func(t *testing.T) {
		resp := do(t, key.Token, "/v1/customers/big", nil)
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != 16<<20 {
			t.Errorf("got %d bytes, %v, want 16 MiB", n, err)
		}
		record := g.Admin.AwaitRecord(t, resp.Header.Get("Request-Id"))
		if got := number(record["bytes_out"]); got != 16<<20 {
			t.Errorf("got bytes_out %v, want %d", got, 16<<20)
		}
	})
	t.Run("response trailers", func(t *testing.T) {
		resp := do(t, key.Token, "/v1/customers/grpc", strings.NewReader("payload"))
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "payload" {
			t.Fatalf("got %q, %v", body, err)
		}
		if resp.Trailer.Get("Grpc-Status") != "5" || resp.Trailer.Get("Grpc-Message") != "not found" || resp.Trailer.Get("X-Late") != "unannounced" {
			t.Errorf("got trailers %v, want Grpc-Status 5 and the others", resp.Trailer)
		}
		h, err := gatetest.DialH2(site, "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		answer, err := h.Do(gatetest.H2Request("POST", "/v1/customers/grpc", key.Token, gatetest.F("te", "trailers")), []byte("payload"), nil)
		if err != nil || string(answer.Body) != "payload" || answer.Trailer.Get("Grpc-Status") != "5" {
			t.Errorf("over HTTP/2: got %+v, %v, want the trailer Grpc-Status 5", answer, err)
		}
	})
	t.Run("the backend's error passes as it is", func(t *testing.T) {
		resp := do(t, key.Token, "/v1/charges/error", nil)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 402 || !strings.Contains(string(body), "card_declined") {
			t.Errorf("got %d %s", resp.StatusCode, body)
		}
		ids := resp.Header.Values("Request-Id")
		if len(ids) != 1 || ids[0] == "req_of_the_backend" || !strings.HasPrefix(ids[0], "req_") {
			t.Fatalf("got Request-Id %v, want the gateway's own, once", ids)
		}
		record := g.Admin.AwaitRecord(t, ids[0])
		if record["error_type"] != "card_error" || record["error_code"] != "card_declined" || record["error_message"] != "Your card was declined." {
			t.Errorf("got the record %v, want the backend's error in it", record)
		}
		if record["decision"] != "allowed" || number(record["status"]) != 402 {
			t.Errorf("got decision %v status %v", record["decision"], record["status"])
		}
	})
	t.Run("an answer cut short is cut short", func(t *testing.T) {
		resp := do(t, key.Token, "/v1/customers/broken", nil)
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("got %q without an error, want an unexpected end", body)
		}
		g.Admin.AwaitRecord(t, resp.Header.Get("Request-Id"))
	})
}

// number reads a JSON number, -1 if it is none.
func number(v any) int {
	f, ok := v.(float64)
	if !ok {
		return -1
	}
	return int(f)
}

// TestHead: HEAD is read, answers no body, and its length stays.
func TestHead(t *testing.T) {
	b := theBed(t)
	answer := b.send(t, b.any, gatetest.Request("HEAD", "/v1/customers", "", gatetest.Bearer(b.RK.Token)))
	if answer.Status != 200 || len(answer.Body) != 0 || answer.Header.Get("Content-Length") == "" {
		t.Errorf("got %d, %d bytes, Content-Length %q", answer.Status, len(answer.Body), answer.Header.Get("Content-Length"))
	}
	for _, tt := range []struct {
		target, token string
		status        int
	}{
		{"/v1/charges", b.RK.Token, 403},
		{"/v1/customers", b.OLD.Token, 401},
		{"/v1/customers/../x", b.RK.Token, 400},
	} {
		before := b.calls()
		answer := b.send(t, b.any, gatetest.Request("HEAD", tt.target, "", gatetest.Bearer(tt.token)))
		if answer.Status != tt.status || len(answer.Body) != 0 || b.calls() != before {
			t.Errorf("%s: got %d with %d bytes, want %d without a body", tt.target, answer.Status, len(answer.Body), tt.status)
		}
		if answer.Header.Get("Request-Id") == "" {
			t.Errorf("%s: no Request-Id", tt.target)
		}
	}
}
