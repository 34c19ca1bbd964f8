package policy

import (
	"strings"
	"testing"
)

// Every reason, and so every decision that a record can hold, has a sentence of its own.
func TestRemedy(t *testing.T) {
	t.Parallel()
	seen := make(map[string]Reason)
	for _, r := range Reasons() {
		text := r.Remedy()
		if text == "" || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: got the remedy %q, want a sentence", r, text)
		}
		if other, twice := seen[text]; twice {
			t.Errorf("%s and %s have the same remedy", r, other)
		}
		seen[text] = r
		if got := ReasonOf(r.Code()); got != r {
			t.Errorf("ReasonOf(%q): got %v", r.Code(), got)
		}
	}
	for _, code := range []string{"", "gap", "Allowed", "nothing"} {
		if r := ReasonOf(code); r != ReasonNone || r.Remedy() != "" {
			t.Errorf("ReasonOf(%q): got %v with remedy %q, want none", code, r, r.Remedy())
		}
	}
	if Reason(200).Remedy() != "" {
		t.Error("a reason that is none has a remedy")
	}
}
