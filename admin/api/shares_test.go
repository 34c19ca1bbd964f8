package api

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestCustomersShares: one customer has no more than their share, all customers leave the operator theirs, and the operator is
// bounded by what there is.
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
	for range 4 {
		enter("acct_a", true)
	}
	enter("acct_a", false)
	enter("acct_b", true)
	enter("acct_c", true)
	enter("acct_d", false) // the rest is the operator's
	enter("", true)
	enter("", true)
	enter("", false)
	leaves[0]()
	enter("acct_a", true)
	enter("acct_a", false)
	for _, leave := range leaves[1:] {
		leave()
	}
	if s.total != 0 || len(s.running) != 0 {
		t.Errorf("%d are left, of %v", s.total, s.running)
	}
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
