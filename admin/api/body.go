package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keystile/keystile/admin/auth"
)

// maxBody bounds a request's body: 1 MiB.
const maxBody = 1 << 20

// maxDepth bounds the nesting of a body. The deepest that any call takes is four.
const maxDepth = 16

// maxValues bounds how many values a body has. An import of a mebibyte has some 50,000; a mebibyte of zeros had half a million.
const maxValues = 100_000

// readBody reads the whole body and checks what it claims to be. An empty one needs no Content-Type: a POST without
// fields is a plain `curl -X POST`. Who is nobody yet is let send little of it, and not for long: see [Arrival].
func (c *call) readBody() ([]byte, error) {
	most := int64(maxBody)
	body := Receive(c.w, c.r)
	if c.caller == nil {
		most = MaxStrangersBody
	} else {
		body.Known()
	}
	defer body.Leave()
	data, err := io.ReadAll(http.MaxBytesReader(c.w, body, most))
	if err != nil {
		return nil, c.refused(bodyFault(err))
	}
	if c.caller != nil && !c.caller.Still() {
		// The body may have come slowly: what begins after the end of the credential is refused.
		return nil, newError(http.StatusUnauthorized, codeUnauthenticated, "", "the credential of this call is not good any more")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	if err := c.checkContentType(); err != nil {
		return nil, err
	}
	return data, nil
}

// bodyFault is the answer to a body that could not be read to its end.
func bodyFault(err error) error {
	var tooLarge *http.MaxBytesError
	var refusal *auth.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &tooLarge) && tooLarge.Limit == MaxStrangersBody:
		return newError(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "", "the body is larger than %d bytes: a call by nobody who is known takes no more", MaxStrangersBody)
	case errors.As(err, &tooLarge):
		return newError(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "", "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newError(http.StatusBadRequest, codeBodyInvalid, "", "the body did not come in time: a call by nobody who is known has %d seconds for it, any other %d and a second more for each %d bytes",
			strangersTime/time.Second, knownTime/time.Second, knownPace)
	}
	return newError(http.StatusBadRequest, codeBodyInvalid, "", "the body could not be read to its end")
}

// checkContentType takes application/json and nothing else. That is also what keeps simple cross-site forms out: they
// cannot send this type without asking first.
func (c *call) checkContentType() error {
	if coding := c.r.Header.Values("Content-Encoding"); len(coding) > 1 || len(coding) == 1 && !strings.EqualFold(coding[0], "identity") {
		return newError(http.StatusUnsupportedMediaType, codeContentType, "Content-Encoding", "compressed bodies are not taken: send the JSON as it is")
	}
	lines := c.r.Header.Values("Content-Type")
	if len(lines) == 1 {
		media, params, err := mime.ParseMediaType(lines[0])
		charset, has := params["charset"]
		if err == nil && media == "application/json" && (!has || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return newError(http.StatusUnsupportedMediaType, codeContentType, "Content-Type",
		"a body must be JSON and say so: Content-Type: application/json (with curl: -H 'Content-Type: application/json')")
}

// parseJSON reads one JSON object strictly: valid UTF-8, no duplicate names, nothing after it. Two parsers that take
// different ones of two equal names are how a check is passed with one value and the change made with the other.
func parseJSON(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, "", "the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	left := maxValues
	v, err := parseValue(dec, &left, 0)
	if err != nil {
		return nil, bodyError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, "", "there is more after the end of the JSON object")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, "", "the body must be a JSON object: {…}")
	}
	return object, nil
}

// bodyError is a 400 for what the JSON decoder said. Its text names a byte at most, never a value.
func bodyError(err error) error {
	var own *Error
	if errors.As(err, &own) {
		own.Param = strings.TrimPrefix(own.Param, ".")
		return own
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return newError(http.StatusBadRequest, codeBodyInvalid, "", "the body is not valid JSON: %s (byte %d)", syntax.Error(), syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return newError(http.StatusBadRequest, codeBodyInvalid, "", "the body is not valid JSON: it ends too early")
	}
	return newError(http.StatusBadRequest, codeBodyInvalid, "", "the body is not valid JSON")
}

// parseValue reads one value of at most left more. Where a fault is, its error says: each value around it adds its own part
// of the path on the way out, so that a body without a fault costs no path.
func parseValue(dec *json.Decoder, left *int, depth int) (any, error) {
	if depth > maxDepth {
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, "", "the body is nested deeper than %d levels", maxDepth)
	}
	if *left--; *left < 0 {
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, "", "the body has more than %d values", maxValues)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec, left, depth+1)
			if err != nil {
				return nil, below(err, "["+strconv.Itoa(len(list))+"]")
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // the decoder lets nothing else stand here
		if _, twice := object[name]; twice {
			return nil, newError(http.StatusBadRequest, codeBodyInvalid, "."+shown(name), "the name %s stands twice in the same object", shown(name))
		}
		v, err := parseValue(dec, left, depth+1)
		if err != nil {
			return nil, below(err, "."+shown(name))
		}
		object[name] = v
	}
	_, err = dec.Token()
	return object, err
}

// below puts a part of a path before that of an error of ours.
func below(err error, part string) error {
	var own *Error
	if errors.As(err, &own) {
		own.Param = part + own.Param
	}
	return err
}

// join is the path of a field below path, cut so that a caller's junk does not come back whole.
func join(path, name string) string {
	name = shown(name)
	if path == "" {
		return name
	}
	return path + "." + name
}
