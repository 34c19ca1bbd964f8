package keystore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

var by = keystore.Actor{Kind: "member", ID: "mem_1", Name: "Ada", Address: "192.0.2.1"}

// clock is a clock that a test sets.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func mustAccount(t testing.TB, s *keystore.Store, name string) (*keystore.Account, []*keystore.Key) {
	t.Helper()
	a, keys, err := s.CreateAccount(context.Background(), by, keystore.AccountParams{Name: name})
	if err != nil {
		t.Fatalf("creating account %q: %v", name, err)
	}
	return a, keys
}

func mustOrganization(t testing.TB, s *keystore.Store, name string) *keystore.Organization {
	t.Helper()
	o, err := s.CreateOrganization(context.Background(), by, keystore.OrganizationParams{Name: name})
	if err != nil {
		t.Fatalf("creating organization %q: %v", name, err)
	}
	return o
}

func mustKey(t testing.TB, s *keystore.Store, p keystore.KeyParams) (*keystore.Key, policy.Token) {
	t.Helper()
	k, token, err := s.CreateKey(context.Background(), by, p)
	if err != nil {
		t.Fatalf("creating a key: %v", err)
	}
	return k, token
}

// restricted asks for a live restricted key that may write charges.
func restricted(account string) keystore.KeyParams {
	return keystore.KeyParams{
		Kind: policy.KindRestricted, Mode: policy.ModeLive, Account: account, Name: "billing",
		Permissions: permissions("charges", policy.AccessWrite),
	}
}

func permissions(resource string, access policy.Access) *policy.Permissions {
	return policy.NewPermissions(map[string]policy.Access{resource: access})
}

// wantError checks that an error has a code and names a parameter.
func wantError(t testing.TB, what string, err error, code keystore.Code, param string) {
	t.Helper()
	e, ok := errors.AsType[*keystore.Error](err)
	if !ok {
		t.Errorf("%s: got %v, want an error with code %s", what, err, code)
		return
	}
	if e.Code != code || e.Param != param {
		t.Errorf("%s: got code %s, param %q (%s); want %s, %q", what, e.Code, e.Param, e.Message, code, param)
	}
	if e.Message == "" {
		t.Errorf("%s: the error says nothing", what)
	}
}

// events reads the whole trail.
func events(t testing.TB, b keystore.Backend) []*keystore.Event {
	t.Helper()
	var list []*keystore.Event
	err := b.Events(context.Background(), 1, 1<<62, false, func(row keystore.EventRow) error {
		e, err := keystore.DecodeEvent(row.Body)
		list = append(list, e)
		return err
	})
	if err != nil {
		t.Fatalf("reading events: %v", err)
	}
	return list
}

// lastEvents is the types of the newest n events, oldest first.
func lastEvents(t testing.TB, b keystore.Backend, n int) []keystore.EventType {
	t.Helper()
	all := events(t, b)
	var types []keystore.EventType
	for _, e := range all[max(0, len(all)-n):] {
		types = append(types, e.Type)
	}
	return types
}

func wantEvents(t testing.TB, b keystore.Backend, want ...keystore.EventType) {
	t.Helper()
	if got := lastEvents(t, b, len(want)); !slices.Equal(got, want) {
		t.Errorf("the newest events are %v, want %v", got, want)
	}
}

// newStore is a store in memory with its backend and a clock.
func newStore(t testing.TB) (*keystore.Store, *keystoretest.Memory, *clock) {
	t.Helper()
	b, c := keystoretest.NewMemory(), newClock()
	return keystoretest.NewStore(t, keystore.Options{Backend: b, Now: c.now}), b, c
}
