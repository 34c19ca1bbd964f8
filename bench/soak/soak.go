package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// soak is one run.
type soak struct {
	o       *options
	gateway *gateway
	client  *http.Client
	account string
	keys    ring
	answers receipts
	since   time.Time // records before are checked already

	// running is held for reading by who talks to the process and judges what it says, for writing while it is killed and started.
	running sync.RWMutex
	down    atomic.Bool  // no answer is expected
	loaded  atomic.Int64 // when the last reload ended, in milliseconds

	requests, refused, calls, revoked, resets, reloaded, killed, stopped, records, young atomic.Int64

	mu      sync.Mutex
	found   []string // what was not as it should be
	oldest  time.Duration
	samples []sample
}

func newSoak(o *options) (*soak, error) {
	g, err := newGateway(o)
	if err != nil {
		return nil, err
	}
	return &soak{o: o, gateway: g, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}, since: time.Now()}, nil
}

func (s *soak) close() { s.gateway.close() }

// fault notes that something is not as it should be.
func (s *soak) fault(format string, args ...any) {
	text := time.Now().Format("15:04:05.000 ") + fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found = append(s.found, text); len(s.found) <= 50 {
		fmt.Println("FAULT", text)
	}
}

func (s *soak) faults() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.found)
}

// prepare makes the account and its first keys.
func (s *soak) prepare() error {
	var account struct{ ID string }
	if err := s.call("POST", "/v1/accounts", map[string]any{"name": "soak"}, &account); err != nil {
		return err
	}
	s.account = account.ID
	for range 10 {
		if _, err := s.create(); err != nil {
			return err
		}
	}
	return nil
}

func (s *soak) create() (*key, error) {
	var made seen
	if err := s.call("POST", "/v1/keys", map[string]any{"kind": "restricted", "mode": "live", "account": s.account, "name": "soak",
		"permissions": map[string]string{"charges": "read"}}, &made); err != nil {
		return nil, err
	}
	k := &key{id: made.ID, token: made.Token}
	s.keys.add(k)
	return k, nil
}

// traffic sends requests by both sites, at an even rate, and judges every answer.
func (s *soak) traffic(ctx context.Context) {
	const clients = 8
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			site := []string{s.gateway.short, s.gateway.long}[n%2]
			tick := time.NewTicker(time.Second * clients / time.Duration(s.o.rate))
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				s.request(client, site)
			}
		})
	}
	all.Wait()
}

// request sends one request and compares the answer with what is known of its key, if that has not changed meanwhile.
func (s *soak) request(client *http.Client, site string) {
	k := s.keys.pick()
	was, version := k.look()
	began := time.Now()
	status, code, id, err := s.ask(client, site, k.token)
	is, now := k.look()
	if err != nil {
		// While the process is down nobody answers; and Caddy may reset a connection that is being opened during a reload.
		if !s.down.Load() && began.UnixMilli() > s.loaded.Load()+2000 {
			time.Sleep(50 * time.Millisecond) // the kill may have come first, and be known a moment later
			if !s.down.Load() && s.unexplained(began) {
				s.fault("a request had no answer: %v", err)
			}
		}
		s.resets.Add(1)
		client.CloseIdleConnections()
		return
	}
	s.requests.Add(1)
	s.answers.add(id)
	if was != is || version != now || was == changing || was == unknown {
		return
	}
	want, wantCode := was.wants()
	if status != want || code != wantCode {
		s.fault("key %s: got %d %q, want %d %q; request %s, began %s", k.id, status, code, want, wantCode, id, began.Format("15:04:05.000"))
	}
	if want != http.StatusOK {
		s.refused.Add(1)
	}
}

// unexplained says whether no kill and no reload explains that a request that began then had no answer.
func (s *soak) unexplained(began time.Time) bool {
	return began.UnixMilli() > s.loaded.Load()+2000 && time.Since(began) < 5*time.Second
}

