package policy

import (
	"strings"
	"testing"
)

func TestVersionRule(t *testing.T) {
	t.Parallel()
	pattern, err := VersionPattern(`v[0-9]+|a`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := VersionList([]string{"2026-08-26.dahlia", "2024-01-01"})
	if err != nil {
		t.Fatal(err)
	}
	anything, err := VersionPattern(`(?s).*`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		rule VersionRule
		yes  []string
		no   []string
	}{
		{"default", VersionRule{}, []string{"2026-08-26", "2026-08-26.dahlia", "2024-12-31.v2-beta_1"},
			[]string{"", "2026-08-2", "2026-13-01", "2026-00-01", "2026-01-00", "2026-01-32", "2026-08-26.", "2026-08-26.Dahlia", "2026-08-26dahlia", "2026-08-26 ",
				" 2026-08-26", "2026/08/26", "20260826", "2026-08-26.1", "2026-08-26.a\r\nX: y", "latest", "2026-08-26." + strings.Repeat("a", 64), "２026-08-26"}},
		{"pattern", pattern, []string{"v1", "v12", "a"}, []string{"", "v", "xv1", "v1x", "ab", "v1\n"}},
		{"list", list, []string{"2026-08-26.dahlia", "2024-01-01"}, []string{"", "2024-01-02", "2024-01-01.dahlia"}},
		{"anything is still visible and bounded", anything, []string{"x"}, []string{"", "a b", "a\nb", "ä", strings.Repeat("a", 65)}},
	} {
		for _, s := range tt.yes {
			if !tt.rule.Match(s) {
				t.Errorf("%s: %q does not match", tt.name, s)
			}
		}
		for _, s := range tt.no {
			if tt.rule.Match(s) {
				t.Errorf("%s: %q matches", tt.name, s)
			}
		}
	}
}

func TestVersionRuleErrors(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{"", "a)|(b", "[", `\1`} {
		if _, err := VersionPattern(expr); err == nil {
			t.Errorf("%q: got a rule, want an error", expr)
		}
	}
	for _, list := range [][]string{nil, {}, {""}, {"a", "a"}, {"a b"}, {strings.Repeat("a", 65)}} {
		if _, err := VersionList(list); err == nil {
			t.Errorf("%q: got a rule, want an error", list)
		}
	}
}
