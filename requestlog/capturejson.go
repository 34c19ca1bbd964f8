package requestlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// maxNested is how deep JSON within strings of JSON is looked into.
const maxNested = 3

// jsonRedactor writes the tokens of a JSON text anew, without what is not kept. The text is never copied: what the tokenizer
// has not understood does not come out.
type jsonRedactor struct {
	capture *Capture
	depth   int // of JSON within strings
	dec     *json.Decoder
	out     []byte
	stack   []jsonFrame
	values  int // whole ones at the top
}

type jsonFrame struct {
	object bool
	filled bool   // it has a member already
	name   string // of the member whose value comes next; object only
	named  bool
	card   bool // it belongs to a payment card
	secret bool // it names a sensitive field, whose value comes next: {"name":"password","value":…}
}

// redactJSON redacts a JSON text, or its beginning if cut is true. many allows several values behind one another. ok is false
// for what is no JSON. The answer's cut says that out does not hold the whole text.
func (c *Capture) redactJSON(text []byte, most int, cut, many bool) (out []byte, isCut, ok bool) {
	return c.redactNested(text, most, cut, many, 0)
}

func (c *Capture) redactNested(text []byte, most int, cut, many bool, depth int) (out []byte, isCut, ok bool) {
	r := &jsonRedactor{capture: c, depth: depth, dec: json.NewDecoder(bytes.NewReader(text))}
	r.dec.UseNumber()
	for {
		token, err := r.dec.Token()
		if err != nil {
			ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			whole := errors.Is(err, io.EOF) && len(r.stack) == 0 && r.values > 0
			return r.out, cut, ended && (whole || cut)
		}
		if len(r.stack) == 0 && r.values > 0 {
			if !many {
				return nil, cut, false
			}
			if _, closing := token.(json.Delim); !closing || token == json.Delim('{') || token == json.Delim('[') {
				r.out = append(r.out, '\n')
			}
		}
		if !r.token(token) {
			return r.out, true, cut // the text ends within something that is not kept
		}
		if len(r.out) > most {
			return r.out, true, true
		}
	}
}

// token writes one token. false: the text ended.
func (r *jsonRedactor) token(token json.Token) bool {
	if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
		r.out = append(r.out, byte(delim))
		r.stack = r.stack[:len(r.stack)-1]
		r.ended()
		return true
	}
	top := r.top()
	if top != nil && top.object && !top.named {
		name, _ := token.(string)
		r.separate(top)
		top.name, top.named = name, true
		r.out = appendJSONString(r.out, r.capture.scrub(cutText(name, maxFieldName)))
		r.out = append(r.out, ':')
		return true
	}
	if top != nil && !top.object {
		r.separate(top)
	}
	if r.hides(token) {
		r.out = append(r.out, `"`+redactedValue+`"`...)
		if _, opens := token.(json.Delim); opens && !r.skip() {
			return false
		}
		r.ended()
		return true
	}
	switch v := token.(type) {
	case json.Delim:
		r.out = append(r.out, byte(v))
		r.stack = append(r.stack, jsonFrame{object: v == '{', card: top != nil && (top.card || isCard(top.name)), name: inherited(top, v)})
		return true
	case string:
		if top != nil && (top.name == "name" || top.name == "key") && (r.capture.rules.SensitiveField(v) || r.capture.rules.SensitiveHeader(v)) {
			top.secret = true
		}
		r.out = appendJSONString(r.out, r.capture.redactString(v, r.depth))
	case json.Number:
		r.out = append(r.out, v...)
	case bool:
		if v {
			r.out = append(r.out, "true"...)
		} else {
			r.out = append(r.out, "false"...)
		}
	case nil:
		r.out = append(r.out, "null"...)
	}
	r.ended()
	return true
}

// inherited is the name that the elements of an array go by: that of the array.
func inherited(parent *jsonFrame, opening json.Delim) string {
	if parent == nil || opening == '{' {
		return ""
	}
	return parent.name
}

func (r *jsonRedactor) top() *jsonFrame {
	if len(r.stack) == 0 {
		return nil
	}
	return &r.stack[len(r.stack)-1]
}

// separate writes the comma in front of a further member.
func (r *jsonRedactor) separate(f *jsonFrame) {
	if f.filled {
		r.out = append(r.out, ',')
	}
	f.filled = true
}

// ended notes that a value is whole.
func (r *jsonRedactor) ended() {
	top := r.top()
	switch {
	case top == nil:
		r.values++
	case top.object:
		top.name, top.named = "", false
	}
}

// hides says whether the value that begins with the token is not kept.
func (r *jsonRedactor) hides(token json.Token) bool {
	top := r.top()
	if top == nil || top.name == "" {
		return false
	}
	text, number := "", ""
	switch v := token.(type) {
	case string:
		text = v
	case json.Number:
		number = v.String()
	case nil, bool:
		return false // tells nothing
	}
	return top.secret && top.name == "value" || r.capture.sensitive(top.name, number, top.card, text)
}

// skip passes over an object or array whose opening was read. false: the text ended within it.
func (r *jsonRedactor) skip() bool {
	for open := 1; open > 0; {
		token, err := r.dec.Token()
		if err != nil {
			return false
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
	return true
}

// redactString is what is kept of a text. JSON in it is redacted too, and what only begins like JSON is not kept.
func (c *Capture) redactString(s string, depth int) string {
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return c.scrub(s)
	}
	if depth < maxNested {
		out, _, ok := c.redactNested([]byte(trimmed), 2*len(trimmed)+firstBuffer, false, true, depth+1)
		if ok {
			return string(out)
		}
	}
	if depth >= maxNested || startsLikeJSON(trimmed) {
		return redactedValue
	}
	return c.scrub(s)
}

// startsLikeJSON says whether a text begins as an object with members does, or as an array of objects, arrays or texts.
func startsLikeJSON(s string) bool {
	if s == "" || s[0] != '{' && s[0] != '[' {
		return false
	}
	inner := strings.TrimLeft(s[1:], " \t\r\n")
	if inner == "" {
		return false
	}
	if s[0] == '{' {
		return inner[0] == '"'
	}
	return inner[0] == '{' || inner[0] == '[' || inner[0] == '"'
}

// appendJSONString writes s as a JSON string. Control characters and what could turn or hide text are escaped, so that
// the text need not be cleaned again.
func appendJSONString(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', byte(c))
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c == utf8.RuneError && size == 1:
			out = append(out, `\ufffd`...)
		case c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || isHidden(c):
			out = append(out, '\\', 'u', hex[c>>12&15], hex[c>>8&15], hex[c>>4&15], hex[c&15])
		default:
			out = append(out, s[i:i+size]...)
		}
		i += size
	}
	return append(out, '"')
}
