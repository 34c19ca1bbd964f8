package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// serve runs the gateway behind a real server: deadlines, hijacking and cancellation are the server's work.
func (g *testGateway) serve(http2 bool) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
		_ = g.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			return g.backend(w, r)
		}))
	}))
	server.EnableHTTP2 = http2
	if http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	g.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// TestStreamsOfRevokedKeysEnd: what a stream is makes no difference: server-sent events, an answer that trickles, over
// HTTP/1.1 and HTTP/2, while the backend is silent and while it is sending.
func TestStreamsOfRevokedKeysEnd(t *testing.T) {
	t.Parallel()
	changes := map[string]func(g *testGateway, k *keystore.Key) error{
		"deleted": func(g *testGateway, k *keystore.Key) error {
			_, err := g.store.DeleteKey(context.Background(), testActor, k.ID)
			return err
		},
		"narrowed": func(g *testGateway, k *keystore.Key) error {
			_, err := g.store.UpdateKey(context.Background(), testActor, k.ID, keystore.KeyPatch{
				Permissions: keystore.To(policy.NewPermissions(map[string]policy.Access{"charges": policy.AccessRead})),
			})
			return err
		},
		"of a store that is no longer used": func(g *testGateway, _ *keystore.Key) error { return g.store.Close() },
		"limited": func(g *testGateway, k *keystore.Key) error {
			_, err := g.store.UpdateKey(context.Background(), testActor, k.ID, keystore.KeyPatch{IPRanges: keystore.To([]string{"203.0.113.0/24"})})
			return err
		},
	}
	for change, apply := range changes {
		for _, http2 := range []bool{false, true} {
			for _, accept := range []string{"text/event-stream", "*/*"} {
				for _, sending := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s,h2=%v,accept=%s,sending=%v", change, http2, accept, sending), func(t *testing.T) {
						t.Parallel()
						endsAfter(t, apply, http2, accept, sending)
					})
				}
			}
		}
	}
}

// endsAfter opens a stream, changes its key, and waits for its end.
func endsAfter(t *testing.T, change func(*testGateway, *keystore.Key) error, http2 bool, accept string, sending bool) {
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	ended := make(chan struct{})
	g.backend = func(w http.ResponseWriter, r *http.Request) error {
		defer close(ended)
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case <-r.Context().Done():
				return nil
			case <-time.After(10 * time.Millisecond):
				if !sending {
					continue
				}
				if _, err := io.WriteString(w, "more\n"); err != nil {
					return err
				}
			}
		}
	}
	server := g.serve(http2)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/customers", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", accept)
	answer, err := server.Client().Do(r)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("opening the stream: %v %v", answer, err)
	}
	defer answer.Body.Close()
	if line, err := bufio.NewReader(answer.Body).ReadString('\n'); line != "first\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	if err := change(g, key); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("open after 5 s")
	}
}

// TestUpgradesOfRevokedKeysEnd: a hijacked connection is closed, its record comes at its end and counts its bytes.
func TestUpgradesOfRevokedKeysEnd(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	ended := make(chan error, 1)
	g.backend = func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffers, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = buffers.Flush()
		for {
			line, err := buffers.ReadString('\n')
			if err != nil {
				ended <- err
				return nil
			}
			if _, err := io.WriteString(conn, line); err != nil {
				ended <- err
				return nil
			}
		}
	}
	server := g.serve(false)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// the first line of the new protocol comes together with the handshake
	_, _ = io.WriteString(conn, "GET /v1/customers HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+token+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\none\n")
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != 101 || answer.Header.Get("Request-Id") == "" {
		t.Fatalf("handshake: %v %v, want 101 with Request-Id", answer, err)
	}
	if line, _ := reader.ReadString('\n'); line != "one\n" {
		t.Fatalf("echo %q, want the line that came with the handshake", line)
	}
	_, _ = io.WriteString(conn, "three\n")
	if line, _ := reader.ReadString('\n'); line != "three\n" {
		t.Fatalf("echo %q", line)
	}
	if _, err := g.store.DeleteKey(t.Context(), testActor, key.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("open after 5 s")
	}
	if _, err := reader.ReadByte(); err == nil {
		t.Error("the client's connection is still open")
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		rec := g.lastRecordOrNil()
		if rec != nil {
			if rec.Status != 101 || rec.BytesIn != 10 || rec.BytesOut != 10 {
				t.Errorf("record: status %d, %d bytes in, %d out; want 101, 10, 10", rec.Status, rec.BytesIn, rec.BytesOut)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no record of the upgraded connection")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestUpgradeIsDecidedFirst: attack G1.
func TestUpgradeIsDecidedFirst(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, token := g.restricted(readCustomers())
	g.wantDenied(request("GET", "/v1/charges", token, "Upgrade", "websocket", "Connection", "Upgrade"), 403, "permission_denied")
}

// TestOrdinaryRequestsAreNotWatched, and streams are let go of at their end.
func TestOrdinaryRequestsAreNotWatched(t *testing.T) {
	registry := openStreams
	defer func() { openStreams = registry }()
	openStreams = &streamRegistry{interval: time.Hour}
	openStreams.running.Store(true) // no sweeper: sweeps are called by hand
	g := newGateway(t, nil)
	g.wantServed(request("GET", "/v1/charges", g.live))
	if n := openStreams.next.Load(); n != 0 {
		t.Errorf("%d ordinary requests went under watch", n)
	}
	during := int64(0)
	g.backend = func(w http.ResponseWriter, _ *http.Request) error {
		for range 3 {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
		during = openStreams.open.Load()
		if ended := openStreams.sweep(); ended != 0 {
			return errors.New("a good stream was ended")
		}
		return nil
	}
	g.wantServed(request("GET", "/v1/charges", g.live))
	if during != 1 || openStreams.open.Load() != 0 {
		t.Errorf("%d streams under watch while one ran, %d after it; want 1 and 0", during, openStreams.open.Load())
	}
	for i := range openStreams.shards {
		if openStreams.shards[i].head != nil {
			t.Errorf("shard %d still holds a stream", i)
		}
	}
}

// TestSweeperComesAndGoes: it runs while there are streams, and no longer.
func TestSweeperComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := &streamRegistry{interval: time.Second}
		for range 3 {
			var streams [50]stream
			for i := range streams {
				x := &exchange{} // without a key: never ended
				streams[i].x = x
				registry.add(&streams[i])
			}
			time.Sleep(10 * time.Second)
			if !registry.running.Load() {
				t.Error("no sweeper with streams open")
			}
			for i := range streams {
				registry.remove(&streams[i])
			}
			time.Sleep(2 * time.Second)
			if registry.running.Load() {
				t.Error("a sweeper without streams")
			}
		}
	})
}
