package requestlog

import (
	"bytes"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// bodyForm is how a body is redacted.
type bodyForm uint8

const (
	formOther bodyForm = iota // not kept, only its size
	formJSON
	formJSONLines // several values behind one another
	formPairs     // application/x-www-form-urlencoded
	formText
)

// formOf tells the form by the media type. Only what can be read is kept, and of that only what can be redacted: XML and
// multipart bodies have fields that are not known here, streams of events never end.
func formOf(media string) bodyForm {
	kind, params, err := mime.ParseMediaType(media)
	if err != nil {
		return formOther
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
	default:
		return formOther
	}
	switch {
	case IsJSON(kind):
		return formJSON
	case kind == "application/x-ndjson", kind == "application/ndjson", kind == "application/jsonl", kind == "application/x-jsonlines":
		return formJSONLines
	case kind == "application/x-www-form-urlencoded":
		return formPairs
	case kind == "text/plain", kind == "text/html", kind == "text/markdown", kind == "text/csv":
		return formText
	default:
		return formOther
	}
}

// IsJSON says whether a media type, in lower case and without parameters, is JSON.
func IsJSON(kind string) bool {
	return kind == "application/json" || kind == "text/json" ||
		strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// render turns what was captured into the texts of the record. It runs in the log's writer. What makes it panic is not kept.
func (c *Capture) render(r *Record) {
	defer func() {
		if recover() != nil {
			for _, s := range r.capturedTexts() {
				*s = notePanic
			}
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	r.RequestHeaders, r.ResponseHeaders = c.headersText(&c.request), c.headersText(&c.response)
	r.RequestBody, r.ResponseBody = c.bodyText(&c.request.body), c.bodyText(&c.response.body)
	c.secret = ""
	for _, m := range []*capturedMessage{&c.request, &c.response} {
		m.headers, m.body.text = nil, nil // the texts have taken their place in the budget
	}
}

// release gives back what the capture held, once its record is stored or given up.
func (c *Capture) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.letGo()
}

// addressHeaders hold addresses, whose query values are not kept.
var addressHeaders = map[string]bool{"Referer": true, "Location": true, "Content-Location": true}

// headersText is the headers as a JSON object, by name.
func (c *Capture) headersText(m *capturedMessage) string {
	switch {
	case !m.asked:
		return ""
	case c.gone:
		return noteNoRoom
	}
	slices.SortFunc(m.headers, func(a, b capturedHeader) int { return strings.Compare(a.name, b.name) })
	out := []byte{'{'}
	for _, h := range m.headers {
		out = appendMember(out, c.scrub(h.name), c.headerValue(h))
	}
	if m.more > 0 {
		out = appendMember(out, "…", strconv.Itoa(m.more)+" more")
	}
	return string(append(out, '}'))
}

func appendMember(out []byte, name, value string) []byte {
	if len(out) > 1 {
		out = append(out, ',')
	}
	out = appendJSONString(out, name)
	return appendJSONString(append(out, ':'), value)
}

func (c *Capture) headerValue(h capturedHeader) string {
	switch {
	case addressHeaders[h.name]:
		return c.scrub(RedactTarget(h.value))
	case isCredential(h.value):
		return redactedValue
	default:
		return c.scrub(h.value)
	}
}

// isCredential says whether a value is a credential of HTTP, whatever the header is called.
func isCredential(value string) bool {
	scheme, _, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok {
		return false
	}
	switch strings.ToLower(scheme) {
	case "bearer", "basic", "digest", "token", "apikey", "negotiate", "hmac", "dpop":
		return true
	}
	return false
}

// scrub masks tokens, the values of sensitive names that stand in a text as name=value or name: value, and the credential
// that the request presented.
func (c *Capture) scrub(s string) string {
	s = c.rules.hideNamed(ScrubTokens(s))
	if c.secret != "" && strings.Contains(s, c.secret) {
		s = strings.ReplaceAll(s, c.secret, redactedValue) // of an imported key, which may have any spelling
	}
	return s
}

// bodyText is what is kept of a body.
func (c *Capture) bodyText(b *capturedBody) string {
	switch {
	case !b.asked || b.size == 0:
		return ""
	case b.form == formOther:
		if b.media == "" {
			return noteSize(b.size, "of no declared type")
		}
		return noteSize(b.size, "of "+c.scrub(b.media))
	case c.gone:
		return noteNoRoom
	}
	text, more, ok := Unpack(b.coding, b.text, b.limit)
	if !ok {
		return noteSize(b.size, "in the coding "+c.scrub(b.coding))
	}
	kept, ok := c.redactBody(b.form, bytes.TrimPrefix(text, []byte("\ufeff")), b.limit, b.cut || more)
	if !ok {
		return noteSize(b.size, "that are not the "+c.scrub(b.media)+" that they are declared to be")
	}
	return kept
}

func (c *Capture) redactBody(form bodyForm, text []byte, limit int, cut bool) (string, bool) {
	var out []byte
	switch form {
	case formJSON, formJSONLines:
		var ok bool
		if out, cut, ok = c.redactJSON(text, limit, cut, form == formJSONLines); !ok {
			return "", false
		}
	case formPairs:
		out = c.redactPairs(string(text), cut)
	default:
		var ok bool
		if out, cut, ok = c.redactText(text, limit, cut); !ok {
			return "", false
		}
	}
	if cut || len(out) > limit {
		return cutAt(string(out), limit) + cutMark, true
	}
	return string(out), true
}

// redactText redacts plain text. JSON and forms that are declared as text have their fields nevertheless.
func (c *Capture) redactText(text []byte, limit int, cut bool) (out []byte, isCut, ok bool) {
	trimmed := strings.TrimSpace(string(text))
	if trimmed != "" && (trimmed[0] == '{' || trimmed[0] == '[') {
		if out, isCut, ok = c.redactJSON(text, limit, cut, true); ok || startsLikeJSON(trimmed) {
			return out, isCut, ok
		}
	}
	if strings.Contains(trimmed, "=") && !strings.ContainsAny(trimmed, " \n\t<") {
		return c.redactPairs(trimmed, cut), cut, true
	}
	kept := string(text)
	if cut {
		kept = c.withoutHalf(kept)
	}
	return []byte(c.scrub(kept)), cut, true
}

// withoutHalf cuts off the beginning of the presented credential, if a text ends with it.
func (c *Capture) withoutHalf(s string) string {
	for n := min(len(c.secret)-1, len(s)); n > 0; n-- {
		if strings.HasSuffix(s, c.secret[:n]) {
			return s[:len(s)-n]
		}
	}
	return s
}

// redactPairs redacts a form: names by name, values that hold JSON as JSON. What does not look like the name of a field
// may be anything, JSON under the wrong type for example, and is not kept.
func (c *Capture) redactPairs(text string, cut bool) []byte {
	var out []byte
	for text != "" {
		pair, rest, more := strings.Cut(text, "&")
		if !more && cut {
			break // it may be the half of a pair
		}
		text = rest
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = c.redactPair(out, pair)
	}
	return out
}

const maxFieldName = 128

func (c *Capture) redactPair(out []byte, pair string) []byte {
	raw, rawValue, hasValue := strings.Cut(pair, "=")
	if pair == "" {
		return out
	}
	name, err := url.QueryUnescape(raw)
	if err != nil || !isFieldName(name) || !hasValue && !isName(raw, maxBareKey) || LooksLikeToken(name) {
		return append(out, redactedValue...)
	}
	out = append(out, raw...)
	if !hasValue {
		return out
	}
	out = append(out, '=')
	value, err := url.QueryUnescape(rawValue)
	if err != nil || c.sensitive(name, "", isCard(name), value) {
		return append(out, redactedValue...)
	}
	kept := c.redactString(value, 0)
	if kept == value {
		return append(out, rawValue...)
	}
	return append(out, strings.ReplaceAll(url.QueryEscape(kept), "%2A", "*")...)
}

func isFieldName(name string) bool {
	if name == "" || len(name) > maxFieldName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9':
		case c == '_' || c == '-' || c == '.' || c == '[' || c == ']' || c == ':' || c == '$':
		default:
			return false
		}
	}
	return true
}

// sensitive says whether the value of a field is not kept. card says that the field is of a payment card.
func (c *Capture) sensitive(name, number string, card bool, value string) bool {
	if c.rules.SensitiveField(name) {
		return true
	}
	return isNumber(name) && (card || isLongNumber(value) || isLongNumber(number))
}
