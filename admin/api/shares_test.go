package api

import "testing"

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
