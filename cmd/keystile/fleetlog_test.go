package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// logInDatabase is the option of a fleet whose nodes have one request log.
const logInDatabase = "request_log postgres {env.KEYSTILE_TEST_DSN}"

// answered is a request that got its answer.
type answered struct {
	id string
	at time.Time
}

// requests sends requests to one node, one after the other, until the function that it answers is called, which gives all that
// were answered. Every one must be accepted, until the node is killed; Caddy itself may reset a few new connections at a reload.
func (m *fleetMember) requests(t *testing.T, token string, killed *atomic.Bool) (stop func() []answered) {
	var over atomic.Bool
	var list []answered
	var wg sync.WaitGroup
	wg.Go(func() {
		resets := 0
		for !over.Load() {
			answer, err := gatetest.Send(m.site, "", get("/v1/customers", token))
			switch {
			case killed != nil && killed.Load():
				return
			case err != nil && killed == nil && notTaken(err) && resets < 4:
				resets++
				continue
			case err != nil:
				if killed == nil {
					t.Errorf("a request with a good key: %v", err)
				}
				return
			case answer.Status != 200:
				if killed == nil {
					t.Errorf("a request with a good key: %d %.200s", answer.Status, answer.Body)
				}
				return
			}
			list = append(list, answered{answer.Header.Get("Request-Id"), time.Now()})
			time.Sleep(2 * time.Millisecond)
		}
	})
	return func() []answered { over.Store(true); wg.Wait(); return list }
}

// exported reads the whole log of a node.
func (m *fleetMember) exported(t *testing.T, filter string) map[string]int {
	t.Helper()
	status, body, err := m.Admin.Call("GET", "/v1/request_logs/export?format=jsonl"+filter, nil)
	if err != nil || status != 200 {
		t.Fatalf("export: %d %.300s, %v", status, body, err)
	}
	ids := make(map[string]int)
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct{ ID string }
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("a line of the export: %v", err)
		}
		ids[r.ID]++
	}
	return ids
}

// awaitDrained waits until a node has brought all its records to the database.
func (m *fleetMember) awaitDrained(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(fleetLimit); ; time.Sleep(20 * time.Millisecond) {
		var stats struct {
			Queued  int
			Backlog *struct {
				DatabaseUp bool `json:"database_up"`
				Bytes      int64
			}
		}
		if err := m.Admin.TryDo("GET", "/v1/request_logs/stats", nil, &stats); err == nil && stats.Backlog != nil && stats.Backlog.DatabaseUp && stats.Backlog.Bytes == 0 && stats.Queued == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node does not bring its records to the database: %+v", stats)
		}
	}
}

