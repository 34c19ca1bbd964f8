package api

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestCustomersShares: one customer has no more than their share, two of them cannot take that of all, all customers leave the operator
// theirs, and the operator is bounded by what there is.
func TestCustomersShares(t *testing.T) {
	t.Parallel()
	s := shares{all: 8, customers: 6, customer: 4}
	var leaves []func()
	enter := func(customer string, want bool) {
		t.Helper()
		leave, ok := s.enter(customer)
		if ok != want {
			t.Fatalf("%q may enter: %v, want %v", customer, ok, want)
		}
		if ok {
			leaves = append(leaves, leave)
		}
	}
	for range 3 {
		enter("acct_a", true)
	}
	enter("acct_a", false) // half of the customers' part is taken: the rest is for those who have none
	enter("acct_b", true)
	enter("acct_b", false)
	enter("acct_c", true)
	enter("acct_d", true)
	enter("acct_e", false) // the rest is the operator's
	enter("", true)
	enter("", true)
	enter("", false)
	leaves[0]()
	enter("acct_a", false)
	enter("acct_e", true)
	for _, leave := range leaves[1:] {
		leave()
	}
	if s.total != 0 || len(s.running) != 0 {
		t.Errorf("%d are left, of %v", s.total, s.running)
	}
	s.customer = 2
	for _, want := range []bool{true, true, false} {
		enter("acct_a", want)
	}
}

// TestTwoCustomersTails: of two customers who open as many live tails as they can, the next twenty have one each all the same.
func TestTwoCustomersTails(t *testing.T) {
	t.Parallel()
	s := shares{all: maxTails, customers: maxTails * 3 / 4, customer: maxTails / 4}
	for range maxTails {
		for _, customer := range []string{"acct_a", "acct_b"} {
			s.enter(customer)
		}
	}
	for i := range 20 {
		if _, ok := s.enter(fmt.Sprint("acct_", i)); !ok {
			t.Fatalf("customer %d beside two who take all they can is refused: %v", i, s.running)
		}
	}
}

// TestImportTurns: of many customers who want to import, each has their turn in the order of their asking, also beside one who is always
// there first when it is free; who does not ask again loses it, and the operator waits for nobody's.
func TestImportTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r rests
		mayI := func(customer string) bool {
			t.Helper()
			w := httptest.NewRecorder()
			err := r.refuse(&call{w: w}, customer)
			if (err != nil) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("refused with %v and Retry-After %q", err, w.Header().Get("Retry-After"))
			}
			return err == nil
		}
		busy := func(customer string) { r.wait(&call{w: httptest.NewRecorder()}, customer) } // the store imports another's
		end := r.begin("acct_a")
		busy("acct_b")
		busy("acct_c")
		busy("acct_b")
		end()
		for _, customer := range []string{"acct_a", "acct_c", "acct_d"} {
			if mayI(customer) {
				t.Errorf("%s comes before acct_b", customer)
			}
		}
		if !mayI("") || !mayI("acct_b") {
			t.Error("who has the turn is refused")
		}
		r.begin("acct_b")()
		if mayI("acct_a") || !mayI("acct_c") {
			t.Error("acct_c is not the next")
		}
		time.Sleep(importTurn + time.Second)
		if !mayI("acct_d") || len(r.waiting) != 0 {
			t.Errorf("who does not ask again keeps their place: %v", r.waiting)
		}
	})
}

// TestImportTurnOfWhoRests: who asks a second time while their import runs does not keep the others out while they rest.
func TestImportTurnOfWhoRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r rests
		mayI := func(customer string) bool { return r.refuse(&call{w: httptest.NewRecorder()}, customer) == nil }
		busy := func(customer string) { r.wait(&call{w: httptest.NewRecorder()}, customer) }
		end := r.begin("acct_a")
		busy("acct_a")
		busy("acct_b")
		time.Sleep(time.Minute)
		busy("acct_a")
		busy("acct_b")
		end()
		busy("acct_a") // it was refused by the store before the end, and notes that after it
		if mayI("acct_a") || !mayI("acct_b") || mayI("acct_c") {
			t.Errorf("acct_b is not the next: %v", r.waiting)
		}
		time.Sleep(time.Minute + time.Second)
		if !mayI("acct_a") {
			t.Error("acct_a rests for longer than its import took")
		}
	})
}

// TestImportRests: after a long import its customer waits, nobody else does, and a short one is no reason to wait.
func TestImportRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r rests
		refused := func(customer string) bool {
			w := httptest.NewRecorder()
			err := r.refuse(&call{w: w}, customer)
			if (err != nil) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("refused with %v and Retry-After %q", err, w.Header().Get("Retry-After"))
			}
			return err != nil
		}
		run := func(customer string, d time.Duration) {
			t.Helper()
			if refused(customer) {
				t.Fatalf("%q is refused", customer)
			}
			end := r.begin(customer)
			time.Sleep(d)
			end()
		}
		run("acct_a", time.Second)
		run("acct_a", time.Minute)
		if !refused("acct_a") || refused("acct_b") || refused("") {
			t.Error("who rests is not who imported")
		}
		run("", time.Hour)
		run("", time.Hour)
		run("acct_a", time.Minute)
		time.Sleep(59 * time.Second)
		if !refused("acct_a") {
			t.Error("the rest is too short")
		}
		time.Sleep(2 * time.Second)
		if refused("acct_a") || len(r.until) != 0 {
			t.Error("the rest is too long")
		}
	})
}
