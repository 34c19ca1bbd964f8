//go:build linux

package main_test

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// blackHole is an address that does not answer who wants to connect, as behind a firewall that drops: its queue is full, and nobody accepts.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { _ = syscall.Close(fd) })
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("the listener is at %v", name)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", in.Port)
	for range 20 {
		conn, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

// TestBackendBlackHole: a backend that cannot even be connected to, and does not refuse either, is a 502 after dial_timeout, by both ways;
// other backends are served meanwhile.
func TestBackendBlackHole(t *testing.T) {
	t.Parallel()
	hole, backend := blackHole(t), gatetest.NewBackend(t, "echo")
	g := gatetest.New(t)
	const options = " {\n\t\t\ttransport http {\n\t\t\t\tdial_timeout 700ms\n\t\t\t}\n\t\t}\n"
	var sites strings.Builder
	site := func(block string) string {
		port := gatetest.FreePort(t)
		fmt.Fprintf(&sites, "http://:%d {\n\tbind 127.0.0.1\n\t%s}\n", port, block)
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	ways := map[string]string{
		"upstreams":     site("keystile {\n\t\tupstreams {\n\t\t\tlive " + hole + options + "\t\t\tsandbox " + backend.Addr + "\n\t\t}\n\t}\n"),
		"reverse_proxy": site("keystile\n\treverse_proxy " + hole + options),
	}
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: sites.String()}.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "a", "").ID
	live := g.Admin.DefaultKey(t, account, "secret", "live")
	sandbox := g.Admin.Reveal(t, g.Admin.DefaultKey(t, account, "secret", "sandbox").ID)
	for way, addr := range ways {
		for _, method := range []string{"GET", "POST"} {
			t.Run(way+"/"+method, func(t *testing.T) {
				t.Parallel()
				answer, err := gatetest.Send(addr, "", gatetest.Request(method, "/v1/customers", "", gatetest.Bearer(live.Token)))
				if err != nil || answer.Status != 502 || !strings.Contains(string(answer.Body), `"upstream_unavailable"`) {
					t.Fatalf("got %+v, %v, want a 502", answer, err)
				}
				if record := g.Admin.AwaitRecord(t, answer.Header.Get("Request-Id")); record["decision"] != "upstream_unavailable" {
					t.Errorf("the record says %v", record)
				}
			})
		}
	}
	if answer, err := gatetest.Send(ways["upstreams"], "", get("/v1/customers", sandbox.Token)); err != nil || answer.Status != 200 {
		t.Errorf("the other mode's backend: %+v, %v", answer, err)
	}
}
