package requestlog

import (
	"crypto/rand"
	"strings"
	"sync/atomic"
	"time"
)

// An id is a prefix of four bytes and 19 base62 characters. The first 11 are a 64-bit position, 44 bits of Unix milliseconds
// and 20 bits of sequence, in fixed width and in ASCII order, so that ids sort as text by time and by the order in which a
// process made them. The last 8 are random, drawn once per process: they keep ids unique between nodes and restarts.
const (
	requestPrefix = "req_"
	gapPrefix     = "gap_"
	prefixLen     = 4
	positionLen   = 11
	suffixLen     = 8
	idLen         = prefixLen + positionLen + suffixLen
	sequenceBits  = 20

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var (
	lastPosition  atomic.Uint64
	processSuffix = newProcessSuffix()
)

func newProcessSuffix() (s [suffixLen]byte) {
	var b [suffixLen]byte
	_, _ = rand.Read(b[:]) // never fails: the runtime ends the process first
	for i := range s {
		s[i] = base62[int(b[i])%len(base62)] // the bias of 256 mod 62 costs less than a bit
	}
	return s
}

// NewID makes a request id of the time. Ids of one process are unique and strictly increasing, also under concurrency, also
// when the clock steps back; it takes no lock and allocates the string only.
func NewID(now time.Time) string { return newID(requestPrefix, now) }

func newID(prefix string, now time.Time) string {
	var b [idLen]byte
	copy(b[:], prefix)
	putPosition(b[prefixLen:], nextPosition(now))
	copy(b[prefixLen+positionLen:], processSuffix[:])
	return string(b[:])
}

func nextPosition(now time.Time) uint64 {
	floor := positionOf(now)
	for {
		last := lastPosition.Load()
		next := max(floor, last+1)
		if lastPosition.CompareAndSwap(last, next) {
			return next
		}
	}
}

// positionOf is the first position of the time's millisecond.
func positionOf(t time.Time) uint64 {
	const most = 1<<(64-sequenceBits) - 1
	return uint64(min(max(t.UnixMilli(), 0), most)) << sequenceBits
}

// millisecondOf is the Unix millisecond of a position.
func millisecondOf(position uint64) int64 { return int64(position >> sequenceBits) }

func putPosition(b []byte, v uint64) {
	for i := positionLen - 1; i >= 0; i-- {
		b[i] = base62[v%62]
		v /= 62
	}
}

// cursorBefore is a cursor behind which every record at the position or below it follows, and none above it.
func cursorBefore(position uint64) string {
	b := []byte(requestPrefix + strings.Repeat("0", positionLen+suffixLen))
	putPosition(b[prefixLen:], position+1)
	return string(b)
}

// parseID reads the position of an id or cursor; ok is false for anything that NewID cannot have made.
func parseID[T string | []byte](id T) (position uint64, ok bool) {
	if len(id) != idLen {
		return 0, false
	}
	if p := string(id[:prefixLen]); p != requestPrefix && p != gapPrefix {
		return 0, false
	}
	for i := prefixLen; i < idLen; i++ {
		d := digit62(id[i])
		if d < 0 {
			return 0, false
		}
		if i < prefixLen+positionLen {
			next := position*62 + uint64(d)
			if next/62 != position {
				return 0, false // more than 64 bits
			}
			position = next
		}
	}
	return position, true
}

func digit62(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 36
	}
	return -1
}

// ValidID says whether id can be a record's id or a cursor of [Log.List].
func ValidID(id string) bool {
	_, ok := parseID(id)
	return ok
}

// CompareIDs orders ids, and cursors, as lists do: by time, then by text. The prefix does not count: gap records stand between
// requests.
func CompareIDs(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) }

func sortKey(id string) string { return id[min(prefixLen, len(id)):] }
