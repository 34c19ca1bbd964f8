package keystore

import (
	"github.com/keystile/keystile/policy"
)

// internLimit bounds what the interner remembers. Past it the memory starts again: what was handed out stays valid,
// only later equal values are not shared with it.
const internLimit = 1 << 17

// interner hands out one copy of equal values, so that a million keys with the same rights, owners and names do not hold
// a million copies. It belongs to the writer and to the load.
type interner struct {
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

func remember[V any](m map[string]V, key string, v V) V {
	if len(m) >= internLimit {
		clear(m)
	}
	m[key] = v
	return v
}

// text is the shared copy of s.
func (in *interner) text(s string) string {
	if s == "" {
		return ""
	}
	if shared, ok := in.texts[s]; ok {
		return shared
	}
	return remember(in.texts, s, s)
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
	return remember(in.permissions, string(encoded), p), nil
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
	return remember(in.lists, string(encoded), l), nil
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
	return remember(in.lists, string(encoded), l)
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
	return remember(in.networks, string(encoded), n), nil
}
