package main_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestH4_WarmElsewhere: a key that is warm at one site, mode or account is judged anew at another.
func TestH4_WarmElsewhere(t *testing.T) {
	b := theBed(t)
	for range 3 {
		b.passes(t, b.any, get("/v1/customers", b.SKT.Token))
		b.passes(t, b.sandbox, get("/v1/customers", b.SKT.Token))
		b.denied(t, b.live, get("/v1/customers", b.SKT.Token), modeMismatch)
		b.denied(t, b.liveOnly, get("/v1/customers", b.SKT.Token), modeMismatch)
	}
	for range 3 {
		b.passes(t, b.any, get("/v1/customers", b.RKC.Token, "Stripe-Account: "+b.D))
		b.denied(t, b.any, get("/v1/customers", b.RK.Token, "Stripe-Account: "+b.D), notPermitted)
		b.denied(t, b.any, get("/v1/customers", b.RKC.Token, "Stripe-Account: "+b.C), accountInvalid)
	}
	inside := "X-Forwarded-For: 203.0.113.5"
	for range 3 {
		if got := b.sendFrom(t, gatetest.TrustedProxy, b.any, get("/v1/customers", b.SKIP.Token, inside)).Status; got != 200 {
			t.Fatalf("from inside: got %d", got)
		}
		b.denied(t, b.any, get("/v1/customers", b.SKIP.Token), ipNotAllowed)
	}
}

// TestH6_WarmRoute: what one route allowed says nothing of another, in either order and at the same time.
func TestH6_WarmRoute(t *testing.T) {
	b := theBed(t)
	for range 5 {
		b.passes(t, b.any, get("/v1/customers", b.RK.Token))
		b.denied(t, b.any, get("/v1/charges", b.RK.Token), notPermitted)
		b.denied(t, b.any, post("/v1/customers", b.RK.Token), notPermitted)
		b.passes(t, b.any, post("/v1/tokens", b.PK.Token))
		b.denied(t, b.any, get("/v1/customers", b.PK.Token), secretRequired)
	}
}

// TestH_ConnectionReuse: on one connection each request is its own: the key of the one before counts for nothing.
func TestH_ConnectionReuse(t *testing.T) {
	b := theBed(t)
	request := get("/v1/customers", b.SK.Token) + gatetest.Request("GET", "/v1/customers", "") + get("/v1/customers", b.SKIP.Token)
	before := b.calls()
	answers, err := gatetest.SendAll(b.any, source(), request, 3)
	if err != nil || len(answers) != 3 {
		t.Fatalf("got %d answers, %v", len(answers), err)
	}
	b.checkDenial(t, answers[1], missing)
	b.checkDenial(t, answers[2], ipNotAllowed)
	if got := b.calls() - before; got != 1 {
		t.Errorf("the backend was asked %d times, want 1", got)
	}
}

// TestH3_FillRacesRevoke: the first look-ups of a key race its end, a hundred times; a look-up that began after the admin
// call returned finds the end, whatever the cache was filled with meanwhile.
func TestH3_FillRacesRevoke(t *testing.T) {
	b := theBed(t)
	const workers = 8
	from := source()
	for round := range 100 {
		key := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "raced"})
		request := get("/v1/customers", key.Token)
		var revoked atomic.Bool
		var late atomic.Int32
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range 6 {
					after := revoked.Load()
					answer, err := gatetest.Send(b.any, from, request)
					if err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
					if after && answer.Status != 401 {
						late.Add(1)
					}
				}
			})
		}
		switch round % 3 {
		case 0:
			b.Admin.DeleteKey(t, key.ID)
		case 1:
			b.Admin.Do(t, "POST", "/v1/keys/"+key.ID+"/rotate", gatetest.Fields{}, nil)
		case 2:
			b.Admin.Do(t, "DELETE", "/v1/keys/"+key.ID, nil, nil)
		}
		revoked.Store(true)
		wg.Wait()
		if n := late.Load(); n > 0 {
			t.Fatalf("round %d: %d requests that began after the revocation were accepted", round, n)
		}
		b.denied(t, b.any, request, expired)
	}
}
