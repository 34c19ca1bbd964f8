package requestlog

import "strings"

// CaptureRules say what of captured headers and bodies is never kept, beyond what looks like a token: the values of
// sensitive headers, and those of sensitive fields of JSON and forms. They are made once and do not change.
type CaptureRules struct {
	headers map[string]bool // folded
	fields  map[string]bool // folded
}

// NewCaptureRules makes the rules of one site: the names that are always sensitive, and these. How a name is spelled (case,
// and what joins its words) does not matter.
func NewCaptureRules(headers, fields []string) *CaptureRules {
	r := &CaptureRules{headers: make(map[string]bool, len(headers)), fields: make(map[string]bool, len(fields))}
	for _, name := range headers {
		r.headers[foldWords(name)] = true
	}
	for _, name := range fields {
		r.fields[foldWords(name)] = true
	}
	return r
}

// sensitiveParts make a name sensitive wherever they stand in it. Better a harmless value too few than a password too many.
var sensitiveParts = []string{
	"password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "privatekey", "accesskey", "signingkey",
	"credential", "cardnumber", "accountnumber", "routingnumber", "socialsecurity", "securitycode", "verificationcode",
	"authorization", "assertion", "cookie",
}

// sensitiveFields are sensitive as they are.
var sensitiveFields = map[string]bool{
	"pwd": true, "pass": true, "pin": true, "otp": true, "totp": true, "pan": true, "cvc": true, "cvv": true, "cvv2": true, "csc": true,
	"ssn": true, "iban": true, "jwt": true, "auth": true, "session": true, "sessionid": true, "sessionkey": true,
}

// sensitiveHeaderParts are what only headers have.
var sensitiveHeaderParts = []string{"authentication", "signature", "session", "jwt", "xauth", "websocketprotocol"}

// SensitiveHeader says whether the values of a header are never kept.
func (r *CaptureRules) SensitiveHeader(name string) bool {
	folded := foldWords(name)
	return r.headers[folded] || sensitiveFields[folded] || containsAny(folded, sensitiveParts) || containsAny(folded, sensitiveHeaderParts)
}

// SensitiveField says whether the values of a field of JSON, or of a form or query parameter, are never kept.
func (r *CaptureRules) SensitiveField(name string) bool {
	for _, segment := range segments(name) {
		if folded := foldWords(segment); r.fields[folded] || r.headers[folded] || sensitiveFields[folded] || containsAny(folded, sensitiveParts) {
			return true
		}
	}
	folded := foldWords(name)
	return r.fields[folded] || r.headers[folded] || containsAny(folded, sensitiveParts)
}

// segments are the parts of a nested name: card[number], card.number.
func segments(name string) []string {
	return strings.FieldsFunc(name, func(c rune) bool { return c == '[' || c == ']' || c == '.' })
}

// isCard says whether a field holds a payment card, whose number is called no more than that.
func isCard(name string) bool { return strings.Contains(foldWords(name), "card") }

// isNumber says whether a field is called a number and nothing else.
func isNumber(name string) bool {
	parts := segments(name)
	return len(parts) > 0 && foldWords(parts[len(parts)-1]) == "number"
}

// isLongNumber says whether a value is as long as card and account numbers are, and made as they are.
func isLongNumber(value string) bool {
	digits := 0
	for i := range len(value) {
		switch c := value[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == ' ' || c == '-':
		default:
			return false
		}
	}
	return digits >= 8
}

// foldWords is the name in lower case without what joins words.
func foldWords(name string) string {
	plain := true
	for i := range len(name) {
		if c := name[i]; c < '0' || c > '9' && c < 'a' || c > 'z' {
			plain = false
			break
		}
	}
	if plain {
		return name
	}
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case c == '_' || c == '-' || c == '.' || c == ' ' || c == '[' || c == ']' || c == ':':
		case c < ' ' || c == 0x7f || c >= 0x200b && c <= 0x200f || c == 0xfeff || c == 0xad: // what nobody sees
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}
