package keystore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

func TestDeleteKey(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	_, keys := mustAccount(t, s, "A")
	secret, publishable := keys[2], keys[3]
	gone, err := s.DeleteKey(t.Context(), by, secret.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !gone.Deleted || !gone.EndedAt.Equal(c.at) || gone.Status(c.at) != keystore.StatusDeleted || !gone.Principal.Ended ||
		keystore.HasSealed(gone) || gone.Revealable() {
		t.Errorf("deleted key = %+v", gone)
	}
	if got, _ := s.Lookup(&secret.Digest); got != gone {
		t.Error("a deleted key's record must stay, so that its token answers expired")
	}
	wantEvents(t, backend, "key.deleted")
	_, err = s.DeleteKey(t.Context(), by, secret.ID)
	wantError(t, "deleting again", err, keystore.CodeKeyEnded, "")
	_, err = s.UpdateKey(t.Context(), by, secret.ID, keystore.KeyPatch{Name: keystore.To("x")})
	wantError(t, "editing", err, keystore.CodeKeyEnded, "")
	_, _, err = s.RotateKey(t.Context(), by, secret.ID, keystore.RotateParams{})
	wantError(t, "rotating", err, keystore.CodeKeyEnded, "")
	_, _, err = s.RevealKey(t.Context(), by, secret.ID)
	wantError(t, "revealing", err, keystore.CodeKeyEnded, "")
	_, err = s.DeleteKey(t.Context(), by, publishable.ID)
	wantError(t, "a publishable key", err, keystore.CodeNotDeletable, "")
	_, err = s.DeleteKey(t.Context(), by, "key_none")
	wantError(t, "an unknown key", err, keystore.CodeNotFound, "")
}

func TestExpiredKeyHasEnded(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.Mode, p.ExpiresAt = policy.ModeSandbox, c.at.Add(time.Hour)
	k, _ := mustKey(t, s, p)
	if _, _, err := s.RevealKey(t.Context(), by, k.ID); err != nil {
		t.Errorf("revealing before the end: %v", err)
	}
	c.at = c.at.Add(time.Hour)
	_, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{ExpiresAt: keystore.Null[time.Time]()})
	wantError(t, "bringing it back", err, keystore.CodeKeyEnded, "")
	_, _, err = s.RotateKey(t.Context(), by, k.ID, keystore.RotateParams{})
	wantError(t, "rotating", err, keystore.CodeKeyEnded, "")
	_, _, err = s.RevealKey(t.Context(), by, k.ID)
	wantError(t, "revealing", err, keystore.CodeKeyEnded, "")
	if gone, err := s.DeleteKey(t.Context(), by, k.ID); err != nil || gone.Status(c.at) != keystore.StatusDeleted {
		t.Errorf("deleting an expired key: %+v, %v", gone, err)
	}
}

