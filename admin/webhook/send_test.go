package webhook

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSignVector is the vector of the documentation: receivers in any language can be tested with it. It was made with
// openssl: printf '%s' '1767225600.{"id":"evt_1","type":"key.created"}' | openssl dgst -sha256 -hmac whsec_…
func TestSignVector(t *testing.T) {
	t.Parallel()
	got := Sign(time.Unix(1767225600, 999e6), []byte(`{"id":"evt_1","type":"key.created"}`), "whsec_0123456789abcdefghijABCDEFGHIJ01")
	const want = "t=1767225600,v1=de32bcdfda6088275452aa3eafa425f2a1a01284aeb427b264f9df87db5a9ed4"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ok", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "{}" || r.Header.Get("X-Test") != "1" || r.Header.Get("Accept-Encoding") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(make([]byte, 10*maxAnswer)) // more than is read
	})
	mux.HandleFunc("/fail", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/target")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/target", func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	mux.HandleFunc("/break", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxAnswerHeader))
	})
	server, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer server.Close()
	defer secure.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	trusting := func(s *sender) {
		transport := s.client.Transport.(*http.Transport)
		transport.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	}
	for _, tc := range []struct {
		name, url string
		private   bool
		set       func(*sender)
		status    int
		want      error
	}{
		{"delivered", server.URL + "/ok", true, nil, 202, nil},
		{"TLS", secure.URL + "/ok", true, trusting, 202, nil},
		{"status", server.URL + "/fail", true, nil, 502, nil},
		{"redirect", server.URL + "/redirect", true, nil, 307, errRedirect},
		{"broken", server.URL + "/break", true, nil, 0, errBroken},
		{"long header", server.URL + "/header", true, nil, 0, errBroken},
		{"nobody listens", closed.URL, true, nil, 0, errConnect},
		{"unknown certificate", secure.URL + "/ok", true, nil, 0, errTLS},
		{"no TLS", strings.Replace(server.URL, "http:", "https:", 1) + "/ok", true, nil, 0, errTLS},
		{"plain, not allowed", server.URL + "/ok", false, nil, 0, errScheme},
		{"loopback, not allowed", secure.URL + "/ok", false, trusting, 0, errAddress},
		{"name of loopback, not allowed", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1) + "/ok", false, trusting, 0, errAddress},
		{"mapped loopback, not allowed", strings.Replace(secure.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1) + "/ok", false, trusting, 0, errAddress},
		{"number of loopback, not allowed", strings.Replace(secure.URL, "127.0.0.1", "[::1]", 1) + "/ok", false, trusting, 0, errAddress},
		{"no such name", "https://does-not-exist.invalid/", false, nil, 0, errName},
	} {
		s := newSender()
		s.private.Store(tc.private)
		if tc.set != nil {
			tc.set(s)
		}
		status, err := s.send(t.Context(), tc.url, http.Header{"X-Test": {"1"}}, []byte("{}"))
		switch {
		case status != tc.status:
			t.Errorf("%s: status %d (%v), want %d", tc.name, status, err, tc.status)
		case tc.want == nil && (err == nil) != (status/100 == 2):
			t.Errorf("%s: status %d with error %v", tc.name, status, err)
		case tc.want != nil && !errors.Is(err, tc.want):
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		case err != nil && strings.Contains(err.Error(), "://"):
			t.Errorf("%s: the error holds the URL: %v", tc.name, err)
		}
	}
	if hits.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestNoProxy: a proxy of the environment would connect in the gateway's place, to where it likes.
func TestNoProxy(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("ALL_PROXY", proxy.URL)
	s := newSender()
	if s.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("the transport has a proxy")
	}
	s.private.Store(true)
	if _, err := s.send(t.Context(), "http://does-not-exist.invalid/", nil, nil); !errors.Is(err, errName) {
		t.Errorf("got %v, want %v", err, errName)
	}
	if asked.Load() != 0 {
		t.Error("the proxy was asked")
	}
}
