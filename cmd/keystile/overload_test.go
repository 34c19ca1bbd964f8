package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// readMetrics answers the gateway's own metrics, by name and labels.
func readMetrics(t *testing.T, g *gatetest.Gateway) map[string]int {
	t.Helper()
	resp, err := http.Get("http://" + g.AdminAddr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics := make(map[string]int)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "caddy_keystile_") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			metrics[name] = int(v)
		}
	}
	return metrics
}

// awaitMetric waits until a metric has a value.
func awaitMetric(t *testing.T, g *gatetest.Gateway, name string, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		got := readMetrics(t, g)[name]
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %d, want %d", name, got, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitAccounted waits until every record is stored or counted as dropped.
func awaitAccounted(t *testing.T, g *gatetest.Gateway) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m := readMetrics(t, g)
		if m[appendedMetric] > 0 && m[appendedMetric] == m[storedMetric]+m[droppedMetric] {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d records appended, %d stored, %d dropped, %d queued", m[appendedMetric], m[storedMetric], m[droppedMetric], m[queuedMetric])
			return
		}
	}
}

// The counts of the request log.
const (
	appendedMetric = "caddy_keystile_request_log_appended_total"
	storedMetric   = "caddy_keystile_request_log_stored_total"
	droppedMetric  = "caddy_keystile_request_log_dropped_total"
	queuedMetric   = "caddy_keystile_request_log_queue_records"
	gapsMetric     = "caddy_keystile_request_log_gaps_total"
)

// overloaded is a gateway whose request log can be made to refuse records.
type overloaded struct {
	*gatetest.Gateway
	drop, deny string // sites
	key        gatetest.Key
	backend    *gatetest.Backend
	requests   string // the log's directory

	statuses [600]atomic.Int64
	client   *http.Client
}

func newOverloaded(t *testing.T) *overloaded {
	t.Helper()
	return newOverloadedOn(t, gatetest.New(t))
}

func newOverloadedOn(t *testing.T, g *gatetest.Gateway) *overloaded {
	t.Helper()
	return newOverloadedWith(t, g, "")
}

// newOverloadedWith takes further lines for the global options.
func newOverloadedWith(t *testing.T, g *gatetest.Gateway, global string) *overloaded {
	t.Helper()
	o := &overloaded{Gateway: g, backend: gatetest.NewBackend(t, "echo")}
	var sites strings.Builder
	site := func(word string) string {
		port := gatetest.FreePort(t)
		fmt.Fprintf(&sites, "http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tmode any\n\t\topen /quick/*\n\t\ton_overload %s\n\t}\n\trespond /quick/* quick\n\treverse_proxy %s\n}\n", port, word, o.backend.Addr)
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	o.drop, o.deny = site("drop"), site("deny")
	o.WriteConfig(t, gatetest.Config{Global: global, Keystile: gatetest.Catalog, Sites: sites.String()}.Text(o.Gateway))
	o.Start(t)
	o.key = o.Admin.DefaultKey(t, o.Admin.CreateAccount(t, "a", "").ID, "secret", "live")
	o.requests = filepath.Join(o.DataDir(), "keystile", "requests")
	o.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	t.Cleanup(o.client.CloseIdleConnections)
	return o
}

// block takes the directory of the log away, so that nothing can be stored; unblock lets it be made anew.
func (o *overloaded) block(t *testing.T) {
	t.Helper()
	if err := os.Rename(o.requests, o.requests+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(o.Dir, "nowhere", "at", "all"), o.requests); err != nil {
		t.Fatal(err)
	}
}

func (o *overloaded) unblock(t *testing.T) {
	t.Helper()
	if err := os.Remove(o.requests); err != nil {
		t.Fatal(err)
	}
}

// send sends n quick requests to a site from several clients at once.
func (o *overloaded) send(t *testing.T, site string, n int) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				req, err := http.NewRequest("GET", "http://"+site+"/quick/x", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.SetBasicAuth(o.key.Token, "")
				resp, err := o.client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				o.statuses[resp.StatusCode].Add(1)
			}
		})
	}
	clients.Wait()
}

// listed counts the request records that can be found, and what the gap records among them tell of.
func (o *overloaded) listed(t *testing.T) (requests, lost int) {
	t.Helper()
	for _, row := range o.Admin.Records(t, url.Values{"limit": {"100"}}) {
		if row["decision"] == "gap" {
			lost += number(row["lost"])
			continue
		}
		requests++
	}
	return requests, lost
}

