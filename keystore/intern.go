package keystore

import (
	"maps"

	"github.com/keystile/keystile/policy"
)

// internLimit bounds what the interner remembers. Past it the memory starts again: what was handed out stays valid,
// only later equal values are not shared with it.
const internLimit = 1 << 17

// interner hands out one copy of equal values, so that a million keys with the same rights, owners and names do not hold
// a million copies. It belongs to the writer and to the load. One that is fixed remembers nothing more: any number of
// goroutines may use it.
type interner struct {
	fixed       bool
	texts       map[string]string
	permissions map[string]*policy.Permissions
	lists       map[string][]string
	networks    map[string]*policy.Networks
}

func newInterner() *interner {
	return &interner{
		texts:       make(map[string]string),
		permissions: make(map[string]*policy.Permissions),
		lists:       make(map[string][]string),
		networks:    make(map[string]*policy.Networks),
	}
}

func remember[V any](in *interner, m map[string]V, key string, v V) V {
	if in.fixed {
		return v
	}
	if len(m) >= internLimit {
		clear(m)
	}
	m[key] = v
	return v
}

// text is the shared copy of s.
func (in *interner) text(s string) string {
	if s == "" || in.fixed {
		return s
	}
	if shared, ok := in.texts[s]; ok {
		return shared
	}
	return remember(in, in.texts, s, s)
}

// fix gives what knows the same compiled sets and learns no others. Texts are not among them: to look one up costs as much
// as a copy.
func (in *interner) fix() *interner {
	return &interner{fixed: true, permissions: in.permissions, lists: in.lists, networks: in.networks}
}

// clone is an interner that starts with the same compiled sets.
func (in *interner) clone() *interner {
	return &interner{
		texts: make(map[string]string), permissions: maps.Clone(in.permissions), lists: maps.Clone(in.lists), networks: maps.Clone(in.networks),
	}
}

// merge takes over what another has compiled.
func (in *interner) merge(other *interner) {
	for key, p := range other.permissions {
		remember(in, in.permissions, key, p)
	}
	for key, l := range other.lists {
		remember(in, in.lists, key, l)
	}
	for key, n := range other.networks {
		remember(in, in.networks, key, n)
	}
}

// learn takes over the sets of a key.
func (in *interner) learn(k *Key) {
	for _, p := range [...]*policy.Permissions{k.Principal.Permissions, k.Principal.ConnectedPermissions} {
		if p == nil {
			continue
		}
		if encoded := appendPermissions(nil, p); in.permissions[string(encoded)] == nil {
			remember(in, in.permissions, string(encoded), p)
		}
	}
	in.shareList(k.IPRanges)
	in.shareList(k.AllowedOrigins)
	_, _ = in.network(k.IPRanges) // it was compiled before
}

// bytes is the shared string of b.
func (in *interner) bytes(b []byte) string {
	if shared, ok := in.texts[string(b)]; ok {
		return shared
	}
	return in.text(string(b))
}

// permissionSet is the set of an encoding (see appendPermissions). Policy shares equal sets already; this only saves
// taking the same encoding apart a million times.
func (in *interner) permissionSet(encoded []byte) (*policy.Permissions, error) {
	if p, ok := in.permissions[string(encoded)]; ok {
		return p, nil
	}
	p, err := decodePermissions(encoded)
	if err != nil {
		return nil, err
	}
	return remember(in, in.permissions, string(encoded), p), nil
}

// list is the shared copy of an encoded list of strings.
func (in *interner) list(encoded []byte) ([]string, error) {
	if l, ok := in.lists[string(encoded)]; ok {
		return l, nil
	}
	l, err := decodeStrings(encoded, in.text)
	if err != nil {
		return nil, err
	}
	return remember(in, in.lists, string(encoded), l), nil
}

// shareList is the shared copy of l. Nil stays nil.
func (in *interner) shareList(l []string) []string {
	if l == nil {
		return nil
	}
	var encoded []byte
	for _, s := range l {
		encoded = appendString(encoded, s)
	}
	if shared, ok := in.lists[string(encoded)]; ok {
		return shared
	}
	return remember(in, in.lists, string(encoded), l)
}

// network is the compiled form of a list of canonical IP ranges; nil for nil.
func (in *interner) network(ranges []string) (*policy.Networks, error) {
	if ranges == nil {
		return nil, nil
	}
	var encoded []byte
	for _, s := range ranges {
		encoded = appendString(encoded, s)
	}
	if n, ok := in.networks[string(encoded)]; ok {
		return n, nil
	}
	// What is stored was accepted once; whether IPv6 is accepted now does not matter.
	n, err := policy.ParseNetworks(ranges, true)
	if err != nil {
		return nil, err
	}
	return remember(in, in.networks, string(encoded), n), nil
}
