package main_test

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// eventSource reads the live tail as a browser does: when the stream ends it connects again, and says what it saw last.
type eventSource struct {
	mu  sync.Mutex
	ids []string
}

func (e *eventSource) run(ctx context.Context, url string) {
	last := ""
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return
		}
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the admin endpoint is on its way
			continue
		}
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				last = id
				e.mu.Lock()
				e.ids = append(e.ids, id)
				e.mu.Unlock()
			}
		}
		resp.Body.Close()
	}
}

func (e *eventSource) seen() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ids)
}

// TestTailOverReloadsAndRestart: a browser that follows the log gets every record, in the order in which the requests ended,
// though the stream breaks with each reload, and the process is another one after a restart.
func TestTailOverReloadsAndRestart(t *testing.T) {
	backend := gatetest.NewBackend(t, "echo")
	g, site, key, _ := siteFor(t, "mode any", backend.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	source := new(eventSource)
	done := make(chan struct{})
	go func() {
		defer close(done)
		source.run(ctx, g.Admin.URL("/v1/request_logs/tail?decision=allowed"))
	}()
	defer func() { cancel(); <-done }()
	var want []string
	request := func() {
		answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token))
		for try := 1; err != nil && try < 5; try++ { // a connection that the kernel gave to a listener that a reload had just closed
			answer, err = gatetest.Send(site, "", get("/v1/customers", key.Token))
		}
		if err != nil || answer.Status != 200 {
			t.Fatalf("the request got %+v, %v", answer, err)
		}
		want = append(want, answer.Header.Get("Request-Id"))
	}
	await := func(what string, holds func(got []string) bool) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for !holds(source.seen()) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the tail got %d records, want %d\n%v\n%v", what, len(source.seen()), len(want), source.seen(), want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	// The tail has begun when it has a record; those before it are not its to give.
	for len(source.seen()) == 0 {
		request()
		time.Sleep(10 * time.Millisecond)
	}
	want = want[slices.Index(want, source.seen()[0]):]
	config := g.ConfigPath()
	for range 3 {
		for range 20 {
			request()
		}
		if r := g.Run(t, "reload", "--force", "--config", config, "--address", g.AdminAddr); r.Code != 0 {
			t.Fatalf("reload: %+v", r)
		}
		for range 20 {
			request()
		}
	}
	await("over reloads", func(got []string) bool { return len(got) >= len(want) })
	if got := source.seen(); !slices.Equal(got, want) {
		t.Errorf("over reloads the tail got %d records, want the %d requests in their order, each once", len(got), len(want))
	}

	// A restart: another process does not know the order any more, and may give twice what ended at the same moment.
	g.Stop(t)
	g.Start(t)
	for range 20 {
		request()
	}
	await("over a restart", func(got []string) bool { return slices.Contains(got, want[len(want)-1]) })
	var once []string
	for _, id := range source.seen() {
		if !slices.Contains(once, id) {
			once = append(once, id)
		}
	}
	if !slices.Equal(once, want) {
		t.Errorf("over a restart the tail got\n%v, want\n%v", once, want)
	}
}
