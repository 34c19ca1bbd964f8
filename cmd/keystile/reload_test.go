package main_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// reloadRequests is how many requests run while the configuration is loaded again and again.
const reloadRequests = 20_000

// loadCaddyfile posts a Caddyfile to the admin endpoint, as `caddy reload --force` does, and returns the status.
func loadCaddyfile(t *testing.T, g *gatetest.Gateway, text string) (int, string) {
	t.Helper()
	req, err := http.NewRequest("POST", "http://"+g.AdminAddr+"/load", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// settle waits until Caddy has put one admin server in the place of another, which each load does in the background.
func settle(t *testing.T, g *gatetest.Gateway) {
	t.Helper()
	g.Admin.CloseIdle()
	deadline := time.Now().Add(10 * time.Second)
	for good := 0; good < 5; {
		if _, _, err := g.Admin.Call("GET", "/v1/accounts?limit=1", nil); err == nil {
			good++
		} else if good = 0; time.Now().After(deadline) {
			t.Fatalf("the admin endpoint does not come back: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
		g.Admin.CloseIdle()
	}
}

// recordIDs counts the request ids in the journal of a gateway, by id.
func recordIDs(t *testing.T, g *gatetest.Gateway) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	id := regexp.MustCompile(`"id":"(req_[0-9A-Za-z]+)"`)
	files, err := filepath.Glob(filepath.Join(g.DataDir(), "keystile", "requests", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range id.FindAllSubmatch(data, -1) {
			counts[string(m[1])]++
		}
	}
	return counts
}

// TestReloadUnderLoad: 20,000 requests while the configuration is loaded over and over, by POST and by the command, good
// ones and bad ones: none fails, and each has exactly one record.
//
// A stock Caddy, without Keystile, resets a few new connections at each reload: those that the kernel gave to the old
// listener and nobody accepted any more. No request on them was read. The client opens another, as clients do; such
// connections are counted and must stay few.
func TestReloadUnderLoad(t *testing.T) {
	backend := gatetest.NewBackend(t, "echo")
	g, site, key, _ := siteFor(t, "mode any", backend.Addr)
	raw, err := os.ReadFile(g.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var (
		sent, failed atomic.Int64
		handedOver   atomic.Int64
		ids          sync.Map
		wg           sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 16 {
		wg.Go(func() {
			for sent.Add(1) <= reloadRequests {
				req, err := http.NewRequestWithContext(ctx, "GET", "http://"+site+"/v1/customers", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+key.Token)
				resp, err := client.Do(req)
				for try := 1; err != nil && try < 5; try++ {
					handedOver.Add(1)
					resp, err = client.Do(req)
				}
				if err != nil {
					failed.Add(1)
					t.Error(err)
					continue
				}
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					failed.Add(1)
					t.Errorf("got %d, %v, want 200", resp.StatusCode, err)
				}
				if _, twice := ids.LoadOrStore(resp.Header.Get("Request-Id"), true); twice {
					t.Errorf("two requests have the id %s", resp.Header.Get("Request-Id"))
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	reloads := 0
loop:
	for {
		select {
		case <-done:
			break loop
		default:
		}
		switch reloads % 4 {
		case 0, 1:
			if status, body := loadCaddyfile(t, g, good); status != 200 {
				t.Errorf("reload %d: got %d %s", reloads, status, body)
			}
		case 2:
			if r := g.Run(t, "reload", "--config", g.ConfigPath(), "--adapter", "caddyfile", "--address", g.AdminAddr, "--force"); r.Code != 0 {
				t.Errorf("reload by the command: code %d\n%s", r.Code, r.Stderr)
			}
		case 3:
			bad := strings.Replace(good, "catalog {", "catalogue {", 1)
			if status, _ := loadCaddyfile(t, g, bad); status < 400 {
				t.Errorf("a wrong word was loaded: %d", status)
			}
		}
		reloads++
	}
	t.Logf("%d reloads during %d requests; %d connections reset at the hand-over", reloads, reloadRequests, handedOver.Load())
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, reloadRequests)
	}
	if n := handedOver.Load(); n > int64(4*reloads) {
		t.Errorf("%d connections were reset at %d reloads", n, reloads)
	}
	if reloads < 4 {
		t.Errorf("only %d reloads ran", reloads)
	}
	g.Stop(t) // a clean stop loses nothing
	counts := recordIDs(t, g)
	lost, twice := 0, 0
	ids.Range(func(id, _ any) bool {
		switch n := counts[id.(string)]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
		return true
	})
	if lost > 0 || twice > 0 {
		t.Errorf("%d records lost and %d doubled of %d", lost, twice, reloadRequests)
	}
}

// TestFailedReload: a configuration that cannot be loaded leaves everything as it was: traffic, revocation, records, and
// the admin API; and one that can takes effect.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, secret, restricted := siteFor(t, "mode any", backend.Addr)
	raw, err := os.ReadFile(g.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	blocked := filepath.Join(g.Dir, "directory")
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	other := gatetest.NewBackend(t, "occupied") // its port cannot be listened on
	tests := []struct{ name, config string }{
		{"wrong word in the global block", strings.Replace(good, "catalog {", "catalogue {", 1)},
		{"wrong word in the directive", strings.Replace(good, "mode any", "mode everything", 1)},
		{"store that is a directory", strings.Replace(good, "catalog {", "store bolt "+blocked+"\ncatalog {", 1)},
		{"missing OpenAPI file", strings.Replace(good, "catalog {", "catalog openapi "+filepath.Join(g.Dir, "none.yaml")+" {", 1)},
		{"conflicting rules", strings.Replace(good, "resource admin {", "resource admin {\nread GET /v1/charges", 1)},
		{"occupied port", good + "http://" + other.Addr + " {\n\tbind 127.0.0.1\n\trespond ok\n}\n"},
		{"unknown module", good + "http://127.0.0.1:" + "1 {\n\tnonsense\n}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.config == good {
				t.Fatal("the test's configuration is the good one")
			}
			status, body := loadCaddyfile(t, g, tt.config)
			if status < 400 {
				t.Fatalf("got %d, want a refusal", status)
			}
			if !strings.Contains(body, "error") {
				t.Errorf("the refusal says nothing: %q", body)
			}
			settle(t, g)
			key := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": secret.Account, "name": "after " + tt.name})
			answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token))
			if err != nil || answer.Status != 200 {
				t.Fatalf("after the failed reload: got %+v, %v, want 200", answer, err)
			}
			g.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
			g.Admin.DeleteKey(t, key.ID)
			if answer, err = gatetest.Send(site, "", get("/v1/customers", key.Token)); err != nil || answer.Status != 401 {
				t.Errorf("after the failed reload a deleted key: got %+v, %v, want 401", answer, err)
			}
			if answer, err = gatetest.Send(site, "", get("/v1/charges", restricted.Token)); err != nil || answer.Status != 403 {
				t.Errorf("after the failed reload: got %+v, %v, want 403", answer, err)
			}
		})
	}
	t.Run("a good one takes effect", func(t *testing.T) {
		opened := strings.Replace(good, "resource customers {", "resource customers {\nread GET /v1/more", 1)
		opened = strings.Replace(opened, "mode any", "mode live\nopen /free", 1)
		if status, body := loadCaddyfile(t, g, opened); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
		for request, want := range map[string]int{
			get("/v1/more", restricted.Token):          200,
			get("/v1/charges", restricted.Token):       403,
			gatetest.Request("GET", "/free", ""):       200,
			gatetest.Request("GET", "/v1/charges", ""): 401,
		} {
			if answer, err := gatetest.Send(site, "", request); err != nil || answer.Status != want {
				t.Errorf("%.40q: got %+v, %v, want %d", request, answer, err, want)
			}
		}
	})
}
