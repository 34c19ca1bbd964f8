package keystore_test

import (
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// judge is what the gateway says of a key at a time, by way of the store and of policy.
func judge(s *keystore.Store, k *keystore.Key, at time.Time) policy.Reason {
	k, _ = s.Lookup(&k.Digest)
	rules := policy.Rules{Live: true, Sandbox: true}
	q := policy.Request{Credential: policy.CredentialKnown, Method: "GET", Path: "/v1/x"}
	d := rules.Decide(&k.Principal, &q, s.Directory(), s.JudgedAt(k, at))
	return d.Reason
}

func expiringKey(t *testing.T, s *keystore.Store, at time.Time) *keystore.Key {
	t.Helper()
	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeSandbox, Account: a.ID, ExpiresAt: at})
	return k
}

func TestExpiryToTheMillisecond(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	end := c.at.Add(time.Hour)
	k := expiringKey(t, s, end)
	for range 2 { // from the index, and from the cache
		if got := judge(s, k, end.Add(-time.Millisecond)); got != policy.ReasonAllowed {
			t.Errorf("just before its end: %s", got)
		}
		s.WaitForCache()
	}
	if got := k.Remaining(end.Add(-1500 * time.Millisecond)); got != 1500*time.Millisecond {
		t.Errorf("remaining %v", got)
	}
	if got := judge(s, k, end); got != policy.ReasonAPIKeyExpired {
		t.Errorf("at its end: %s", got)
	}
	if k.Status(end.Add(-time.Hour)) != keystore.StatusExpired || k.Remaining(end.Add(-time.Hour)) != 0 {
		t.Error("once it has been seen expired, it is so at any time")
	}
}

// TestClockSetBack: a key that was seen past its end does not work again, before its end is written down, after it, and
// after a restart.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	end := c.at.Add(time.Hour)
	k := expiringKey(t, s, end)
	run := s.NewScheduler(t, "a")
	if err := run.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := judge(s, k, end); got != policy.ReasonAPIKeyExpired {
		t.Fatalf("at its end: %s", got)
	}
	c.at = end.Add(-30 * time.Minute) // before the scheduler has looked
	if got := judge(s, k, c.at); got != policy.ReasonAPIKeyExpired {
		t.Errorf("after the clock was set back: %s", got)
	}
	_, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{ExpiresAt: keystore.To(end.Add(time.Hour))})
	wantError(t, "giving it a later end", err, keystore.CodeKeyEnded, "")
	if err := run.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, backend, "key.created", "key.expired")
	now, _ := s.Lookup(&k.Digest)
	if !now.EndedAt.Equal(end) || !now.Principal.Ended || keystore.HasSealed(now) {
		t.Errorf("the end was not written down: %+v", now)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := keystoretest.NewStore(t, keystore.Options{Backend: backend.Reopen(), Now: c.now})
	if got := judge(again, k, c.at); got != policy.ReasonAPIKeyExpired {
		t.Errorf("after a restart: %s", got)
	}
}

// TestEndMovedWhileAnOldVersionIsHeld: whoever judges a version of the key from before its end was moved does not end the
// new one.
func TestEndMovedWhileAnOldVersionIsHeld(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	end := c.at.Add(time.Hour)
	old := expiringKey(t, s, end)
	next, err := s.UpdateKey(t.Context(), by, old.ID, keystore.KeyPatch{ExpiresAt: keystore.To(end.Add(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	if at := s.JudgedAt(old, end); !at.Equal(end) || !old.Ended(end) {
		t.Errorf("the old version at its end: %v", at)
	}
	if next.Ended(end) || judge(s, next, end) != policy.ReasonAllowed {
		t.Error("the new version has ended with the old one")
	}
}

// TestSchedulerWritesEndsDown in lots, each once.
func TestSchedulerWritesEndsDown(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	var keys []keystore.ImportParams
	for i := range 600 {
		keys = append(keys, keystore.ImportParams{
			KeyParams: keystore.KeyParams{
				Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID, ExpiresAt: c.at.Add(time.Duration(i+1) * time.Second),
			},
			Digest: policy.Digest{byte(i), byte(i >> 8), 1},
		})
	}
	if _, err := s.ImportKeys(t.Context(), by, keys); err != nil {
		t.Fatal(err)
	}
	run := s.NewScheduler(t, "a")
	expired := func() (n int) {
		for _, e := range events(t, backend) {
			if e.Type == keystore.EventKeyExpired {
				n++
				if e.Actor.Kind != "system" || e.Actor.Name != "scheduler" {
					t.Fatalf("%s by %+v", e.Type, e.Actor)
				}
			}
		}
		return n
	}
	for _, step := range []struct {
		to   time.Duration
		want int
	}{{0, 0}, {time.Second, 1}, {500 * time.Second, 500}, {500 * time.Second, 500}, {time.Hour, 600}, {time.Hour, 600}} {
		c.at = newClock().at.Add(step.to)
		if err := run.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := expired(); got != step.want {
			t.Fatalf("after %v: %d keys are written down, want %d", step.to, got, step.want)
		}
	}
}
