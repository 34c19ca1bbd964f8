package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A gateway's garbage is short-lived and its live heap small: collecting it four times less often than Go does by itself
// takes a good tenth off its CPU time. With many keys in memory the same factor would cost gigabytes, so that it falls as
// the live heap grows; the garbage that may lie about is gcHeadroom, or as much as there is of the live heap. More would not
// pay: keys that nobody asks for cost a collection next to nothing, and memory that is touched for the first time does.
const (
	gcMost     = 400
	gcLeast    = 100 // Go's default
	gcHeadroom = 1 << 28
	gcInterval = 5 * time.Second // between two looks at the live heap
)

// tuneGC sets the garbage collector's target for as long as the process runs, unless the operator has set it (GOGC). The
// memory limit is Caddy's business: it takes nine tenths of what the machine or its container has, unless GOMEMLIMIT is set.
func tuneGC() {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	target := gcMost
	debug.SetGCPercent(target)
	go func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for range time.Tick(gcInterval) {
			metrics.Read(live)
			if live[0].Value.Kind() != metrics.KindUint64 {
				return // a Go that counts in another way; what was set stays
			}
			if next := gcTarget(live[0].Value.Uint64()); next != target {
				target = next
				debug.SetGCPercent(target) // stops the world for a moment: only when it changes
			}
		}
	}()
}

// gcTarget is the target for a live heap, in steps of 50, so that it seldom changes.
func gcTarget(live uint64) int {
	if live == 0 {
		return gcMost
	}
	percent := uint64(gcHeadroom) * 100 / live
	return int(min(max(percent/50*50, gcLeast), gcMost))
}