func TestRotateNow(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	o := mustOrganization(t, s, "O")
	p := restricted(a.ID)
	p.Note, p.Metadata, p.IPRanges = "vault", map[string]string{"a": "1"}, []string{"10.0.0.0/8"}
	p.ConnectedPermissions, p.ExpiresAt = permissions("payouts", policy.AccessRead), c.at.Add(24*time.Hour)
	limited, _ := mustKey(t, s, p)
	org, _ := mustKey(t, s, keystore.KeyParams{Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: o.ID, Name: "org key"})
	if _, err := s.UpdateKey(t.Context(), by, standard[2].ID, keystore.KeyPatch{Name: keystore.To("renamed")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateKey(t.Context(), by, standard[3].ID, keystore.KeyPatch{AllowedOrigins: keystore.To([]string{"https://a.example"})}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		id, name   string
		revealable bool
	}{
		{standard[0].ID, "Secret key", true}, // a sandbox key, any number of times
		{standard[1].ID, "Publishable key", true},
		{standard[2].ID, "Secret key", false}, // shown in the answer, and nowhere else ever
		{standard[3].ID, "Publishable key", true},
		{limited.ID, "billing", false},
		{org.ID, "org key", false},
	} {
		c.at = c.at.Add(time.Minute)
		old, _ := s.Snapshot().Key(tc.id)
		made, token, err := s.RotateKey(t.Context(), by, tc.id, keystore.RotateParams{IfRevision: old.Revision})
		if err != nil {
			t.Errorf("%s: %v", old.Mask, err)
			continue
		}
		digest := token.Digest()
		if got, _ := s.Lookup(&digest); got != made {
			t.Errorf("%s: the new token does not find the new key", old.Mask)
		}
		ended, _ := s.Lookup(&old.Digest)
		if ended.Status(c.at) != keystore.StatusExpired || !ended.Principal.Ended || ended.Deleted || ended.Successor != made.ID ||
			!ended.EndedAt.Equal(c.at) || keystore.HasSealed(ended) || ended.Default {
			t.Errorf("%s: the old key is %+v", old.Mask, ended)
		}
		if made.Name != tc.name || made.Revealable() != tc.revealable || made.Predecessor != old.ID || made.Default != old.Default ||
			made.Kind != old.Kind || made.Mode != old.Mode || made.Owner() != old.Owner() || made.Sandbox != old.Sandbox ||
			made.Note != old.Note || len(made.Metadata) != len(old.Metadata) || !slices.Equal(made.IPRanges, old.IPRanges) ||
			!slices.Equal(made.AllowedOrigins, old.AllowedOrigins) || !made.ExpiresAt.IsZero() ||
			!made.Principal.Permissions.Equal(old.Principal.Permissions) ||
			!made.Principal.ConnectedPermissions.Equal(old.Principal.ConnectedPermissions) || !made.CreatedAt.Equal(c.at) {
			t.Errorf("%s: the new key is %+v", old.Mask, made)
		}
		wantEvents(t, backend, "key.created", "key.rotated")
		_, _, err = s.RotateKey(t.Context(), by, tc.id, keystore.RotateParams{})
		wantError(t, "rotating again", err, keystore.CodeKeyEnded, "")
	}
}

func TestRotateLater(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	k := standard[2]
	rotate := func(id string, at time.Time) error {
		_, _, err := s.RotateKey(t.Context(), by, id, keystore.RotateParams{ExpiresAt: at})
		return err
	}
	wantError(t, "in the past", rotate(k.ID, c.at), keystore.CodeInvalid, "expires_at")
	wantError(t, "too late", rotate(k.ID, c.at.Add(7*24*time.Hour+time.Millisecond)), keystore.CodeInvalid, "expires_at")
	p := restricted(a.ID)
	p.ExpiresAt = c.at.Add(time.Hour)
	short, _ := mustKey(t, s, p)
	wantError(t, "past its own end", rotate(short.ID, c.at.Add(2*time.Hour)), keystore.CodeInvalid, "expires_at")
	_, _, err := s.RotateKey(t.Context(), by, k.ID, keystore.RotateParams{IfRevision: 99})
	wantError(t, "at another revision", err, keystore.CodeRevision, "")

	ends := c.at.Add(7 * 24 * time.Hour)
	if err := rotate(k.ID, ends); err != nil {
		t.Fatal(err)
	}
	old, _ := s.Lookup(&k.Digest)
	if old.Status(c.at) != keystore.StatusExpiring || old.Principal.Ended || !old.Principal.ExpiresAt.Equal(ends) || old.Default ||
		!old.Revealable() {
		t.Errorf("the old key is %+v", old)
	}
	if old.Status(ends) != keystore.StatusExpired {
		t.Errorf("at its end it is %s", old.Status(ends))
	}
	wantError(t, "rotating it once more", rotate(k.ID, time.Time{}), keystore.CodeConflict, "")
	edit := func(f keystore.Field[time.Time]) error {
		_, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{ExpiresAt: f})
		return err
	}
	wantError(t, "lifting the end", edit(keystore.Null[time.Time]()), keystore.CodeInvalid, "expires_at")
	wantError(t, "a later end", edit(keystore.To(ends.Add(time.Hour))), keystore.CodeInvalid, "expires_at")
	if err := edit(keystore.To(ends.Add(-time.Hour))); err != nil {
		t.Errorf("an earlier end: %v", err)
	}
	// The publishable key too, which cannot be given an end otherwise.
	if err := rotate(standard[3].ID, ends); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateKey(t.Context(), by, standard[3].ID, keystore.KeyPatch{ExpiresAt: keystore.To(c.at.Add(time.Minute))}); err != nil {
		t.Errorf("an earlier end of a publishable key: %v", err)
	}
}

func TestReveal(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, keys := mustAccount(t, s, "A")
	reveal := func(id string) (*keystore.Key, policy.Token, error) { return s.RevealKey(t.Context(), by, id) }
	for i, times := range []int{3, 3, 1, 3} { // sandbox secret, publishable, live secret, publishable
		for n := range times {
			k, token, err := reveal(keys[i].ID)
			if err != nil || token.Digest() != keys[i].Digest || k.ID != keys[i].ID {
				t.Fatalf("%s: reveal %d: %v", keys[i].Mask, n, err)
			}
			if k.Revealable() != (i != 2) {
				t.Errorf("%s: revealable afterwards: %v", keys[i].Mask, k.Revealable())
			}
		}
	}
	_, token, err := reveal(keys[2].ID)
	wantError(t, "a second time", err, keystore.CodeAlreadyRevealed, "")
	if !token.IsZero() {
		t.Error("the token was given all the same")
	}
	now, _ := s.Snapshot().Key(keys[2].ID)
	if keystore.HasSealed(now) {
		t.Error("the sealed token is still there")
	}
	wantEvents(t, backend, "key.revealed", "key.revealed", "key.revealed", "key.revealed") // three of the sandbox key

	made, _ := mustKey(t, s, keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID})
	_, _, err = reveal(made.ID)
	wantError(t, "a live key that was shown when it was made", err, keystore.CodeNotRevealable, "")
	_, _, err = reveal("key_none")
	wantError(t, "an unknown key", err, keystore.CodeNotFound, "")
	// A reveal by rotation: what replaces the default key was shown in the answer.
	next, _, err := s.RotateKey(t.Context(), by, keys[2].ID, keystore.RotateParams{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = reveal(next.ID)
	wantError(t, "the successor of the default key", err, keystore.CodeNotRevealable, "")
}

func TestParallelReveals(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	_, keys := mustAccount(t, s, "A")
	var got, refused atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		group.Go(func() {
			<-start
			_, token, err := s.RevealKey(t.Context(), by, keys[2].ID)
			switch {
			case err == nil && token.Digest() == keys[2].Digest:
				got.Add(1)
			case keystore.CodeOf(err) == keystore.CodeAlreadyRevealed:
				refused.Add(1)
			default:
				t.Errorf("reveal: %v", err)
			}
		})
	}
	close(start)
	group.Wait()
	if got.Load() != 1 || refused.Load() != 63 {
		t.Errorf("%d reveals succeeded and %d were refused, want 1 and 63", got.Load(), refused.Load())
	}
}

func TestSealedTokenOfAnotherKey(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	_, keys := mustAccount(t, s, "A")
	if err := s.OpenSealedOf(keys[0], keys[0]); err != nil {
		t.Errorf("its own: %v", err)
	}
	if err := s.OpenSealedOf(keys[0], keys[2]); err == nil {
		t.Error("a sealed token opened under another key's id")
	}
}

func TestDuplicate(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.Note, p.IPRanges, p.ExpiresAt = "vault", []string{"10.0.0.0/8"}, c.at.Add(time.Hour)
	k, _ := mustKey(t, s, p)
	twin, token, err := s.DuplicateKey(t.Context(), by, k.ID, keystore.KeyPatch{})
	if err != nil {
		t.Fatal(err)
	}
	if twin.Name != k.Name || twin.Note != k.Note || !twin.Principal.Permissions.Equal(k.Principal.Permissions) ||
		!slices.Equal(twin.IPRanges, k.IPRanges) || twin.Predecessor != "" || !twin.ExpiresAt.IsZero() || token.Digest() != twin.Digest ||
		twin.Digest == k.Digest {
		t.Errorf("the duplicate is %+v", twin)
	}
	wantEvents(t, backend, "key.created")
	other, _, err := s.DuplicateKey(t.Context(), by, k.ID, keystore.KeyPatch{
		Name: keystore.To("other"), Permissions: keystore.To(policy.NewPermissions(nil)), IPRanges: keystore.Null[[]string](),
		ExpiresAt: keystore.To(c.at.Add(time.Minute)),
	})
	if err != nil || other.Name != "other" || other.Principal.Permissions.Len() != 0 || other.IPRanges != nil || other.ExpiresAt.IsZero() {
		t.Errorf("DuplicateKey with changes = %+v, %v", other, err)
	}
	if now, _ := s.Snapshot().Key(k.ID); now.Successor != "" || now.Principal.Ended {
		t.Error("duplicating changed the original")
	}
	_, _, err = s.DuplicateKey(t.Context(), by, standard[0].ID, keystore.KeyPatch{})
	wantError(t, "a secret key", err, keystore.CodeInvalid, "")
	_, _, err = s.DuplicateKey(t.Context(), by, k.ID, keystore.KeyPatch{Name: keystore.Null[string]()})
	wantError(t, "no name", err, keystore.CodeMissing, "name")
}

func TestImport(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, standard := mustAccount(t, s, "A")
	o := mustOrganization(t, s, "O")
	if s.HasImported() {
		t.Error("imported keys before any import")
	}
	params := func(kind policy.Kind, mode policy.Mode) keystore.KeyParams {
		p := keystore.KeyParams{Kind: kind, Mode: mode, Account: a.ID, Name: "imported"}
		if kind == policy.KindOrganization {
			p.Account, p.Organization = "", o.ID
		}
		return p
	}
	secret, sandbox := params(policy.KindSecret, policy.ModeLive), params(policy.KindSecret, policy.ModeSandbox)
	wrongSum := "sk_test_" + strings.Repeat("a", 38)
	rows := []keystore.ImportParams{
		{KeyParams: sandbox, Token: policy.TokenFrom("sk_test_123")},
		{KeyParams: sandbox, Token: policy.TokenFrom(wrongSum)},
		{KeyParams: secret, Token: policy.TokenFrom("any~spelling;at/all")},
		{KeyParams: secret, Digest: policy.DigestOf("known by its sum only"), Last4: "only"},
		{KeyParams: params(policy.KindPublishable, policy.ModeSandbox), Token: policy.TokenFrom("pk_test_abcdefghijklmnop")},
		{KeyParams: params(policy.KindOrganization, policy.ModeLive), Token: policy.TokenFrom("sk_org_live_oldoldoldoldold")},
		{KeyParams: restricted(a.ID), Token: policy.TokenFrom("rk_live_x")},
	}
	trail := len(events(t, backend))
	keys, err := s.ImportKeys(t.Context(), by, rows)
	if err != nil {
		t.Fatal(err)
	}
	if !s.HasImported() || len(keys) != len(rows) {
		t.Fatalf("%d keys, HasImported = %v", len(keys), s.HasImported())
	}
	masks := []string{"sk_test_****", "sk_test_****aaaa", "****", "****only", "pk_test_****mnop", "sk_org_live_****dold", "rk_live_****"}
	for i, k := range keys {
		digest := rows[i].Digest
		if !rows[i].Token.IsZero() {
			digest = rows[i].Token.Digest()
		}
		if got, _ := s.Lookup(&digest); got != k || !k.Imported || k.Default || keystore.HasSealed(k) {
			t.Errorf("key %d = %+v", i, k)
		}
		if k.Mask != masks[i] && !strings.HasPrefix(k.Mask, masks[i]) {
			t.Errorf("key %d has mask %q, want %q", i, k.Mask, masks[i])
		}
	}
	if keys[4].PublicToken != "pk_test_abcdefghijklmnop" || keys[0].PublicToken != "" {
		t.Error("only publishable tokens are kept in clear")
	}
	if got := len(events(t, backend)) - trail; got != len(rows) {
		t.Errorf("%d events, want one per key", got)
	}
	_, _, err = s.RevealKey(t.Context(), by, keys[0].ID)
	wantError(t, "revealing an imported key", err, keystore.CodeNotRevealable, "")

	revision := s.Snapshot().Revision()
	bad := []keystore.ImportParams{
		{KeyParams: secret, Token: policy.TokenFrom("good one")}, // a blank
		{KeyParams: secret},
		{KeyParams: secret, Token: policy.TokenFrom("x"), Digest: policy.DigestOf("x")},
		{KeyParams: secret, Token: policy.TokenFrom(strings.Repeat("x", 513))},
		{KeyParams: sandbox, Token: policy.TokenFrom("sk_test_123")}, // imported above
		{KeyParams: sandbox, Digest: standard[0].Digest},             // made by the store
		{KeyParams: secret, Token: policy.TokenFrom("fresh")},
		{KeyParams: secret, Digest: policy.DigestOf("fresh")}, // as the row above
		{KeyParams: secret, Token: policy.TokenFrom("sk_test_wrongmode")},
		{KeyParams: params(policy.KindPublishable, policy.ModeLive), Token: policy.TokenFrom("sk_live_secret")},
		{KeyParams: params(policy.KindPublishable, policy.ModeLive), Digest: policy.DigestOf("p")},
		{KeyParams: secret, Digest: policy.DigestOf("q"), Last4: "12345"},
		{KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: "acct_none"}, Token: policy.TokenFrom("r")},
	}
	want := []string{
		"parameter_invalid keys[0].token", "parameter_missing keys[1].token", "parameter_invalid keys[2].sha256",
		"parameter_invalid keys[3].token", "conflict keys[4].token", "conflict keys[5].sha256", "conflict keys[7].sha256",
		"parameter_invalid keys[8].mode", "parameter_invalid keys[9].kind", "parameter_missing keys[10].token",
		"parameter_invalid keys[11].last4", "resource_missing keys[12].account",
	}
	_, err = s.ImportKeys(t.Context(), by, bad)
	list, ok := errors.AsType[*keystore.ImportError](err)
	if !ok {
		t.Fatalf("ImportKeys = %v, want an ImportError", err)
	}
	var got []string
	for _, e := range list.Rows {
		got = append(got, fmt.Sprint(e.Code, " ", e.Param))
	}
	if !slices.Equal(got, want) {
		t.Errorf("errors\n%q, want\n%q", got, want)
	}
	fresh := policy.DigestOf("fresh")
	if k, _ := s.Lookup(&fresh); k != nil || s.Snapshot().Revision() != revision {
		t.Error("a refused import left something behind")
	}
	_, err = s.ImportKeys(t.Context(), by, nil)
	wantError(t, "nothing", err, keystore.CodeMissing, "keys")
	if _, err = s.ImportKeys(t.Context(), by, make([]keystore.ImportParams, 500)); err == nil {
		t.Error("500 empty rows were imported")
	} else if list, ok := errors.AsType[*keystore.ImportError](err); !ok || len(list.Rows) != 100 || !list.More {
		t.Errorf("500 empty rows: %v", err)
	}
}
