package keystore

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Usage is when and from where a key was last used.
type Usage struct {
	At      time.Time  // UTC, whole milliseconds
	Address netip.Addr // the zero value: not known
}

// usageCell is the last use of one key. Every version of the key points to the same cell, so that a use is noted
// without looking anything up.
type usageCell struct {
	last  atomic.Pointer[Usage]
	saved atomic.Int64 // unix milliseconds of the use that the backend has; 0: none
}
