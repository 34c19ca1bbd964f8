package main_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestRetentionByReload: a reload that lets the request log take less room takes effect at once, without a restart.
func TestRetentionByReload(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		noise := make([]byte, 48<<10) // nothing makes this smaller
		_, _ = rand.Read(noise)
		_, _ = io.WriteString(w, base64.StdEncoding.EncodeToString(noise))
	}))
	t.Cleanup(server.Close)
	port := gatetest.FreePort(t)
	g := gatetest.New(t)
	config := func(words string) string {
		return gatetest.Config{
			Keystile: gatetest.Catalog + "\nrequest_log archive {\n" + words + "\n}\n",
			Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tmode any\n\t\tcapture {\n\t\t\tresponse_body 64KiB\n\t\t}\n\t}\n\treverse_proxy %s\n}\n",
				port, strings.TrimPrefix(server.URL, "http://")),
		}.Text(g)
	}
	g.WriteConfig(t, config("retention 90d\nmax_size 20GiB"))
	g.Start(t)
	key := g.Admin.DefaultKey(t, g.Admin.CreateAccount(t, "a", "").ID, "secret", "live")
	const n = 50
	last := ""
	for range n {
		answer, err := gatetest.Send(fmt.Sprintf("127.0.0.1:%d", port), "", get("/v1/customers", key.Token))
		if err != nil || answer.Status != 200 {
			t.Fatalf("got %+v, %v", answer, err)
		}
		last = answer.Header.Get("Request-Id")
	}
	g.Admin.AwaitRecord(t, last)
	kept := 0
	for _, row := range g.Admin.Records(t, url.Values{"key": {key.ID}}) {
		text, _ := row["response_body"].(string)
		kept += len(text)
	}
	if kept < 2<<20 {
		t.Fatalf("%d bytes of bodies are kept: the test shows nothing", kept)
	}
	g.Stop(t) // so that nothing is being written
	g.Start(t)
	count := func() int { return len(g.Admin.Records(t, url.Values{"key": {key.ID}})) }
	if got := count(); got != n {
		t.Fatalf("after a restart %d records are there, want %d", got, n)
	}
	if status, body := loadCaddyfile(t, g, config("max_size 1MiB")); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	settle(t, g)
	for deadline := time.Now().Add(30 * time.Second); count() == n; {
		if time.Now().After(deadline) {
			t.Fatal("the reload has deleted nothing")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
