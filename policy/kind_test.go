package policy

import (
	"encoding/json"
	"testing"
)

func TestWords(t *testing.T) {
	t.Parallel()
	type all struct {
		Kind   Kind
		Mode   Mode
		Access Access
	}
	for want, v := range map[string]all{
		`{"Kind":"secret","Mode":"live","Access":"none"}`:           {KindSecret, ModeLive, AccessNone},
		`{"Kind":"publishable","Mode":"sandbox","Access":"read"}`:   {KindPublishable, ModeSandbox, AccessRead},
		`{"Kind":"restricted","Mode":"live","Access":"write"}`:      {KindRestricted, ModeLive, AccessWrite},
		`{"Kind":"organization","Mode":"sandbox","Access":"write"}`: {KindOrganization, ModeSandbox, AccessWrite},
	} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		var back all
		if err := json.Unmarshal(got, &back); err != nil || back != v {
			t.Errorf("%s: got %+v, %v, want %+v", got, back, err, v)
		}
	}
	for _, bad := range []any{Kind(0), Kind(5), Mode(0), Mode(3), Access(3)} {
		if got, err := json.Marshal(bad); err == nil {
			t.Errorf("%T(%d): got %s, want an error", bad, bad, got)
		}
	}
	if Kind(9).String() != "" || Mode(9).String() != "" || Access(9).String() != "" {
		t.Error("what is no word must have no text")
	}
	for _, tt := range []struct {
		parse func(string) error
		in    string
		want  string
	}{
		{func(s string) error { _, err := ParseKind(s); return err }, "Secret", `unknown kind "Secret": it must be secret, publishable, restricted or organization`},
		{func(s string) error { _, err := ParseKind(s); return err }, "", `unknown kind "": it must be secret, publishable, restricted or organization`},
		{func(s string) error { _, err := ParseMode(s); return err }, "test", `unknown mode "test": it must be live or sandbox`},
		{func(s string) error { _, err := ParseAccess(s); return err }, "admin", `unknown access "admin": it must be none, read or write`},
	} {
		if err := tt.parse(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}
