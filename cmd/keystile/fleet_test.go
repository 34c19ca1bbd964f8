package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// fleetLimit is how long a test of a fleet waits for what must happen.
const fleetLimit = 90 * time.Second

// fleetBed is three gateways on one database, and a backend behind all of them.
type fleetBed struct {
	server  *pgtest.Server
	dsn     string
	backend *gatetest.Backend
	nodes   []*fleetMember
	killing atomic.Bool // nodes are killed under load
}

type fleetMember struct {
	*gatetest.Gateway
	site string
}

// newFleet starts gateways on a server of their own, with further lines in their block keystile.
func newFleet(t *testing.T, options string) *fleetBed {
	t.Helper()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("ending PostgreSQL: %v", err)
		}
	})
	f := &fleetBed{server: server, backend: gatetest.NewBackend(t, "echo")}
	f.addThree(t, server.Database(t), options)
	return f
}

func (f *fleetBed) addThree(t *testing.T, dsn, options string) {
	t.Helper()
	f.dsn = dsn
	master := filepath.Join(t.TempDir(), "master.key")
	for range 3 {
		f.add(t, dsn, master, options)
	}
}

func (f *fleetBed) add(t *testing.T, dsn, master, options string) {
	t.Helper()
	g, port := gatetest.New(t), gatetest.FreePort(t)
	g.Setenv("KEYSTILE_TEST_DSN=" + dsn)
	g.WriteConfig(t, gatetest.Config{
		Keystile: "store postgres {env.KEYSTILE_TEST_DSN}\nmaster_key file " + master + "\n" + options + "\n" + gatetest.Catalog,
		Sites:    fmt.Sprintf("http://:%d {\n\tkeystile {\n\t\tmode any\n\t}\n\treverse_proxy %s\n}\n", port, f.backend.Addr),
	}.Text(g))
	g.Start(t)
	f.nodes = append(f.nodes, &fleetMember{Gateway: g, site: fmt.Sprintf("127.0.0.1:%d", port)})
	t.Cleanup(func() {
		stdout, stderr := g.Output()
		if strings.Contains(stdout+stderr, pgtest.Password) {
			t.Error("the database's password stands in the output")
		}
	})
}

// status sends a request with a key and answers the status and the code of the error, "" if there is none.
func (m *fleetMember) status(token string) (int, string, error) {
	answer, err := gatetest.Send(m.site, "", get("/v1/customers", token))
	if err != nil {
		return 0, "", err
	}
	e, _ := gatetest.ParseError(answer.Body)
	return answer.Status, e.Code, nil
}

// becomes waits until a key gets a status at the node.
func (m *fleetMember) becomes(t *testing.T, token string, want int) {
	t.Helper()
	for deadline := time.Now().Add(fleetLimit); ; time.Sleep(2 * time.Millisecond) {
		status, code, err := m.status(token)
		if err == nil && status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node answers %d %s, %v; want %d", status, code, err, want)
		}
	}
}

// appliedNode is a node in the answer of a change.
type appliedNode struct {
	ID      string `json:"id"`
	Applied bool   `json:"applied"`
}

// listedNode is a node in the list of all.
type listedNode struct {
	ID       string `json:"id"`
	Self     bool   `json:"self"`
	Status   string `json:"status"`
	Revision uint64 `json:"revision"`
}

// list is what the node says of the fleet.
func (m *fleetMember) list(t *testing.T) []listedNode {
	t.Helper()
	var page struct {
		Data []listedNode `json:"data"`
	}
	m.Admin.Do(t, "GET", "/v1/nodes", nil, &page)
	return page.Data
}

// metric is a gauge of the gateway.
func (m *fleetMember) metric(t *testing.T, name string) float64 {
	t.Helper()
	return m.anyMetric(t, "caddy_keystile_"+name)
}

