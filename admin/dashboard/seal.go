package dashboard

import "encoding/base64"

// encode and decode are for sealed bytes in a field of a form.
func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }
