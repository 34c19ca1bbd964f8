package caddymodule

import (
	"sync/atomic"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// How often the last use of one key is passed on, and of how many keys that is remembered. Last use is promised within a
// minute; a busy key needs no look-up for each of its records.
const (
	usageInterval = time.Second
	usageMemory   = 1 << 14
)

// usageObserver tells the store when and from where keys were used, as their records are stored: in the log's writer
// goroutine, off the request path.
type usageObserver struct {
	// store is where the keys of new records live. It is switched when a reload moves to another store.
	store atomic.Pointer[keystore.Store]
	// recent is when the use of a key was last passed on. Only the writer goroutine touches it.
	recent map[string]time.Time // :: key id → time of the record
}

// observe is called for each stored record, always from the same goroutine. It keeps nothing of the record.
func (u *usageObserver) observe(r *requestlog.Record) {
	store := u.store.Load()
	if r.Key == "" || store == nil || !policy.CountsAsUse(r.Decision) {
		return
	}
	if last, ok := u.recent[r.Key]; ok && r.Time.Sub(last).Abs() < usageInterval {
		return
	}
	key, ok := store.Snapshot().Key(r.Key)
	if !ok {
		return // of another store, before a reload
	}
	if len(u.recent) >= usageMemory || u.recent == nil {
		u.recent = make(map[string]time.Time) // bounded: forgetting costs one look-up each
	}
	u.recent[r.Key] = r.Time
	store.Touch(key, r.Time, r.Client)
}