func readURL(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func once(t *testing.T, what string, have map[string]int, want []answered) {
	t.Helper()
	missing := 0
	for _, r := range want {
		switch have[r.id] {
		case 0:
			missing++
		case 1:
		default:
			t.Errorf("%s: record %s is there %d times", what, r.id, have[r.id])
		}
	}
	if missing > 0 {
		t.Errorf("%s: %d of %d records are missing", what, missing, len(want))
	}
}

// TestFleetLog: what one node records is found on every other: one record, lists, exports, the live tail, counts, the command line.
func TestFleetLog(t *testing.T) {
	t.Parallel()
	f := newFleet(t, logInDatabase)
	account := f.nodes[0].Admin.CreateAccount(t, "A", "")
	key := f.nodes[0].Admin.DefaultKey(t, account.ID, "secret", "live")
	for _, m := range f.nodes {
		m.becomes(t, key.Token, 200)
	}
	var tails []*eventSource
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, m := range f.nodes {
		tail := new(eventSource)
		tails = append(tails, tail)
		go tail.run(ctx, "http://"+m.AdminAddr+"/keystile/v1/request_logs/tail?key="+key.ID)
	}
	// A tail is listening once it has shown something.
	for deadline := time.Now().Add(fleetLimit); slices.ContainsFunc(tails, func(e *eventSource) bool { return len(e.seen()) == 0 }); time.Sleep(50 * time.Millisecond) {
		f.nodes[0].becomes(t, key.Token, 200)
		if time.Now().After(deadline) {
			t.Fatal("a tail shows nothing")
		}
	}
	var sent, firsts []answered
	var stops []func() []answered
	for _, m := range f.nodes {
		stops = append(stops, m.requests(t, key.Token, nil))
	}
	time.Sleep(500 * time.Millisecond)
	for _, stop := range stops {
		list := stop()
		firsts = append(firsts, list[:min(1, len(list))]...)
		if len(list) < 10 {
			t.Errorf("only %d requests were sent: this test shows nothing", len(list))
		}
		sent = append(sent, list...)
	}
	for _, m := range f.nodes {
		m.awaitDrained(t)
	}
	nodes := make(map[any]bool)
	for i, m := range f.nodes {
		for _, r := range firsts {
			nodes[m.Admin.AwaitRecord(t, r.id)["node"]] = true
		}
		once(t, fmt.Sprintf("export of node %d", i), m.exported(t, "&key="+key.ID), sent)
	}
	if len(nodes) != 3 {
		t.Errorf("the records are of the nodes %v, want three", nodes)
	}
	// Every tail shows everything, and all the same order.
	want := make(map[string]bool)
	for _, r := range sent {
		want[r.id] = true
	}
	var orders [][]string
	for i, tail := range tails {
		var got []string
		for deadline := time.Now().Add(fleetLimit); len(got) < len(sent) && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			got = slices.DeleteFunc(tail.seen(), func(id string) bool { return !want[id] })
		}
		if len(got) != len(sent) {
			t.Errorf("tail %d shows %d records, want %d", i, len(got), len(sent))
		}
		orders = append(orders, got)
	}
	if !slices.Equal(orders[0], orders[1]) || !slices.Equal(orders[0], orders[2]) {
		t.Error("the tails show different orders")
	}
	b := f.nodes[1]
	var h struct{ Total int }
	if b.Admin.Do(t, "GET", "/v1/request_logs/histogram?key="+key.ID, nil, &h); h.Total < len(sent) {
		t.Errorf("the histogram counts %d records, want %d at least", h.Total, len(sent))
	}
	var usage struct{ Summary struct{ Requests int } }
	if b.Admin.Do(t, "GET", "/v1/keys/"+key.ID+"/usage", nil, &usage); usage.Summary.Requests < len(sent) {
		t.Errorf("the key has %d requests, want %d at least", usage.Summary.Requests, len(sent))
	}
	first := sent[0].id
	for _, args := range [][]string{
		{"log", "show", first}, {"log", "list", "--key", key.ID, "--json", "--limit", "1"}, {"log", "stats"},
		{"log", "export", "--key", key.ID, "-o", filepath.Join(t.TempDir(), "out.parquet"), "--format", "parquet"},
	} {
		if result := b.Run(t, append(args, "--address", b.AdminAddr)...); result.Code != 0 {
			t.Errorf("keystile %s: %+v", strings.Join(args, " "), result)
		} else if args[1] == "stats" && !strings.Contains(result.Stdout, "has all records") && !strings.Contains(result.Stdout, "on their way") {
			t.Errorf("keystile log stats does not tell of the database:\n%s", result.Stdout)
		}
	}
}

// TestFleetLogWithoutDatabase: while PostgreSQL is stopped under load no request fails, lists say why there are none, and afterwards
// each record is there once.
func TestFleetLogWithoutDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t, logInDatabase)
	account := f.nodes[0].Admin.CreateAccount(t, "A", "")
	key := f.nodes[0].Admin.DefaultKey(t, account.ID, "secret", "live")
	for _, m := range f.nodes {
		m.becomes(t, key.Token, 200)
	}
	var stops []func() []answered
	for _, m := range f.nodes {
		stops = append(stops, m.requests(t, key.Token, nil))
	}
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		if err := f.server.Stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		for _, path := range []string{"/v1/request_logs", "/v1/request_logs/tail"} {
			f.nodes[1].Admin.Fails(t, "GET", path, nil, 503, "request_log_unavailable")
		}
		if err := f.server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	var sent []answered
	for _, stop := range stops {
		sent = append(sent, stop()...)
	}
	for _, m := range f.nodes {
		m.awaitDrained(t)
	}
	t.Logf("%d requests beside two stops of the database", len(sent))
	for i, m := range f.nodes {
		once(t, fmt.Sprintf("export of node %d", i), m.exported(t, ""), sent)
		_, stderr := m.Output()
		if n := strings.Count(stderr, "records cannot be brought to the database"); n > 4 {
			t.Errorf("node %d says %d times that the database is away", i, n)
		}
	}
}

