package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// load keeps all nodes busy with a good key until the function that it answers is called, which tells how many requests
// there were. Every request must be accepted. One that finds nobody at the door, or the door shut before a word of the
// answer, goes to the next node, as any load balancer does.
func (f *fleetBed) load(t *testing.T, token string) (stop func() int) {
	t.Helper()
	for _, m := range f.nodes {
		m.becomes(t, token, 200)
	}
	var done atomic.Bool
	var count atomic.Int64
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := i; !done.Load(); n++ {
				if err := f.one(n, token); err != nil {
					t.Errorf("a request with a good key: %v", err)
					return
				}
				count.Add(1)
				time.Sleep(2 * time.Millisecond) // two cores are shared with the gateways and the database
			}
		})
	}
	var once sync.Once
	stop = func() int {
		once.Do(func() { done.Store(true); wg.Wait() })
		return int(count.Load())
	}
	t.Cleanup(func() { stop() })
	return stop
}

// one sends one request, to the next node if one does not take it. Of a node that is killed in the middle of it nobody can
// expect an answer: it goes to the next one, too.
func (f *fleetBed) one(n int, token string) error {
	var failed error
	for try := range 2 * len(f.nodes) {
		m := f.nodes[(n+try)%len(f.nodes)]
		answer, err := gatetest.Send(m.site, "", get("/v1/customers", token))
		switch {
		case err == nil && answer.Status == 200:
			return nil
		case err == nil:
			return fmt.Errorf("%s answers %d %.300s", m.site, answer.Status, answer.Body)
		case !notTaken(err) && !f.killing.Load():
			return fmt.Errorf("%s: %w", m.site, err)
		}
		failed = err
	}
	return fmt.Errorf("no node takes it: %w", failed)
}

// notTaken says whether a node has not begun to answer.
func notTaken(err error) bool {
	var dial *net.OpError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, gatetest.ErrClosed) || errors.As(err, &dial) && dial.Op == "dial"
}