// TestOverloadAccounting: while records cannot be stored, requests go on, or are refused where the site says so; every record
// is stored or counted as dropped, over a reload too, and gap records tell of each one that is missing.
func TestOverloadAccounting(t *testing.T) {
	t.Parallel()
	o := newOverloaded(t)
	o.block(t)
	const full = 8192*3/4 + 1024 // from three quarters of the queue on, deny refuses; a batch is out of it already
	o.send(t, o.deny, full+500)
	if refused := int(o.statuses[503].Load()); refused == 0 {
		t.Error("on_overload deny refused nothing while the queue was full")
	}
	served := int(o.statuses[200].Load())
	o.send(t, o.drop, 3000)
	if got := int(o.statuses[200].Load()) - served; got != 3000 {
		t.Errorf("on_overload drop served %d of 3000", got)
	}
	raw, err := os.ReadFile(o.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	before := readMetrics(t, o.Gateway)
	if status, body := loadCaddyfile(t, o.Gateway, string(raw)+"# reloaded\n"); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	settle(t, o.Gateway)
	o.send(t, o.drop, 100)
	const sent = full + 500 + 3000 + 100
	m := readMetrics(t, o.Gateway)
	if m[appendedMetric] != sent || m[appendedMetric] != m[storedMetric]+m[droppedMetric]+m[queuedMetric] || m[droppedMetric] < before[droppedMetric] || m[droppedMetric] == 0 {
		t.Errorf("while nothing can be stored: %d appended of %d, %d stored, %d dropped, %d queued", m[appendedMetric], sent, m[storedMetric], m[droppedMetric], m[queuedMetric])
	}

	o.unblock(t)
	awaitMetric(t, o.Gateway, queuedMetric, 0)
	o.send(t, o.deny, 1)
	awaitMetric(t, o.Gateway, appendedMetric, sent+1)
	awaitMetric(t, o.Gateway, queuedMetric, 0)
	m = readMetrics(t, o.Gateway)
	if m[appendedMetric] != m[storedMetric]+m[droppedMetric] || m[gapsMetric] == 0 {
		t.Errorf("after the recovery: %d appended, %d stored, %d dropped, %d gap records", m[appendedMetric], m[storedMetric], m[droppedMetric], m[gapsMetric])
	}
	requests, lost := o.listed(t)
	if requests != m[storedMetric] || lost != m[droppedMetric] {
		t.Errorf("listed are %d records, and %d are told to be missing; counted were %d stored and %d dropped", requests, lost, m[storedMetric], m[droppedMetric])
	}
	if got := o.backend.Count(); got != 0 {
		t.Errorf("%d requests reached the other handler", got)
	}

	// A stop and a kill change nothing of what is stored.
	o.Stop(t)
	o.Start(t)
	if again, gaps := o.listed(t); again != requests || gaps != lost {
		t.Errorf("after a restart %d records and %d missing, before it %d and %d", again, gaps, requests, lost)
	}
	o.Kill(t)
	o.Start(t)
	if again, gaps := o.listed(t); again != requests || gaps != lost {
		t.Errorf("after a kill %d records and %d missing, before it %d and %d", again, gaps, requests, lost)
	}
}

// TestStopWhileOverloaded: what cannot be stored at the end is named in the error log, by its number.
func TestStopWhileOverloaded(t *testing.T) {
	t.Parallel()
	o := newOverloaded(t)
	o.send(t, o.drop, 50)
	awaitMetric(t, o.Gateway, storedMetric, 50)
	o.block(t)
	o.send(t, o.drop, 70)
	o.Stop(t)
	_, stderr := o.Output()
	named := regexp.MustCompile(`(\d+) records could not be stored within`).FindStringSubmatch(stderr)
	if named == nil || named[1] != "70" {
		t.Errorf("the error log names %v, want 70 lost records", named)
	}
	o.unblock(t)
	if err := os.Rename(o.requests+".away", o.requests); err != nil {
		t.Fatal(err)
	}
	o.Start(t)
	if requests, _ := o.listed(t); requests != 50 {
		t.Errorf("%d records are there, want the 50 that were stored", requests)
	}
}