// anyMetric is a gauge of the process, as Caddy's endpoint for metrics has it.
func (m *fleetMember) anyMetric(t *testing.T, name string) float64 {
	t.Helper()
	answer, err := http.Get("http://" + m.AdminAddr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// id is the node's own name.
func (m *fleetMember) id(t *testing.T) string {
	t.Helper()
	for _, n := range m.list(t) {
		if n.Self {
			return n.ID
		}
	}
	t.Fatal("the node is not in its own list")
	return ""
}

// roundsOf is how often a test does something: as the environment says, else a few times.
func roundsOf(t *testing.T, variable string, standard int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no count", variable, text)
	}
	return n
}

// quantile is the value that so much of all are not above.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// TestFleetRevocation: a key that one node deletes is refused by the others, and once the answer lists a node as one that
// has applied it, not one request there is accepted.
func TestFleetRevocation(t *testing.T) {
	t.Parallel()
	rounds := roundsOf(t, "KEYSTILE_TEST_FLEET_ROUNDS", 60)
	f := newFleet(t, "")
	a := f.nodes[0]
	account := a.Admin.CreateAccount(t, "A", "")
	ids := []string{f.nodes[0].id(t), f.nodes[1].id(t), f.nodes[2].id(t)}
	stopLoad := f.load(t, a.Admin.DefaultKey(t, account.ID, "secret", "live").Token)
	var lags []time.Duration
	all := 0
	for round := range rounds {
		create := func() gatetest.Key {
			return a.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account.ID, "name": "doomed"})
		}
		// How long it takes, seen from outside.
		key := create()
		for _, m := range f.nodes {
			m.becomes(t, key.Token, 200)
		}
		var answer struct {
			Nodes []appliedNode `json:"nodes"`
		}
		a.Admin.Do(t, "DELETE", "/v1/keys/"+key.ID+"?wait=node", nil, &answer)
		if len(answer.Nodes) != 1 || answer.Nodes[0] != (appliedNode{ids[0], true}) {
			t.Fatalf("an answer that waits for the node alone lists %+v", answer.Nodes)
		}
		began := time.Now()
		for _, m := range f.nodes[1:] {
			m.becomes(t, key.Token, 401)
			lags = append(lags, time.Since(began))
		}
		// What the answer promises.
		key = create()
		for _, m := range f.nodes {
			m.becomes(t, key.Token, 200)
		}
		writer := f.nodes[round%3]
		writer.Admin.Do(t, "DELETE", "/v1/keys/"+key.ID, nil, &answer)
		if len(answer.Nodes) != 3 {
			t.Fatalf("the answer lists %+v, want three nodes", answer.Nodes)
		}
		for i, m := range f.nodes {
			at := slices.IndexFunc(answer.Nodes, func(n appliedNode) bool { return n.ID == ids[i] })
			if at < 0 {
				t.Fatalf("the answer lists %+v and not %s", answer.Nodes, ids[i])
			}
			if !answer.Nodes[at].Applied {
				continue
			}
			all++
			for range 3 {
				if status, code, err := m.status(key.Token); err != nil || status != 401 || code != "api_key_expired" {
					t.Errorf("round %d: node %d has applied it and answers %d %s, %v", round, i, status, code, err)
				}
			}
		}
	}
	requests := stopLoad()
	t.Logf("%d revocations beside %d requests: refused on the other nodes after p50 %v, p99 %v, at most %v; %d of %d nodes had applied it by the answer",
		rounds, requests, quantile(lags, 0.5), quantile(lags, 0.99), quantile(lags, 1), all, 3*rounds)
	if all < rounds {
		t.Errorf("only %d nodes had applied a change by its answer: this test shows nothing", all)
	}
	for _, m := range f.nodes {
		listed := m.list(t)
		if len(listed) != 3 {
			t.Errorf("a node lists %+v, want three", listed)
		}
		for _, n := range listed {
			if n.Status != "live" || !slices.Contains(ids, n.ID) {
				t.Errorf("a node of three that run is %+v", n)
			}
		}
	}
	if result := a.Run(t, "node", "list", "--address", a.AdminAddr); result.Code != 0 || !strings.Contains(result.Stdout, ids[1]) {
		t.Errorf("keystile node list: %+v", result)
	}
}

// TestFleetSharesEverything: what is made on one node is there on the others: tokens of the admin API and answers of
// idempotency keys too, and what a request brings up on one node can be repeated on another.
func TestFleetSharesEverything(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "")
	a, b := f.nodes[0], f.nodes[1]
	account := a.Admin.CreateAccount(t, "A", "")
	deadline := time.Now().Add(fleetLimit)
	for b.Admin.TryDo("GET", "/v1/accounts/"+account.ID, nil, nil) != nil {
		if time.Now().After(deadline) {
			t.Fatal("an account does not arrive at the other node")
		}
		time.Sleep(5 * time.Millisecond)
	}
	body := gatetest.Fields{"kind": "secret", "mode": "live", "account": account.ID, "name": "once"}
	header := map[string][]string{"Idempotency-Key": {"fleet-1"}}
	status, _, first, err := a.Admin.CallHeader("POST", "/v1/keys", body, header)
	if err != nil || status != 200 && status != 201 {
		t.Fatalf("creating a key: %d %s, %v", status, first, err)
	}
	status, answer, second, err := b.Admin.CallHeader("POST", "/v1/keys", body, header)
	if err != nil || string(second) != string(first) || answer.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the same call on another node: %d %v %.300s, %v", status, answer, second, err)
	}
	// Only one node makes the demo account.
	accounts := 0
	for _, m := range f.nodes {
		var page struct {
			Data []gatetest.Account `json:"data"`
		}
		m.Admin.Do(t, "GET", "/v1/accounts?limit=100", nil, &page)
		accounts = len(page.Data)
	}
	if accounts != 2 {
		t.Errorf("the fleet has %d accounts, want the demo account and one more", accounts)
	}
}
