package main_test

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// Figures of the contract's test of its promise.
const (
	revokedRequests    = 10_000
	revokedConnections = 16
)

// TestRevocation is the promise of section 4: once the admin call has returned, not one request of 10,000 on 16 busy
// connections is accepted under the old rights.
func TestRevocation(t *testing.T) {
	backend := gatetest.NewBackend(t, "echo")
	g, site, secret, _ := siteFor(t, "mode any", backend.Addr)
	account := secret.Account
	secretKey := gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "doomed"}
	restrictedKey := gatetest.Fields{"kind": "restricted", "mode": "live", "account": account, "name": "doomed",
		"permissions": gatetest.Fields{"customers": "write"}}
	imported := "imported-key-of-another-system"
	tests := []struct {
		name   string
		make   func() gatetest.Key
		revoke func(id string) error
		want   want
	}{
		{"delete", func() gatetest.Key { return g.Admin.CreateKey(t, secretKey) },
			func(id string) error { return g.Admin.TryDo("DELETE", "/v1/keys/"+id, nil, nil) }, expired},
		{"rotate now", func() gatetest.Key { return g.Admin.CreateKey(t, secretKey) },
			func(id string) error {
				return g.Admin.TryDo("POST", "/v1/keys/"+id+"/rotate", gatetest.Fields{}, nil)
			}, expired},
		{"narrow", func() gatetest.Key { return g.Admin.CreateKey(t, restrictedKey) },
			func(id string) error {
				return g.Admin.TryDo("PATCH", "/v1/keys/"+id, gatetest.Fields{"permissions": gatetest.Fields{"charges": "write"}}, nil)
			}, notPermitted},
		{"limit by address", func() gatetest.Key { return g.Admin.CreateKey(t, secretKey) },
			func(id string) error {
				return g.Admin.TryDo("PATCH", "/v1/keys/"+id, gatetest.Fields{"ip_ranges": []string{"203.0.113.0/24"}}, nil)
			}, ipNotAllowed},
		{"delete an imported key", func() gatetest.Key {
			k := g.Admin.Import(t, gatetest.Fields{"token": imported, "kind": "secret", "mode": "live", "account": account, "name": "imported"})[0]
			k.Token = imported
			return k
		}, func(id string) error { return g.Admin.TryDo("DELETE", "/v1/keys/"+id, nil, nil) }, expired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := tt.make()
			request := get("/v1/customers", key.Token)
			var (
				returned      atomic.Bool
				before, after atomic.Int64
				accepted      atomic.Int64
				wg            sync.WaitGroup
			)
			for range revokedConnections {
				wg.Go(func() {
					conn, err := gatetest.DialFrom("", site)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					in := bufio.NewReader(conn)
					for after.Load() < revokedRequests {
						late := returned.Load() // read before the request begins
						_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
						if _, err := io.WriteString(conn, request); err != nil {
							t.Error(err)
							return
						}
						answer, err := gatetest.ReadAnswer(in, "GET")
						if err != nil {
							t.Error(err)
							return
						}
						if !late {
							before.Add(1)
							continue
						}
						after.Add(1)
						if e, err := gatetest.ParseError(answer.Body); err != nil || answer.Status != tt.want.status || e.Code != tt.want.code {
							accepted.Add(1)
						}
					}
				})
			}
			for before.Load() < 500 && !t.Failed() { // warm and busy
				time.Sleep(time.Millisecond)
			}
			if err := tt.revoke(key.ID); err != nil {
				t.Error(err)
			}
			asked := countOf(backend, &returned)
			wg.Wait()
			if n := accepted.Load(); n > 0 {
				t.Errorf("%d of %d requests after the call returned were not answered %d %s", n, after.Load(), tt.want.status, tt.want.code)
			}
			// Requests that began before the call returned may still arrive: at most one per connection.
			if n := backend.Count() - asked; n > revokedConnections {
				t.Errorf("the backend was asked %d times after the call returned", n)
			}
			if after.Load() < revokedRequests {
				t.Errorf("only %d requests were sent after the call returned", after.Load())
			}
		})
	}
}

// countOf marks the return of the admin call and reads the backend's count at that moment.
func countOf(backend *gatetest.Backend, returned *atomic.Bool) int {
	returned.Store(true)
	return backend.Count()
}

// TestRevocationLeavesOthersAlone: while keys come and go, a key that nobody touched is never refused.
func TestRevocationLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, stay, _ := siteFor(t, "mode any", backend.Addr)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var passed atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				answer, err := gatetest.Send(site, "", get("/v1/customers", stay.Token))
				if err != nil || answer.Status != 200 {
					t.Errorf("got %+v, %v, want 200", answer, err)
					return
				}
				passed.Add(1)
			}
		})
	}
	for n := range 60 {
		key := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": stay.Account, "name": fmt.Sprintf("passing %d", n)})
		if answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token)); err != nil || answer.Status != 200 {
			t.Errorf("a new key: got %+v, %v, want 200 as soon as it was made", answer, err)
		}
		g.Admin.DeleteKey(t, key.ID)
	}
	close(stop)
	wg.Wait()
	if passed.Load() == 0 {
		t.Error("no request was sent")
	}
}

// TestRevocationSurvivesRestart: an end is an end after a restart, also after kill -9 right behind the answer.
func TestRevocationSurvivesRestart(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, stay, _ := siteFor(t, "mode any", backend.Addr)
	make1 := func() gatetest.Key {
		return g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": stay.Account, "name": "gone"})
	}
	deleted, rotated, limited := make1(), make1(), make1()
	g.Admin.EditKey(t, limited.ID, gatetest.Fields{"ip_ranges": []string{"203.0.113.0/24"}})
	g.Admin.Do(t, "POST", "/v1/keys/"+rotated.ID+"/rotate", gatetest.Fields{}, nil)
	g.Admin.DeleteKey(t, deleted.ID)
	for _, how := range []string{"kill", "stop"} {
		if how == "kill" {
			g.Kill(t)
		} else {
			g.Stop(t)
		}
		g.Start(t)
		for _, tt := range []struct {
			token string
			code  string
		}{{deleted.Token, "api_key_expired"}, {rotated.Token, "api_key_expired"}, {limited.Token, "ip_not_allowed"}} {
			answer, err := gatetest.Send(site, "", get("/v1/customers", tt.token))
			if err != nil {
				t.Fatal(err)
			}
			if e := answer.Error(t); e.Code != tt.code {
				t.Errorf("after %s: got %s, want %s", how, e.Code, tt.code)
			}
		}
		answer, err := gatetest.Send(site, "", get("/v1/customers", stay.Token))
		if err != nil || answer.Status != 200 {
			t.Errorf("after %s: the other key got %+v, %v", how, answer, err)
		}
	}
	if backend.Count() != 2 {
		t.Errorf("the backend was asked %d times, want 2", backend.Count())
	}
}
