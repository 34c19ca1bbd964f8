package command

import (
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// TestRateLimits sets, changes and lifts the limits of an account and of a key.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	shop := strings.Fields(s.run(t, "account", "create", "Shop", "--rate-limit", "live=200,sandbox=50"))[1]
	limits := func(want keystore.RateLimit, shown string) {
		t.Helper()
		if a, ok := s.store.Snapshot().Account(shop); !ok || a.RateLimit != want {
			t.Errorf("the account's limits are %+v, want %+v", a.RateLimit, want)
		}
		if out := s.run(t, "account", "get", shop); strings.Contains(out, "rate limit") != (shown != "") || !strings.Contains(out, shown) {
			t.Errorf("account get shows %s, want the limit %q", out, shown)
		}
	}
	limits(keystore.RateLimit{Live: 200, Sandbox: 50}, "live 200/s, sandbox 50/s")
	s.run(t, "account", "edit", shop, "--rate-limit", "7")
	limits(keystore.RateLimit{Live: 7, Sandbox: 7}, "live 7/s, sandbox 7/s")
	s.run(t, "account", "edit", shop, "--rate-limit", "sandbox=9")
	limits(keystore.RateLimit{Sandbox: 9}, "sandbox 9/s")
	s.run(t, "account", "edit", shop, "--name", "Shop 2")
	limits(keystore.RateLimit{Sandbox: 9}, "sandbox 9/s")
	s.run(t, "account", "edit", shop, "--no-rate-limit")
	limits(keystore.RateLimit{}, "")

	made := s.run(t, "key", "create", "--account", shop, "--mode", "live", "--kind", "restricted", "--name", "slow", "--rate-limit", "5")
	key := strings.Fields(made)[1]
	limit := func(id string, want uint32, shown string) {
		t.Helper()
		if k, ok := s.store.Snapshot().Key(id); !ok || k.RateLimit != want {
			t.Errorf("the key's limit is %+v, want %d", k.RateLimit, want)
		}
		if out := s.run(t, "key", "get", id); strings.Contains(out, "rate limit") != (shown != "") || !strings.Contains(out, shown) {
			t.Errorf("key get shows %s, want the limit %q", out, shown)
		}
	}
	limit(key, 5, "5/s")
	s.run(t, "key", "edit", key, "--note", "x")
	limit(key, 5, "5/s")
	twin := strings.Fields(s.run(t, "key", "duplicate", key, "--name", "twin", "--rate-limit", "6"))[1]
	limit(twin, 6, "6/s")
	s.run(t, "key", "edit", key, "--no-rate-limit")
	limit(key, 0, "")

	for _, args := range []string{
		"account edit " + shop + " --rate-limit 0", "account edit " + shop + " --rate-limit -1", "account edit " + shop + " --rate-limit 1.5",
		"account edit " + shop + " --rate-limit live", "account edit " + shop + " --rate-limit live=", "account edit " + shop + " --rate-limit test=1",
		"account edit " + shop + " --rate-limit live=1,live=2", "account edit " + shop + " --rate-limit 1 --no-rate-limit",
		"key edit " + key + " --rate-limit live=1", "key edit " + key + " --rate-limit 1 --no-rate-limit",
	} {
		if r := s.try(t, "", strings.Fields(args)...); r.code != 2 || !strings.Contains(r.stderr, "--rate-limit") {
			t.Errorf("%s: %+v, want misuse", args, r)
		}
	}
	if r := s.try(t, "", "key", "edit", key, "--rate-limit", "4000000000"); r.code != 1 || !strings.Contains(r.stderr, "rate_limit") {
		t.Errorf("a limit that the server does not take: %+v", r)
	}
}
