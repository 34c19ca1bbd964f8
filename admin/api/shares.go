package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/keystile/keystile/keystore"
)

// What this process does for callers at the same time is bounded, and so is each customer's part of it: who is limited to an
// account or an organization shares with all others who are limited to the same, and does not keep other customers out, nor
// the operator.

// shares bounds how many of one thing run at a time. Once half of the customers' part is taken, what is left of it is for those who
// have none: so two or three who take what they can leave room for many who take one. It is safe for concurrent use.
type shares struct {
	all       int // of everybody
	customers int // of all customers together: the rest is the operator's
	customer  int // of one

	mu      sync.Mutex
	running map[string]int // by customer; "" is the operator
	total   int
}

// enter takes a place for a customer ("": the operator), or says that there is none. leave gives it back.
func (s *shares) enter(customer string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.all || customer != "" && !s.fairLocked(customer) {
		return nil, false
	}
	if s.running == nil {
		s.running = map[string]int{}
	}
	s.running[customer]++
	s.total++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.running[customer]--; s.running[customer] == 0 {
			delete(s.running, customer)
		}
	}, true
}

// fairLocked says whether a customer may have one more.
func (s *shares) fairLocked(customer string) bool {
	taken, own := s.total-s.running[""], s.running[customer]
	return taken < s.customers && (own == 0 || own < s.customer && taken < s.customers/2)
}

// customer is whose share a call uses: the organization of what the caller is limited to, or else the account; "" if the
// caller has no limit.
func (c *call) customer() string {
	if c.caller.Account != "" {
		if a, ok := c.api.Store.Snapshot().Account(c.caller.Account); ok && a.Organization != "" {
			return a.Organization
		}
		return c.caller.Account
	}
	return c.caller.Organization
}

// customerImport bounds how long the file of an import may take to come from a customer: one import runs at a time, and the
// others wait.
const customerImport = 10 * time.Minute

// importTurn is how long a customer who was refused keeps their place: so long others who asked later are refused. Who still wants
// to import asks again before it is over, as Retry-After says.
const (
	importTurn  = 15 * time.Second
	importRetry = 5 // seconds
)

// rests keeps a customer from importing one file after the other without end: after each they wait for as long as it took,
// and others have their turn, in the order in which they have asked.
type rests struct {
	mu      sync.Mutex
	until   map[string]time.Time // by customer
	waiting []importWaiter       // in the order of their first asking
}

type importWaiter struct {
	customer string
	asked    time.Time // the last time
}

// wait gives a customer a place among those who wait, or keeps it theirs.
func (r *rests) wait(c *call, customer string) {
	c.w.Header().Set("Retry-After", strconv.Itoa(importRetry))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waitLocked(customer, time.Now())
}

func (r *rests) waitLocked(customer string, now time.Time) {
	if customer == "" || now.Before(r.until[customer]) { // who rests has had their turn just now
		return
	}
	for i := range r.waiting {
		if r.waiting[i].customer == customer {
			r.waiting[i].asked = now
			return
		}
	}
	r.waiting = append(r.waiting, importWaiter{customer, now})
}

// refuse says why a customer has to wait, nil if they have not to. The operator never waits for others' turns.
func (r *rests) refuse(c *call, customer string) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = slices.DeleteFunc(r.waiting, func(w importWaiter) bool { return now.Sub(w.asked) > importTurn })
	for name, until := range r.until {
		if !now.Before(until) {
			delete(r.until, name)
		}
	}
	until, resting := r.until[customer]
	if !resting {
		if customer == "" || len(r.waiting) == 0 || r.waiting[0].customer == customer {
			return nil
		}
		r.waitLocked(customer, now)
		c.w.Header().Set("Retry-After", strconv.Itoa(importRetry))
		return newError(http.StatusConflict, string(keystore.CodeConflict), "",
			"another import comes before yours, of who has asked earlier: try again in %d s, and your place is kept", importRetry)
	}
	seconds := int(until.Sub(now)/time.Second) + 1
	c.w.Header().Set("Retry-After", strconv.Itoa(seconds))
	return newError(http.StatusConflict, string(keystore.CodeConflict), "",
		"your import before this one has taken a while, and others may want their turn: try again in %d s", seconds)
}

// begin notes that an import of a customer begins; end is to be called when it is over.
func (r *rests) begin(customer string) (end func()) {
	if customer == "" {
		return func() {}
	}
	began := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = slices.DeleteFunc(r.waiting, func(w importWaiter) bool { return w.customer == customer })
	return func() {
		now := time.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		if took := now.Sub(began); took > time.Second {
			// They may have asked a second time meanwhile. That place is not kept: nobody would import while they rest.
			r.waiting = slices.DeleteFunc(r.waiting, func(w importWaiter) bool { return w.customer == customer })
			if r.until == nil {
				r.until = map[string]time.Time{}
			}
			r.until[customer] = now.Add(took)
		}
	}
}

// errSlow ends the upload of a customer that takes too long.
var errSlow = fmt.Errorf("the upload takes longer than %s", customerImport)
