package keystore

import (
	"testing"
	"unsafe"
)

// TestKeySize keeps the struct in its size class: a million of them live in memory, and the next class would cost 64 MB more.
func TestKeySize(t *testing.T) {
	t.Parallel()
	if got := unsafe.Sizeof(Key{}); got > 576 {
		t.Errorf("a key has %d bytes, want at most 576", got)
	}
}
