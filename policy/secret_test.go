package policy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// However a Token is written, also inside other values and by who does not know it, its text must not come out.
func TestTokenIsNeverWritten(t *testing.T) {
	t.Parallel()
	secret := mustToken(t, KindSecret, ModeLive)
	token := TokenFrom(secret)
	type exported struct{ Token Token }
	type hidden struct{ token Token }
	type pointer struct{ token *Token }
	values := []any{
		token, &token, exported{token}, &exported{token}, hidden{token}, &hidden{token}, pointer{&token}, []Token{token},
		map[string]Token{"a": token}, [1]hidden{{token}}, struct{ v any }{token}, errors.Join(fmt.Errorf("key %v", token)),
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10s", "%T"} {
			if out := fmt.Sprintf(verb, v); leaks(out, secret) {
				t.Errorf("%T with %s: got %q", v, verb, out)
			}
		}
		if out, err := json.Marshal(v); err == nil && leaks(string(out), secret) {
			t.Errorf("%T as JSON: got %s", v, out)
		}
		if out, err := xml.Marshal(v); err == nil && leaks(string(out), secret) {
			t.Errorf("%T as XML: got %s", v, out)
		}
		var buf bytes.Buffer
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "v", v)
		if leaks(buf.String(), secret) {
			t.Errorf("%T by slog: got %s", v, buf.String())
		}
	}
	if got, want := fmt.Sprint(token), Mask(secret); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := fmt.Sprintf("%#v", token), `policy.Token("`+Mask(secret)+`")`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if out, err := json.Marshal(exported{token}); err != nil || string(out) != `{"Token":"`+Mask(secret)+`"}` {
		t.Errorf("got %s, %v", out, err)
	}
}

// leaks looks for six characters in a row of the random part, also in hexadecimal.
func leaks(out, secret string) bool {
	body := secret[8 : len(secret)-4]
	for i := 0; i+6 <= len(body); i++ {
		part := body[i : i+6]
		if strings.Contains(out, part) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", part)) {
			return true
		}
	}
	return false
}

func TestToken(t *testing.T) {
	t.Parallel()
	var zero Token
	if !zero.IsZero() || zero.Reveal() != "" || zero.String() != "" || zero.Mask() != "" || !TokenFrom("").IsZero() {
		t.Error("the zero token must be empty")
	}
	token := TokenFrom("anything at all")
	if token.IsZero() || token.Reveal() != "anything at all" || token.Digest() != DigestOf("anything at all") || token.String() != "****" {
		t.Errorf("got %v, %q", token, token.Reveal())
	}
}
