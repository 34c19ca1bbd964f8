package keystore

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/policy"
)

// baseKey is key n of a test: some owners have many keys and some one, some keys end.
func baseKey(r *rand.Rand, n int) *Key {
	k := &Key{
		ID: fmt.Sprintf("%s%020d", prefixKey, n), Account: fmt.Sprint("acct_", r.IntN(1+r.IntN(60))),
		Kind: policy.KindSecret, Mode: policy.Mode(1 + r.IntN(2)), Name: fmt.Sprint("key ", n), Note: strings.Repeat("x", r.IntN(300)),
		Mask: "sk_live_****abcd", CreatedAt: time.UnixMilli(1).UTC(), Digest: policy.DigestOf(fmt.Sprint(n)), usage: new(usageCell), version: 1,
	}
	if k.Mode == policy.ModeSandbox {
		k.Sandbox = "sbx_1"
	}
	if r.IntN(5) == 0 {
		k.ExpiresAt = time.UnixMilli(int64(1 + r.IntN(50))).UTC()
	}
	k.usage.version.Store(k.version)
	return k
}

// TestBase holds a base against a plain list, after it was built and after each of some changes of many of its keys.
func TestBase(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 5))
			b, all, next := emptyBase(), []*Key(nil), 0
			checkBase(t, b, nil)
			for range 12 {
				var put []*Key
				for _, k := range all {
					if r.IntN(4) == 0 {
						changed := *k
						changed.Note, changed.version = fmt.Sprint("changed ", r.Uint32()), k.version+1
						if changed.ExpiresAt = (time.Time{}); r.IntN(3) == 0 {
							changed.ExpiresAt = time.UnixMilli(int64(1 + r.IntN(50))).UTC()
						}
						changed.usage.version.Store(changed.version)
						put = append(put, &changed)
					}
				}
				for range r.IntN(100) {
					next += 1 + r.IntN(3)
					put = append(put, baseKey(r, next))
				}
				for _, k := range put {
					all = slices.DeleteFunc(all, func(old *Key) bool { return old.ID == k.ID })
				}
				all = append(all, put...)
				slices.SortFunc(all, func(x, y *Key) int { return cmp.Compare(x.ID, y.ID) })
				var err error
				if b, err = b.with(put); err != nil {
					t.Fatal(err)
				}
				checkBase(t, b, all)
			}
			held, live := 0, 0
			for _, c := range b.chunks {
				held += len(c)
			}
			for n := range b.rows {
				live += len(b.record(n))
			}
			if held > 2*live {
				t.Errorf("the base holds %d bytes for %d that count", held, live)
			}
		})
	}
}

func checkBase(t *testing.T, b *keyBase, all []*Key) {
	t.Helper()
	same := func(what string, got, want *Key) {
		t.Helper()
		if (got == nil) != (want == nil) {
			t.Fatalf("%s: got %v, want %v", what, got, want)
		}
		if want != nil && (got.ID != want.ID || got.Note != want.Note || got.Digest != want.Digest || got.usage != want.usage || got.version != want.version ||
			!got.ExpiresAt.Equal(want.ExpiresAt) || got.Principal.KeyID != want.ID || !got.current()) {
			t.Fatalf("%s: got %+v, want %+v", what, got, want)
		}
	}
	walked := func(what string, next func() *Key, want []*Key) {
		t.Helper()
		for _, k := range want {
			same(what, next(), k)
		}
		same(what+", after the last", next(), nil)
	}
	down := slices.Clone(all)
	slices.Reverse(down)
	walked("all", b.walk("", nil), down)
	for i, k := range down {
		same("by id", b.byID(k.ID), k)
		same("by digest", b.find(&k.Digest), k)
		strange := k.Digest
		strange[31]++
		same("by a digest that nobody has", b.find(&strange), nil)
		same("by an id that nobody has", b.byID(k.ID+"0"), nil)
		if i%7 == 0 {
			walked("below "+k.ID, b.walk(k.ID, nil), down[i+1:])
		}
	}
	for owner := range 61 {
		account := fmt.Sprint("acct_", owner)
		for mode := policy.ModeLive; mode <= policy.ModeSandbox; mode++ {
			want := slices.DeleteFunc(slices.Clone(down), func(k *Key) bool { return k.Account != account || k.Mode != mode })
			walked(account, b.walkOwner(account, mode, "", nil), want)
			odd := func(k *Key) bool { return k.ID[len(k.ID)-1]%2 == 1 }
			walked(account+" in part", b.walkOwner(account, mode, "", odd), slices.DeleteFunc(slices.Clone(want), func(k *Key) bool { return !odd(k) }))
			if len(want) > 1 {
				walked(account+" below", b.walkOwner(account, mode, want[0].ID, nil), want[1:])
			}
		}
	}
	due := slices.DeleteFunc(slices.Clone(all), func(k *Key) bool { return k.due().IsZero() })
	slices.SortFunc(due, func(x, y *Key) int { return cmp.Or(x.due().Compare(y.due()), cmp.Compare(x.ID, y.ID)) })
	walked("due", b.walkDue(), due)
}

// TestBaseSharedHashes: two owners, and two digests, that have one hash never answer for each other.
func TestBaseSharedHashes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	w := newBaseBuilder()
	keys := make([]*Key, 40)
	for n := range keys {
		keys[n] = baseKey(r, n)
		row := w.base.describe(keys[n])
		row.owner = hashOwner(w.base.seed, keys[0].Account, keys[0].Mode)
		row.digest = w.base.hashDigest(&keys[0].Digest)
		if err := w.add(row, keys[n].encode(), keys[n].usage); err != nil {
			t.Fatal(err)
		}
	}
	b, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	if k := b.find(&keys[0].Digest); k == nil || k.ID != keys[0].ID {
		t.Errorf("the digest of the first key found %v", k)
	}
	strange := keys[0].Digest
	strange[31]++
	if k := b.find(&strange); k != nil {
		t.Errorf("a strange digest found %s", k.ID)
	}
	next := b.walkOwner(keys[0].Account, keys[0].Mode, "", nil)
	for n := len(keys) - 1; n >= 0; n-- {
		if keys[n].Account != keys[0].Account || keys[n].Mode != keys[0].Mode {
			continue
		}
		if k := next(); k == nil || k.ID != keys[n].ID {
			t.Fatalf("the list of %s has %v, want %s", keys[0].Account, k, keys[n].ID)
		}
	}
	if k := next(); k != nil {
		t.Errorf("the list of %s has %s of %s", keys[0].Account, k.ID, k.Account)
	}
}
