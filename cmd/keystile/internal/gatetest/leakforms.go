package gatetest

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// form is one spelling of a secret that gives it away as well as the secret itself does.
type form struct{ name, text string }

// formsOf are the spellings that a program gives a text on its way into an output: encoded whole or as a part of something
// longer, escaped, and turned around.
func formsOf(secret string) []form {
	raw := []byte(secret)
	upper := strings.ToUpper(hex.EncodeToString(raw))
	var percent, unicode strings.Builder
	for _, b := range raw {
		fmt.Fprintf(&percent, "%%%02X", b)
		fmt.Fprintf(&unicode, `\u%04x`, b)
	}
	turned := slices.Clone(raw)
	slices.Reverse(turned)
	forms := []form{
		{"as it is", secret},
		{"hex", hex.EncodeToString(raw)},
		{"hex", upper},
		{"percent", percent.String()},
		{"percent", strings.ToLower(percent.String())},
		{"JSON escapes", unicode.String()},
		{"turned around", string(turned)},
		{"base32", trimEnd(base32.StdEncoding.EncodeToString(raw), 8)},
	}
	// Where the secret begins in the text that is encoded decides how it looks; what is mixed with its neighbours is left out.
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			text := encoding.EncodeToString(append(make([]byte, shift), raw...))
			forms = append(forms, form{"base64", trimEnd(text, 4)[[3]int{0, 2, 3}[shift]:]})
		}
	}
	return slices.DeleteFunc(forms, func(f form) bool { return len(f.text) < 8 }) // would be found anywhere
}

// trimEnd is whole groups of an encoding without the last one, which depends on what follows.
func trimEnd(text string, group int) string { return text[:max(0, len(text)/group*group-group)] }
