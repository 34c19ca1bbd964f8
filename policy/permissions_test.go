package policy

import (
	"fmt"
	"maps"
	"runtime"
	"sync"
	"testing"
)

func TestPermissions(t *testing.T) {
	t.Parallel()
	in := map[string]Access{"charges": AccessWrite, "customers": AccessRead, "refunds": AccessNone, "odd": 7}
	p := NewPermissions(in)
	in["charges"] = AccessNone // the set must not see it
	for resource, want := range map[string]Access{"charges": AccessWrite, "customers": AccessRead, "refunds": AccessNone, "odd": AccessNone, "other": AccessNone, "": AccessNone} {
		if got := p.Get(resource); got != want {
			t.Errorf("%s: got %v, want %v", resource, got, want)
		}
	}
	if got, want := p.Map(), map[string]Access{"charges": AccessWrite, "customers": AccessRead}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	p.Map()["refunds"] = AccessWrite
	if p.Get("refunds") != AccessNone || p.Len() != 2 {
		t.Error("the map that was given out changed the set")
	}

	var unrestricted *Permissions
	none := NewPermissions(nil)
	if unrestricted.Get("charges") != AccessWrite || unrestricted.Map() != nil || unrestricted.Len() != 0 {
		t.Error("nil must be unrestricted")
	}
	if none == nil || none.Get("charges") != AccessNone || none.Map() == nil || none.Len() != 0 {
		t.Error("a set of nothing must not be nil and permit nothing")
	}
	if unrestricted.Equal(none) || none.Equal(unrestricted) || !unrestricted.Equal(nil) || !none.Equal(NewPermissions(map[string]Access{"a": AccessNone})) || none.Equal(p) || !new(Permissions).Equal(none) {
		t.Error("Equal is wrong")
	}
}

func TestPermissionsAreShared(t *testing.T) {
	t.Parallel()
	a := NewPermissions(map[string]Access{"shared_a": AccessRead, "shared_b": AccessWrite})
	b := NewPermissions(map[string]Access{"shared_b": AccessWrite, "shared_a": AccessRead, "shared_c": AccessNone})
	if a != b {
		t.Error("equal sets must be one object")
	}
	// Names that run together must not make different sets equal.
	for _, other := range []map[string]Access{
		{"shared_a": AccessWrite, "shared_b": AccessRead},
		{"shared_a\x01shared_b": AccessWrite},
		{"shared_ashared_b": AccessWrite},
	} {
		if NewPermissions(other) == a {
			t.Errorf("%q must be another set", other)
		}
	}
	runtime.KeepAlive(a)
}

func TestPermissionsAreForgotten(t *testing.T) {
	count := func() int {
		interned.Lock()
		defer interned.Unlock()
		return len(interned.sets)
	}
	before := count()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if NewPermissions(map[string]Access{fmt.Sprintf("forgotten_%d", i): AccessRead}).Get(fmt.Sprintf("forgotten_%d", i)) != AccessRead {
					t.Errorf("goroutine %d: set %d is wrong", g, i)
				}
			}
		})
	}
	wg.Wait()
	// Cleanups run some time after a collection: collect until they have, or the test's own deadline ends it.
	for count() > before+50 {
		runtime.GC()
		runtime.Gosched()
	}
}
