package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// closeLimit is the contract's bound for streams of a revoked key, with room for a loaded machine.
const closeLimit = 5*time.Second + 3*time.Second

// streamBackend echoes WebSocket messages and sends an event every 50 ms on any other path.
func streamBackend(t *testing.T) (server *httptest.Server, open *atomic.Int32) {
	t.Helper()
	open = new(atomic.Int32)
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		if websocket.IsWebSocketUpgrade(r) {
			if r.Header.Get("Authorization") != "" {
				t.Error("the backend received the credential with the handshake")
			}
			conn, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer conn.Close()
			for {
				kind, message, err := conn.ReadMessage()
				if err != nil {
					return
				}
				message = append([]byte(r.Header.Get("Keystile-Key-Id")+" "), message...)
				if conn.WriteMessage(kind, message) != nil {
					return
				}
			}
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server, open
}

func dialWebSocket(t *testing.T, site, token string) *websocket.Conn {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.Dial("ws://"+site+"/v1/customers/live", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatalf("dialing: %v (%+v)", err, resp)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if !strings.HasPrefix(resp.Header.Get("Request-Id"), "req_") {
		t.Errorf("got Request-Id %q in the handshake's answer", resp.Header.Get("Request-Id"))
	}
	return conn
}

func echoes(t *testing.T, conn *websocket.Conn, key gatetest.Key) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, message, err := conn.ReadMessage()
	if err != nil || string(message) != key.ID+" hello" {
		t.Fatalf("got %q, %v, want the echo with the key's id", message, err)
	}
}

// ends waits until read fails and wants that within the contract's bound.
func ends(t *testing.T, what string, read func() error) {
	t.Helper()
	start := time.Now()
	done := make(chan error, 1)
	go func() {
		for {
			if err := read(); err != nil {
				done <- err
				return
			}
		}
	}()
	select {
	case <-done:
		t.Logf("%s ended %v after the revocation", what, time.Since(start).Round(time.Millisecond))
	case <-time.After(closeLimit):
		t.Errorf("%s still runs %v after the revocation, want an end within 5 s", what, closeLimit)
	}
}

// TestStreamsOfARevokedKey: WebSockets and event streams of a key end within 5 s of its deletion, rotation, or of a change
// that would refuse them now; those of other keys go on.
func TestStreamsOfARevokedKey(t *testing.T) {
	t.Parallel()
	server, open := streamBackend(t)
	g, site, other, _ := siteFor(t, "mode any", server.Listener.Addr().String())
	account := other.Account
	newKey := func(kind string) gatetest.Key {
		in := gatetest.Fields{"kind": kind, "mode": "live", "account": account, "name": "streaming"}
		if kind == "restricted" {
			in["permissions"] = gatetest.Fields{"customers": "read"}
		}
		return g.Admin.CreateKey(t, in)
	}
	stay := dialWebSocket(t, site, other.Token)
	echoes(t, stay, other)

	revocations := []struct {
		name, kind string
		revoke     func(id string)
	}{
		{"delete", "secret", func(id string) { g.Admin.DeleteKey(t, id) }},
		{"rotate now", "secret", func(id string) { g.Admin.Do(t, "POST", "/v1/keys/"+id+"/rotate", gatetest.Fields{}, nil) }},
		{"narrow", "restricted", func(id string) {
			g.Admin.EditKey(t, id, gatetest.Fields{"permissions": gatetest.Fields{"charges": "read"}})
		}},
		{"limit to another address", "restricted", func(id string) {
			g.Admin.EditKey(t, id, gatetest.Fields{"ip_ranges": []string{"203.0.113.0/24"}})
		}},
	}
	for _, tt := range revocations {
		t.Run(tt.name, func(t *testing.T) {
			key := newKey(tt.kind)
			conn := dialWebSocket(t, site, key.Token)
			echoes(t, conn, key)
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+site+"/v1/customers/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+key.Token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			events := bufio.NewReader(resp.Body)
			if line, err := events.ReadString('\n'); err != nil || line != "data: 0\n" {
				t.Fatalf("got %q, %v, want the first event at once", line, err)
			}
			tt.revoke(key.ID)
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			ends(t, "the WebSocket", func() error { _, _, err := conn.ReadMessage(); return err })
			ends(t, "the event stream", func() error { _, err := events.ReadString('\n'); return err })
		})
	}
	t.Run("others go on", func(t *testing.T) { echoes(t, stay, other) })
	deadline := time.Now().Add(5 * time.Second)
	for open.Load() > 1 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if n := open.Load(); n != 1 {
		t.Errorf("%d streams are open at the backend, want the one of the other key", n)
	}
	t.Run("an edit that keeps the right keeps the stream", func(t *testing.T) {
		g.Admin.EditKey(t, other.ID, gatetest.Fields{"note": "changed"})
		time.Sleep(2 * time.Second)
		echoes(t, stay, other)
	})
}

// TestEventStreamIsNotHeldBack: events pass one by one, not when a buffer is full.
func TestEventStreamIsNotHeldBack(t *testing.T) {
	t.Parallel()
	server, _ := streamBackend(t)
	_, site, key, _ := siteFor(t, "mode any", server.Listener.Addr().String())
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+site+"/v1/customers/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for n := range 5 {
		line, err := in.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", n) {
			t.Fatalf("event %d: got %q, %v", n, line, err)
		}
		if _, err := in.Discard(1); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
}
