package keystore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// TestImportRefusesTokensThatCannotWork: the gateway takes a comma in a credential for a list, so a key with one would be
// stored, listed as active, and refused for ever. Colons work.
func TestImportRefusesTokensThatCannotWork(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	before := s.Snapshot().Revision()
	row := func(token string) []keystore.ImportParams {
		return []keystore.ImportParams{{
			KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID, Name: "imported"},
			Token:     policy.TokenFrom(token),
		}}
	}
	for _, token := range []string{"legacy,7f3a", ",", "sk_live_a,b", "trailing,"} {
		_, err := s.ImportKeys(t.Context(), by, row(token))
		wrong, ok := errors.AsType[*keystore.Error](err)
		if !ok || wrong.Code != keystore.CodeInvalid || wrong.Param != "keys[0].token" || !strings.Contains(wrong.Message, "comma") {
			t.Errorf("importing %q: %v, want parameter_invalid of keys[0].token that speaks of the comma", token, err)
			continue
		}
		if strings.Contains(err.Error(), "legacy") || strings.Contains(err.Error(), "trailing") {
			t.Errorf("importing %q: the error repeats the token: %v", token, err)
		}
	}
	if s.Snapshot().Revision() != before || s.HasImported() {
		t.Error("a refused import left something behind")
	}
	for _, token := range []string{"tenant:7:secret", "trailing:", "semi;colon"} {
		if _, err := s.ImportKeys(t.Context(), by, row(token)); err != nil {
			t.Errorf("importing %q: %v", token, err)
		}
	}
}
