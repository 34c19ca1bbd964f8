package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// What somebody without a key can take from those who have one.

// liveHeap is how much memory the process has reserved for what is still in use, behind a collection of garbage.
func liveHeap(t *testing.T, g *gatetest.Gateway) int {
	t.Helper()
	resp, err := http.Get("http://" + g.AdminAddr + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "# HeapAlloc = ")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil || !found {
		t.Fatalf("the profile does not tell the size of the heap: %v", err)
	}
	return n
}

// TestWaitingRecordsHoldNoRequestLines: while records cannot be stored, they wait in memory, and the length of what was asked
// does not matter to how much they take.
func TestWaitingRecordsHoldNoRequestLines(t *testing.T) {
	t.Parallel()
	o := newOverloadedWith(t, gatetest.New(t), "servers {\n\tmax_header_size 1MiB\n}\n") // by default Caddy takes 16 KiB
	o.block(t)
	before := liveHeap(t, o.Gateway)
	const n = 100
	long := strings.Repeat("a", 950_000)
	for i := range n {
		request := gatetest.Request("GET", "/v1/charges?a="+long, "")
		if i%2 == 1 {
			request = gatetest.Request("GET", "/v1/"+long, "")
		}
		if answer, err := gatetest.Send(o.drop, "", request); err != nil || answer.Status != 401 {
			t.Fatalf("got %v, %v, want 401", answer, err)
		}
	}
	if waiting := readMetrics(t, o.Gateway)[queuedMetric]; waiting == 0 {
		t.Error("no record waits: the test shows nothing")
	}
	if after := liveHeap(t, o.Gateway); after > before+32<<20 {
		t.Errorf("%d records that wait hold %d MiB", n, (after-before)>>20)
	}
	o.unblock(t)
	awaitMetric(t, o.Gateway, queuedMetric, 0)
}

// TestStrangersDoNotSwitchTheAPIOff: on_overload deny refuses requests whose records find no room. Refused tries leave room for
// the others: they are given up first, counted, and told by a gap record.
func TestStrangersDoNotSwitchTheAPIOff(t *testing.T) {
	t.Parallel()
	o := newOverloaded(t)
	o.block(t)
	good := o.key
	o.key.Token = "sk_live_guess" // throttled soon
	const tries = 12_000
	o.send(t, o.deny, tries)
	if refused := int(o.statuses[401].Load() + o.statuses[429].Load()); refused != tries {
		t.Errorf("%d of %d tries were told 401 or 429", refused, tries)
	}
	o.key = good
	o.send(t, o.deny, 1000)
	if served := int(o.statuses[200].Load()); served != 1000 {
		t.Errorf("%d of 1000 requests with a good key were served", served)
	}
	o.unblock(t)
	awaitMetric(t, o.Gateway, queuedMetric, 0)
	awaitAccounted(t, o.Gateway)
	m := readMetrics(t, o.Gateway)
	requests, lost := o.listed(t)
	if m[droppedMetric] == 0 || m[gapsMetric] == 0 || requests != m[storedMetric] || lost != m[droppedMetric] || m[appendedMetric] != tries+1000 {
		t.Errorf("listed are %d records, and %d are told to be missing; counted were %v", requests, lost, m)
	}
}

// TestNobodyWaitsForBodies: who announces a body, sends none, and needs no key for what is asked gets the answer, and the
// connection ends.
func TestNobodyWaitsForBodies(t *testing.T) {
	t.Parallel()
	dead := gatetest.FreeAddr(t)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog,
		Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\thandle /up {\n\t\tkeystile_health\n\t}\n\thandle {\n\t\tkeystile {\n\t\t\topen /healthz /quick/*\n\t\t}\n"+
			"\t\trespond /quick/* quick\n\t\treverse_proxy %s\n\t}\n}\n", port, dead),
	})
	const ask = "Origin: https://shop.example\r\nAccess-Control-Request-Method: POST\r\n"
	for _, tt := range []struct {
		line, headers string
		status        int
	}{
		{"OPTIONS /v1/charges", ask, 204},
		{"OPTIONS /quick/x", ask, 204},
		{"TRACE /v1/charges", "", 405},
		{"POST /v1/charges", "", 401},
		{"POST /v1//charges", "", 400},
		{"POST /quick/x", "", 200},
		{"POST /healthz", "", 502},
		{"POST /up", "", 200},
	} {
		for _, body := range []string{"Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe", "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"} {
			conn, err := gatetest.DialFrom("", site)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, tt.line+" HTTP/1.1\r\nHost: api.example.com\r\n"+tt.headers+body)
			in := bufio.NewReader(conn)
			method, _, _ := strings.Cut(tt.line, " ")
			answer, err := gatetest.ReadAnswer(in, method)
			if err != nil || answer.Status != tt.status {
				t.Errorf("%s with %q: got %v, %v, want %d", tt.line, body, answer, err, tt.status)
			} else if _, err := gatetest.ReadAnswer(in, method); !errors.Is(err, gatetest.ErrClosed) {
				t.Errorf("%s with %q: the connection is still open: %v", tt.line, body, err)
			}
			conn.Close()
		}
	}

	// A backend that is away is told to the operator now and then, not for each request.
	for range 300 {
		if answer, err := gatetest.Send(site, "", gatetest.Request("GET", "/healthz", "")); err != nil || answer.Status != 502 {
			t.Fatalf("got %v, %v, want 502", answer, err)
		}
	}
	_, stderr := g.Output()
	if n := strings.Count(stderr, "backend unavailable"); n == 0 || n > 30 {
		t.Errorf("the log tells %d times of 303 failures that the backend is away", n)
	}
}
