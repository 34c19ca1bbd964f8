package keystore

import (
	"strings"
	"time"

	"github.com/keystile/keystile/policy"
)

// Keys lists keys, newest first, ended ones too unless the filter says otherwise. now decides what is expired.
//
// With an owner only its own keys are looked at. Without one, filters that leave few of many keys over read through the
// whole table: about half a second for a million keys, on the caller's time alone.
func (v *Snapshot) Keys(f KeyFilter, p Page, now time.Time) (rows []*Key, more bool, err error) {
	if err := f.check(); err != nil {
		return nil, false, err
	}
	keep := f.matcher(now)
	return page(p, prefixKey, v.walkKeys(&f, p.StartingAfter, keep), keep)
}

// EachKey is Keys without pages: next gives one key after the other, nil after the last.
func (v *Snapshot) EachKey(f KeyFilter, now time.Time) (next func() *Key, err error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	keep := f.matcher(now)
	walk := v.walkKeys(&f, "", keep)
	return func() *Key {
		for {
			k := walk()
			if k == nil || keep(k) {
				return k
			}
		}
	}, nil
}

func (f *KeyFilter) check() error {
	if f.Account != "" && f.Organization != "" {
		return invalid("organization", "filter by an account or by an organization, a key has only one owner")
	}
	switch f.Status {
	case "", StatusActive, StatusExpiring, StatusExpired, StatusDeleted:
		return nil
	}
	return invalid("status", "the status is active, expiring, expired or deleted")
}

// walkKeys picks the index that leaves least to pass over.
func (v *Snapshot) walkKeys(f *KeyFilter, after string, keep func(*Key) bool) func() *Key {
	owner := f.Account
	if owner == "" {
		owner = f.Organization
	}
	if owner == "" {
		return v.keyView().walk(after, keep)
	}
	if f.Mode != 0 {
		return v.keyView().walkOwner(owner, f.Mode, after, keep)
	}
	return newestOf(v.keyView().walkOwner(owner, policy.ModeLive, after, keep), v.keyView().walkOwner(owner, policy.ModeSandbox, after, keep))
}

func (f *KeyFilter) matcher(now time.Time) func(*Key) bool {
	query := strings.ToLower(f.Query)
	return func(k *Key) bool {
		switch {
		case f.Mode != 0 && k.Mode != f.Mode,
			f.Kind != 0 && k.Kind != f.Kind,
			f.Sandbox != "" && k.Sandbox != f.Sandbox,
			f.Status != "" && k.Status(now) != f.Status,
			f.Within != nil && !f.Within(k):
			return false
		}
		return query == "" || k.contains(query)
	}
}

// contains looks for lower-case text in what people search by. The token itself is not there to be searched, and of its
// mask only the last four characters are: a search for "sk_live" is none.
func (k *Key) contains(query string) bool {
	_, last4, _ := strings.Cut(k.Mask, "****")
	for _, text := range [...]string{k.Name, k.Note, k.ID, last4} {
		if strings.Contains(strings.ToLower(text), query) {
			return true
		}
	}
	return false
}