// churn makes keys and takes them away.
func (s *soak) churn(ctx context.Context) {
	for ctx.Err() == nil {
		s.running.RLock()
		err := s.life()
		s.running.RUnlock()
		var no *refusal
		if errors.As(err, &no) && !s.down.Load() {
			s.fault("a call of the admin API: %v", err)
		}
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
	}
}

// life takes one key through a life.
func (s *soak) life() error {
	k, err := s.create()
	if err != nil {
		return err
	}
	s.calls.Add(1)
	step := func(method, path string, in any, after state) error {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		k.begin()
		err := s.call(method, "/v1/keys/"+k.id+path, in, nil)
		if err != nil {
			k.end(unknown)
			return err
		}
		k.end(after)
		s.calls.Add(1)
		if after != active {
			s.revoked.Add(1)
		}
		return nil
	}
	if rand.IntN(3) == 0 {
		if err := step("PATCH", "", map[string]any{"ip_ranges": []string{"203.0.113.0/24"}}, limited); err != nil {
			return err
		}
		if err := step("PATCH", "", map[string]any{"ip_ranges": nil}, active); err != nil {
			return err
		}
	}
	switch rand.IntN(5) {
	case 0: // it lives on
		return nil
	case 1, 2:
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		k.begin()
		var made seen
		if err := s.call("POST", "/v1/keys/"+k.id+"/rotate", map[string]any{}, &made); err != nil {
			k.end(unknown)
			return err
		}
		k.end(gone)
		s.calls.Add(1)
		s.revoked.Add(1)
		s.keys.add(&key{id: made.ID, token: made.Token})
		return nil
	}
	return step("DELETE", "", nil, gone)
}

// reloads loads the configuration again and again.
func (s *soak) reloads(ctx context.Context) {
	for number := 1; sleep(ctx, s.o.reload); number++ {
		s.running.RLock()
		s.loaded.Store(time.Now().Add(time.Minute).UnixMilli()) // under way
		err := s.gateway.reload(context.Background(), number)
		s.loaded.Store(time.Now().UnixMilli())
		if err == nil {
			s.reloaded.Add(1)
		} else if !s.down.Load() {
			s.fault("a reload: %v", err)
		}
		s.running.RUnlock()
	}
}

// kills ends the process without a word, or with one, starts it again, and checks what is there. The last third of the time is
// without, so that what grows is seen to grow.
func (s *soak) kills(ctx context.Context) {
	quiet := time.Now().Add(s.o.length * 2 / 3)
	for n := 1; ; n++ {
		if !sleep(ctx, s.o.kill/2+time.Duration(rand.Int64N(int64(s.o.kill)))) || time.Now().After(quiet) {
			return
		}
		sig := syscall.SIGKILL
		if n%3 == 0 {
			sig = syscall.SIGTERM
		}
		s.restart(sig)
	}
}

func (s *soak) restart(sig syscall.Signal) {
	s.down.Store(true)
	ended := time.Now()
	if err := s.gateway.end(sig); err != nil {
		s.fault("%v", err)
	}
	// Only now, so that calls are under way when the process ends.
	s.running.Lock()
	defer s.running.Unlock()
	time.Sleep(300 * time.Millisecond) // requests that had their answer have noted it
	before := time.Now()
	if err := s.gateway.start(); err != nil {
		s.fault("%v", err)
		return
	}
	if sig == syscall.SIGKILL {
		s.killed.Add(1)
	} else {
		s.stopped.Add(1)
		ended = time.Time{} // nothing may be lost
	}
	s.client.CloseIdleConnections()
	s.checkRecords(before, ended)
	s.checkKeys()
	s.down.Store(false)
}

// finish checks everything once more at the end, and stops the process.
func (s *soak) finish() {
	time.Sleep(500 * time.Millisecond)
	s.checkRecords(time.Now(), time.Time{})
	s.checkKeys()
	if err := s.gateway.end(syscall.SIGTERM); err != nil {
		s.fault("the last stop: %v", err)
	}
}

// sleep says whether there is time left after it.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
