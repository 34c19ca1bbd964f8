package keystore

// Field is one field of a patch: absent, null or a value.
type Field[T any] struct {
	Set   bool // present in the patch
	Null  bool // present and null; Value is then not looked at
	Value T
}

// To is a field that sets v.
func To[T any](v T) Field[T] { return Field[T]{Set: true, Value: v} }

// Null is a field that is present and null.
func Null[T any]() Field[T] { return Field[T]{Set: true, Null: true} }
