package main

import "testing"

// TestGCTarget: a small heap is collected seldom, a large one as Go does it by itself.
func TestGCTarget(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: 400, 4 << 20: 400, 64 << 20: 400, 80 << 20: 300, 128 << 20: 200, 200 << 20: 100, 2 << 30: 100, 1 << 40: 100,
	} {
		if got := gcTarget(live); got != want {
			t.Errorf("with %d MiB live the target is %d, want %d", live>>20, got, want)
		}
	}
}
