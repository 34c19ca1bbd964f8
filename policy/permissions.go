package policy

import (
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"
)

// Permissions is an immutable set of (resource, access). A nil *Permissions stands for "unrestricted" where a key may be
// that; an empty set is "none". A million keys are held in memory and most share a few sets, so equal sets are one object.
type Permissions struct {
	names  []string // sorted; never with AccessNone
	access []Access // of names[i]
}

// NewPermissions compiles a set. Entries with AccessNone are dropped, and so is what is no level (fail closed). It never
// returns nil: an empty or nil map is the set that permits nothing. Names are not checked; [Catalog.Has] does that.
func NewPermissions(m map[string]Access) *Permissions {
	names := make([]string, 0, len(m))
	for name, a := range m {
		if a == AccessRead || a == AccessWrite {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	access := make([]Access, len(names))
	// The intern key carries the length of each name: a plain concatenation would make different sets equal.
	var key []byte
	for i, name := range names {
		access[i] = m[name]
		key = binary.AppendUvarint(key, uint64(len(name)))
		key = append(key, name...)
		key = append(key, byte(access[i]))
	}
	return intern(string(key), &Permissions{names: names, access: access})
}

// interned holds the live sets by their canonical form. The pointers are weak, so a set lives as long as its last key.
var interned = struct {
	sync.Mutex
	sets map[string]weak.Pointer[Permissions]
}{sets: make(map[string]weak.Pointer[Permissions])}

// intern returns the living set of this form, or makes p it.
func intern(key string, p *Permissions) *Permissions {
	interned.Lock()
	defer interned.Unlock()
	if old := interned.sets[key].Value(); old != nil {
		return old
	}
	for i, name := range p.names {
		p.names[i] = strings.Clone(name) // a name may be a slice of a whole request body
	}
	interned.sets[key] = weak.Make(p)
	runtime.AddCleanup(p, forget, key)
	return p
}

// forget removes a dead set, unless another of the same form has taken its place meanwhile.
func forget(key string) {
	interned.Lock()
	defer interned.Unlock()
	if interned.sets[key].Value() == nil {
		delete(interned.sets, key)
	}
}

// Get is the access that the set gives on the resource: AccessWrite for every resource if the set is nil.
func (p *Permissions) Get(resource string) Access {
	if p == nil {
		return AccessWrite
	}
	if i, ok := slices.BinarySearch(p.names, resource); ok {
		return p.access[i]
	}
	return AccessNone
}

// Map is the set as a fresh map, without AccessNone. It is nil for a nil set.
func (p *Permissions) Map() map[string]Access {
	if p == nil {
		return nil
	}
	m := make(map[string]Access, len(p.names))
	for i, name := range p.names {
		m[name] = p.access[i]
	}
	return m
}

// Len is the number of resources on which the set gives anything. It is 0 for a nil set.
func (p *Permissions) Len() int {
	if p == nil {
		return 0
	}
	return len(p.names)
}

// Equal says whether both give the same. Nil ("unrestricted") equals only nil.
func (p *Permissions) Equal(o *Permissions) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p == o || slices.Equal(p.names, o.names) && slices.Equal(p.access, o.access)
}