// TestFleetLogKilledNode: a node is killed while the database is away. What it answered more than a moment before is there once,
// after its next start.
func TestFleetLogKilledNode(t *testing.T) {
	t.Parallel()
	// Two hundred milliseconds are promised; a busy disk of a test machine may hold a write up for longer.
	const lost = 200*time.Millisecond + 300*time.Millisecond
	f := newFleet(t, logInDatabase)
	account := f.nodes[0].Admin.CreateAccount(t, "A", "")
	key := f.nodes[0].Admin.DefaultKey(t, account.ID, "secret", "live")
	m := f.nodes[0]
	m.becomes(t, key.Token, 200)
	var sent []answered
	for round := range 3 {
		if round > 0 {
			if err := f.server.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		var killed atomic.Bool
		stop := m.requests(t, key.Token, &killed)
		time.Sleep(700 * time.Millisecond)
		killed.Store(true)
		at := time.Now()
		m.Kill(t)
		for _, r := range stop() {
			if r.at.Before(at.Add(-lost)) {
				sent = append(sent, r)
			}
		}
		if round > 0 {
			if err := f.server.Start(); err != nil {
				t.Fatal(err)
			}
		}
		m.Start(t)
		m.Admin.CloseIdle()
		m.awaitDrained(t)
		once(t, fmt.Sprintf("round %d", round), f.nodes[1].exported(t, ""), sent)
	}
	if len(sent) < 30 {
		t.Errorf("only %d requests count: this test shows nothing", len(sent))
	}
	left, err := filepath.Glob(filepath.Join(m.DataDir(), "keystile", "requests-postgres", "2*.jsonl"))
	if err != nil || len(left) > 1 {
		t.Errorf("the journal has %v, %v", left, err)
	}
}

// TestLogDatabaseAwayAtStart: a gateway whose request log's database is away starts, serves and records, says why there are no lists,
// and shows all records when the database is there. Its password stands nowhere.
func TestLogDatabaseAwayAtStart(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // after the gateway, whose records are looked through at its end
	dsn := server.Database(t)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	backend := gatetest.NewBackend(t, "echo")
	g, port := gatetest.New(t), gatetest.FreePort(t)
	g.Setenv("KEYSTILE_TEST_DSN=" + dsn)
	config := func(retention string) string {
		return gatetest.Config{
			Keystile: "request_log postgres {env.KEYSTILE_TEST_DSN} {\n\tretention " + retention + "\n\tmax_size 1GiB\n}\n" + gatetest.Catalog,
			Sites:    fmt.Sprintf("http://:%d {\n\tkeystile {\n\t\tmode any\n\t}\n\treverse_proxy %s\n}\n", port, backend.Addr),
		}.Text(g)
	}
	g.WriteConfig(t, config("7d"))
	if result := g.Run(t, "validate", "--config", g.ConfigPath(), "--adapter", "caddyfile"); result.Code != 0 {
		t.Fatalf("validate: %+v", result)
	}
	g.Start(t)
	m := &fleetMember{Gateway: g, site: fmt.Sprintf("127.0.0.1:%d", port)}
	account := g.Admin.CreateAccount(t, "A", "")
	key := g.Admin.DefaultKey(t, account.ID, "secret", "live")
	stop := m.requests(t, key.Token, nil)
	time.Sleep(500 * time.Millisecond)
	for _, path := range []string{"/v1/request_logs", "/v1/request_logs/histogram", "/v1/request_logs/export?format=jsonl", "/v1/request_logs/" + "req_0000000000000000001"} {
		g.Admin.Fails(t, "GET", path, nil, 503, "request_log_unavailable")
	}
	if result := g.Run(t, "log", "stats", "--address", g.AdminAddr); !strings.Contains(result.Stdout+result.Stderr, "cannot be reached") {
		t.Errorf("keystile log stats: %+v", result)
	}
	// A reload changes what is kept, and loses nothing.
	g.WriteConfig(t, config("8d"))
	if result := g.Run(t, "reload", "--config", g.ConfigPath(), "--adapter", "caddyfile", "--address", g.AdminAddr); result.Code != 0 {
		t.Errorf("reload: %+v", result)
	}
	time.Sleep(300 * time.Millisecond)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	sent := stop()
	m.awaitDrained(t)
	once(t, "export", m.exported(t, ""), sent)
	if rows := g.Admin.Records(t, url.Values{"key": {key.ID}}); len(rows) != len(sent) {
		t.Errorf("%d records are listed, want %d", len(rows), len(sent))
	}
	stdout, stderr := g.Output()
	for what, text := range map[string]string{"output": stdout + stderr, "config": readURL(t, "http://"+g.AdminAddr+"/config/"), "metrics": readURL(t, "http://"+g.AdminAddr+"/metrics")} {
		if strings.Contains(text, pgtest.Password) {
			t.Errorf("the database's password stands in the %s", what)
		}
		if what == "metrics" && !strings.Contains(text, "caddy_keystile_request_log_database_up 1") {
			t.Errorf("the metrics do not tell of the database:\n%s", text)
		}
	}
	if !strings.Contains(stderr, "records cannot be brought to the database") || !strings.Contains(stderr, "takes records again") {
		t.Error("the log does not tell that the database was away, and is back")
	}
}
