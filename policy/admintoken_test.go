package policy

import (
	"crypto/rand"
	"strings"
	"testing"
)

func TestAdminToken(t *testing.T) {
	t.Parallel()
	token, err := GenerateAdminToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := token.Reveal()
	if !IsAdminToken(text) || len(text) != 42 {
		t.Fatalf("a new token has %d characters and IsAdminToken %v", len(text), IsAdminToken(text))
	}
	if _, _, class := ParseToken(text); class != TokenForeign {
		t.Errorf("ParseToken takes an admin token for class %d, want foreign", class)
	}
	other := byte('0')
	if text[20] == other {
		other = '1'
	}
	for what, s := range map[string]string{
		"nothing": "", "the prefix": "adm_", "an id": "adm_" + text[4:24], "a character less": text[:41], "one more": text + "0",
		"another character": text[:20] + string(other) + text[21:], "another prefix": "sk_live_" + text[4:],
		"upper case": "ADM_" + text[4:], "a foreign character": text[:20] + "-" + text[21:],
	} {
		if IsAdminToken(s) {
			t.Errorf("%s is taken for an admin token", what)
		}
		if got := MaskAdminToken(s); got != "****" {
			t.Errorf("mask of %s = %q, want ****", what, got)
		}
	}
	if got, want := MaskAdminToken(text), "adm_****"+text[38:]; got != want {
		t.Errorf("mask = %q, want %q", got, want)
	}
	if got := token.String(); strings.Contains(text, got) {
		t.Errorf("the token prints as %q", got)
	}
	if _, err := GenerateAdminToken(strings.NewReader("")); err == nil {
		t.Error("a token was made without randomness")
	}
}
