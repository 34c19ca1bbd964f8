package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// buildCollector builds the official OpenTelemetry Collector with what the tests need of it.
func buildCollector(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "otelcol")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = filepath.Join("testdata", "otelcol")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the collector: %v\n%s", err, out)
	}
	return path
}

// collector is one running collector.
type collector struct {
	grpc, http string // addresses

	mu  sync.Mutex
	out bytes.Buffer
}

// Write takes what the collector prints.
func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// startCollector starts a collector on these addresses, for the time of the test.
func startCollector(t *testing.T, binary string, c *collector) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "otelcol.yaml")
	text := fmt.Sprintf(`receivers:
  otlp:
    protocols:
      grpc:
        endpoint: %s
      http:
        endpoint: %s
exporters:
  debug:
    verbosity: detailed
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    logs:
      receivers: [otlp]
      exporters: [debug]
`, c.grpc, c.http)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config", "file:"+config)
	cmd.Stdout, cmd.Stderr = c, c
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("end of the collector's output:\n%s", tailOf(c.text(), 3000))
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", c.http)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the collector does not listen: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }

// await waits until the collector has printed what the pattern says.
func (c *collector) await(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(30 * time.Second); !re.MatchString(c.text()); {
		if time.Now().After(deadline) {
			t.Fatalf("the collector has not printed %s", pattern)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestExportToCollector: records arrive at a real collector over both protocols, with the names of the semantic conventions;
// a reload moves them to another one; a stop sends what is left; no token is among it.
func TestExportToCollector(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	first := &collector{grpc: gatetest.FreeAddr(t), http: gatetest.FreeAddr(t)}
	second := &collector{grpc: gatetest.FreeAddr(t), http: gatetest.FreeAddr(t)}
	binary := buildCollector(t)
	startCollector(t, binary, first)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.New(t)
	g.Setenv("OTLP_KEY=endpoint-credential")
	config := func(otlp string) string {
		return gatetest.Config{
			Keystile: gatetest.Catalog + "\nrequest_log archive {\n" + otlp + "\n}\n",
			Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tmode any\n\t\tcapture {\n\t\t\trequest_headers\n\t\t}\n\t}\n\treverse_proxy %s\n}\n", port, backend.Addr),
		}.Text(g)
	}
	g.WriteConfig(t, config("otlp http://"+first.http+" {\n\theader x-api-key {env.OTLP_KEY}\n}"))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "a", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "live")
	send := func(request string) string {
		t.Helper()
		answer, err := gatetest.Send(site, "", request)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Header.Get("Request-Id")
	}

	id := send(get("/v1/customers/cus_1?limit=3", key.Token, "User-Agent: test/1.0"))
	denied := send(gatetest.Request("GET", "/v1/charges", ""))
	first.await(t, `keystile.request_id: Str\(`+id+`\)`)
	first.await(t, `keystile.request_id: Str\(`+denied+`\)`)
	for _, want := range []string{
		`service.name: Str(keystile)`, `http.request.method: Str(GET)`, `http.response.status_code: Int(200)`, `url.path: Str(/v1/customers/cus_1)`,
		`url.query: Str(limit=)`, `client.address: Str(127.0.0.1)`, `user_agent.original: Str(test/1.0)`, `server.address: Str(api.example.com)`,
		`network.protocol.version: Str(1.1)`, `keystile.key: Str(` + key.ID + `)`, `keystile.account: Str(` + account + `)`, `keystile.decision: Str(api_key_missing)`,
		`error.type: Str(api_key_missing)`, `SeverityText: INFO`, `SeverityText: WARN`, `EventName: keystile.request`, `keystile.request_headers: Str({`,
	} {
		if !strings.Contains(first.text(), want) {
			t.Errorf("the collector did not get %s", want)
		}
	}

	// Another collector, another protocol, by a reload. It is not there yet: its records wait.
	if status, body := loadCaddyfile(t, g, config("otlp http://"+second.grpc+" {\n\tprotocol grpc\n}")); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	settle(t, g)
	id = send(get("/v1/customers", key.Token))
	startCollector(t, binary, second)
	second.await(t, `keystile.request_id: Str\(`+id+`\)`)
	if strings.Contains(first.text(), id) {
		t.Error("the first collector got a record after the reload to another")
	}
	awaitMetric(t, g, "caddy_keystile_otlp_exported_total", 3)

	// What was exported last before a stop.
	id = send(get("/v1/customers/last", key.Token))
	g.Stop(t)
	second.await(t, `keystile.request_id: Str\(`+id+`\)`)
	for name, c := range map[string]*collector{"the first collector": first, "the second collector": second} {
		if err := g.FindTokens(name, []byte(c.text())); err != nil {
			t.Error(err)
		}
	}
	stdout, stderr := g.Output()
	if strings.Contains(stdout+stderr, "endpoint-credential") {
		t.Error("the output holds the credential of the endpoint")
	}
}

// TestExportWithoutCollector: a collector that is not there costs no request, no record and no time at the end.
func TestExportWithoutCollector(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	port := gatetest.FreePort(t)
	g := gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog + "\nrequest_log archive {\notlp http://" + gatetest.FreeAddr(t) + "\n}\n",
		Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tmode any\n\t}\n\treverse_proxy %s\n}\n", port, backend.Addr),
	})
	key := g.Admin.DefaultKey(t, g.Admin.CreateAccount(t, "a", "").ID, "secret", "live")
	for range 20 {
		answer, err := gatetest.Send(fmt.Sprintf("127.0.0.1:%d", port), "", get("/v1/customers", key.Token))
		if err != nil || answer.Status != 200 {
			t.Fatalf("got %+v, %v, want 200", answer, err)
		}
		g.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
	}
	g.Stop(t) // within its limit
}
