package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestFleetAnswers: an answer that one node keeps is found by the others, and a call that runs on one is known to them.
func TestFleetAnswers(t *testing.T) {
	t.Parallel()
	nodes := fleet(t, 2)
	ctx := t.Context()
	if ok, err := nodes[0].ClaimAnswer(ctx, "me", "key"); !ok || err != nil {
		t.Fatalf("ClaimAnswer = %v, %v", ok, err)
	}
	if ok, err := nodes[1].ClaimAnswer(ctx, "me", "key"); ok || err != nil {
		t.Errorf("two nodes run one call: %v, %v", ok, err)
	}
	answer := keystore.Answer{Caller: "me", Key: "key", Fingerprint: [32]byte{1}, Expires: time.Now().Add(time.Hour), Body: []byte("body")}
	if err := nodes[0].SaveAnswer(ctx, &answer); err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(ctx)
	leave() // whoever called may have left by now
	if err := nodes[0].ReleaseAnswer(gone, "me", "key"); err != nil {
		t.Fatal(err)
	}
	if ok, err := nodes[1].ClaimAnswer(ctx, "me", "key"); !ok || err != nil {
		t.Errorf("what was released cannot be claimed: %v, %v", ok, err)
	}
	if got, err := nodes[1].FindAnswer(ctx, "me", "key"); err != nil || got == nil || string(got.Body) != "body" {
		t.Errorf("FindAnswer = %+v, %v", got, err)
	}
}

// TestNodeAheadKeepsAnswers: a node whose clock is ahead, and which believes it, destroys nothing that is everybody's: no answer, no claim. Nor
// does it run a call that another node has answered or runs.
func TestNodeAheadKeepsAnswers(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgtest.Shared(t).Database(t)
	right := joinFleet(t, dsn, "right", nil)
	ahead := joinFleet(t, dsn, "ahead", func(o *keystore.Options) { // without an event there is nothing that its clock could be ahead of
		o.Now = func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }
	})
	answer := keystore.Answer{Caller: "me", Key: "done", Expires: time.Now().Add(time.Hour), Body: []byte("body")}
	if err := right.SaveAnswer(ctx, &answer); err != nil {
		t.Fatal(err)
	}
	if ok, err := right.ClaimAnswer(ctx, "me", "running"); !ok || err != nil {
		t.Fatalf("ClaimAnswer = %v, %v", ok, err)
	}
	if _, err := ahead.MasterKeys(ctx); err != nil { // which destroys first what is over
		t.Fatal(err)
	}
	for _, s := range []*keystore.Store{ahead, right} {
		if got, err := s.FindAnswer(ctx, "me", "done"); err != nil || got == nil {
			t.Errorf("FindAnswer = %+v, %v", got, err)
		}
		if ok, err := s.ClaimAnswer(ctx, "me", "running"); ok || err != nil {
			t.Errorf("two nodes run one call: %v, %v", ok, err)
		}
	}
	over := keystore.Answer{Caller: "me", Key: "over", Expires: time.Now().Add(-time.Hour)}
	if err := right.SaveAnswer(ctx, &over); err != nil {
		t.Fatal(err)
	}
	if got, err := ahead.FindAnswer(ctx, "me", "over"); err != nil || got != nil {
		t.Errorf("an answer whose time is over: %+v, %v", got, err)
	}
}
