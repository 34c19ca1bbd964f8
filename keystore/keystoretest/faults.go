package keystoretest

import (
	"context"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// runFaults runs a store on a backend whose commits fail, and compares what the store says with what a restart finds: in
// every case memory and disk end up the same, and no caller is told something that is not so.
func runFaults(t *testing.T, place func(t *testing.T) (open func() (keystore.Backend, error))) {
	cases := []struct {
		name  string
		fault Fault
		wrote bool          // the write is there in the end
		says  keystore.Code // what the caller hears; "" for success
	}{
		{"CommitLost", FaultLost, false, keystore.CodeUnavailable},
		{"CommitPersisted", FaultPersisted, true, ""},
		{"UnknownAndLost", FaultBlindLost, false, keystore.CodeUnavailable},
		{"UnknownAndPersisted", FaultBlindPersisted, true, keystore.CodeUnavailable},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, by := t.Context(), keystore.Actor{Kind: "system", Name: "test"}
			open := place(t)
			inner, err := open()
			if err != nil {
				t.Fatalf("opening the backend: %v", err)
			}
			backend := &Faulty{Backend: inner}
			options := keystore.Options{Backend: backend, MasterKey: MasterKey(t), Node: "node"}
			s, err := keystore.Open(ctx, options)
			if err != nil {
				t.Fatalf("opening the store: %v", err)
			}
			_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "before"})
			if err != nil {
				t.Fatalf("creating an account: %v", err)
			}
			key := keys[2]
			revision := s.Snapshot().Revision()

			backend.Break(tc.fault)
			_, err = s.DeleteKey(ctx, by, key.ID)
			if got := keystore.CodeOf(err); got != tc.says || (err == nil) != (tc.says == "") {
				t.Errorf("DeleteKey = %v, want code %q", err, tc.says)
			}
			blind := tc.fault == FaultBlindLost || tc.fault == FaultBlindPersisted
			if blind {
				if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "x"}); keystore.CodeOf(err) != keystore.CodeUnavailable {
					t.Errorf("a write while an outcome is unknown: %v, want unavailable", err)
				}
				if s.Snapshot().Revision() != revision {
					t.Error("memory went ahead of what is known")
				}
			}
			backend.Break(FaultNone)
			if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "after"}); err != nil {
				t.Errorf("writing after the fault: %v", err)
			}
			want := revision + 1
			if tc.wrote {
				want++
			}
			check := func(when string, s *keystore.Store) {
				t.Helper()
				k, ok := s.Snapshot().Key(key.ID)
				if !ok || k.Deleted != tc.wrote {
					t.Errorf("%s: the key is there: %v, deleted: %v; want deleted: %v", when, ok, k.Deleted, tc.wrote)
				}
				if k, _ := s.Lookup(&key.Digest); k == nil || k.Principal.Ended != tc.wrote {
					t.Errorf("%s: a look-up finds %+v, want ended: %v", when, k, tc.wrote)
				}
				if got := s.Snapshot().Revision(); got != want {
					t.Errorf("%s: revision %d, want %d", when, got, want)
				}
			}
			check("in memory", s)
			if err := s.Close(); err != nil {
				t.Fatalf("closing: %v", err)
			}
			if options.Backend, err = open(); err != nil {
				t.Fatalf("opening the backend again: %v", err)
			}
			s, err = keystore.Open(context.WithoutCancel(ctx), options)
			if err != nil {
				t.Fatalf("opening the store again: %v", err)
			}
			check("after a restart", s)
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
}
