package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxBody bounds a request's body: 1 MiB.
const maxBody = 1 << 20

// maxDepth bounds the nesting of a body. The deepest that any call takes is four.
const maxDepth = 16

// readBody reads the whole body and checks what it claims to be. An empty one needs no Content-Type: a POST without
// fields is a plain `curl -X POST`.
func (c *call) readBody() ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, newError(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "", "the body is larger than %d bytes", maxBody)
		}
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, "", "the body could not be read to its end")
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
	v, err := parseValue(dec, "", 0)
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

func parseValue(dec *json.Decoder, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, newError(http.StatusBadRequest, codeBodyInvalid, path, "the body is nested deeper than %d levels", maxDepth)
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
			v, err := parseValue(dec, fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
			if err != nil {
				return nil, err
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
		at := join(path, name)
		if _, twice := object[name]; twice {
			return nil, newError(http.StatusBadRequest, codeBodyInvalid, at, "the name %s stands twice in the same object", shown(name))
		}
		v, err := parseValue(dec, at, depth+1)
		if err != nil {
			return nil, err
		}
		object[name] = v
	}
	_, err = dec.Token()
	return object, err
}

// join is the path of a field below path, cut so that a caller's junk does not come back whole.
func join(path, name string) string {
	name = shown(name)
	if path == "" {
		return name
	}
	return path + "." + name
}
