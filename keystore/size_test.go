package keystore

import (
	"testing"
	"unsafe"
)

// TestKeySize keeps small what there may be a million of.
func TestKeySize(t *testing.T) {
	t.Parallel()
	if got := unsafe.Sizeof(Key{}); got > 576 {
		t.Errorf("a key has %d bytes, want at most 576", got)
	}
	// What the base keeps of each key beside its record.
	if got := unsafe.Sizeof(baseRow{}); got > 32 {
		t.Errorf("a row of the base has %d bytes, want at most 32", got)
	}
	if got := unsafe.Sizeof(usageCell{}); got > 24 {
		t.Errorf("the cell of a key has %d bytes, want at most 24", got)
	}
}
