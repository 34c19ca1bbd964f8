package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/keystore"
)

// Optional is a field of a body with three states: absent, null, or a value. With the tag `json:",omitzero"` it encodes
// as it decodes, so that clients can build patches of it.
type Optional[T any] struct {
	Set   bool // present
	Null  bool // present and null; Value is then zero
	Value T
}

// Set makes an Optional with a value.
func Set[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: v} }

// SetNull makes an Optional that is present and null.
func SetNull[T any]() Optional[T] { return Optional[T]{Set: true, Null: true} }

// IsZero says whether the field is absent.
func (o Optional[T]) IsZero() bool { return !o.Set }

// MarshalJSON encodes the value, or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Set || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// UnmarshalJSON is called only for a field that is present.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	if bytes.Equal(data, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(data, &o.Value)
}

// Schema is the value's, or null.
func (Optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), false, "")
	switch {
	case s.OneOf != nil:
		s.OneOf = append([]*huma.Schema{}, s.OneOf...)
		// The enumeration is for the validator, which knows no type null and would let anything through.
		s.OneOf = append(s.OneOf, &huma.Schema{Type: "null", Enum: []any{nil}})
	default:
		s.Nullable = true
	}
	return &s
}

// field is the same for the store.
func field[T any](o Optional[T]) keystore.Field[T] {
	return keystore.Field[T]{Set: o.Set, Null: o.Null, Value: o.Value}
}

// mapped is the same for the store, where the store has another type.
func mapped[T, U any](o Optional[T], to func(T) U) keystore.Field[U] {
	f := keystore.Field[U]{Set: o.Set, Null: o.Null}
	if o.Set && !o.Null {
		f.Value = to(o.Value)
	}
	return f
}

// IPRanges is a list of IPv4 addresses and CIDR ranges. In requests it may also be one string with spaces or newlines
// between them.
type IPRanges []string

// UnmarshalJSON takes a list or one string. Never nil: an empty list is not "no restriction", and is refused later on.
func (p *IPRanges) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*p = append(IPRanges{}, strings.Fields(text)...)
		return nil
	}
	list := []string{}
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*p = list
	return nil
}

// Schema is a list of strings or one string.
func (IPRanges) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}, Description: "Addresses and CIDR ranges"},
		{Type: huma.TypeString, Description: "The same, separated by spaces or newlines"},
	}}
}

// Permissions is an access (none, read, write) for each resource. In requests an empty list stands for an empty object.
type Permissions map[string]string

// UnmarshalJSON takes an object or an empty list. Never nil: no permissions are not "unrestricted".
func (p *Permissions) UnmarshalJSON(data []byte) error {
	*p = Permissions{}
	if len(data) > 0 && data[0] == '[' {
		return nil // the schema lets only an empty one through
	}
	return json.Unmarshal(data, (*map[string]string)(p))
}

// Schema is an object of accesses or an empty list.
func (Permissions) Schema(huma.Registry) *huma.Schema {
	none := 0
	return &huma.Schema{OneOf: []*huma.Schema{
		permissionsSchema(),
		{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}, MaxItems: &none, Description: "An empty list: the same as an empty object, no permission at all"},
	}}
}

// permissionsSchema is the object alone, as answers have it.
func permissionsSchema() *huma.Schema {
	access := &huma.Schema{Type: huma.TypeString, Enum: []any{"none", "read", "write"}}
	access.PrecomputeMessages() // the library does not reach these
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: access, Description: "Access by resource; write includes read"}
}

// Token is a token in clear, as the few answers carry it that may. It encodes in JSON as it is, and prints as a mask
// everywhere else, so that a Key in a log line gives nothing away.
type Token string

// String hides the token. Use string(t) where it must be shown.
func (Token) String() string { return "[token]" }

// GoString hides the token.
func (Token) GoString() string { return "[token]" }

// LogValue hides the token.
func (Token) LogValue() slog.Value { return slog.StringValue("[token]") }

// stamp is a time as answers have it: UTC, at most milliseconds; nil for the zero time.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// some is s, nil if it is empty.
func some(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
