package caddymodule

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answerVia names what brought the answer.
const answerVia = "1.1 Caddy"

// answerBuffers lends room for the pieces of an answer's body.
var answerBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// answer hands the backend's answer to the client, and says whether it came whole. An answer that breaks off breaks off for
// the client too: it must not look like a whole one.
func (t *shortTrip) answer(res *http.Response) (whole bool) {
	w := &t.x.response
	incremental := caddyhttp.IsIncremental(res.Header)
	announced := len(res.Trailer)
	t.answerHeader(w.Header(), res)
	w.WriteHeader(res.StatusCode)
	flush := t.way.flush || incremental || res.ContentLength < 0 || eventStream(res.Header)
	if err := t.answerBody(w, res, flush); err != nil {
		_ = w.FlushError()
		panic(http.ErrAbortHandler)
	}
	if len(res.Trailer) > 0 {
		answerTrailer(w, res, announced)
	}
	return true
}

// answerHeader adds the backend's headers to those that are set already. The backend's Server replaces the gateway's, which
// stands in Via.
func (t *shortTrip) answerHeader(h http.Header, res *http.Response) {
	delete(h, "Server")
	if ops := t.way.responseOps; ops != nil {
		stripHops(res.Header)
		if repl, ok := t.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			ops.ApplyTo(res.Header, repl)
		}
	}
	if before := h["Via"]; before != nil {
		h["Via"] = append(before, answerVia)
	} else {
		h["Via"] = t.x.values.one(answerVia)
	}
	addHeaders(h, res.Header)
	if len(res.Trailer) > 0 {
		names := make([]string, 0, len(res.Trailer))
		for name := range res.Trailer {
			names = append(names, name)
		}
		h.Add("Trailer", strings.Join(names, ", "))
	}
}

// addHeaders moves headers over, without those that are about the backend's connection. What a Connection header names is
// about the connection too.
func addHeaders(to, from http.Header) {
	for _, line := range from["Connection"] {
		if !strings.EqualFold(line, "keep-alive") && !strings.EqualFold(line, "close") {
			stripHops(from)
			break
		}
	}
	for name, values := range from {
		if hop(name) {
			continue
		}
		if before := to[name]; before != nil {
			values = append(before, values...)
		}
		to[name] = values
	}
}

// hop says whether a header of an answer is about the connection.
func hop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Alt-Svc":
		return true
	}
	return false
}

// stripHops removes those headers, and what the Connection header names.
func stripHops(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	maps.DeleteFunc(h, func(name string, _ []string) bool { return hop(name) })
}

// inform hands a 1xx answer on. Its headers are its own: those of the final answer stay as they are.
func (t *shortTrip) inform(res *http.Response) {
	h := t.x.response.Header()
	own := h.Clone()
	addHeaders(h, res.Header)
	t.x.response.WriteHeader(res.StatusCode)
	clear(h)
	maps.Copy(h, own)
}

// answerBody copies the body piece by piece: between two pieces a revocation is seen.
func (t *shortTrip) answerBody(w *responseWriter, res *http.Response, flush bool) error {
	if res.Body == http.NoBody {
		return nil
	}
	if flush && t.conn.br.Buffered() == 0 { // else the first piece takes the head along
		if err := w.FlushError(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	buf := answerBuffers.Get().(*[32 << 10]byte)
	defer answerBuffers.Put(buf)
	for {
		n, err := res.Body.Read(buf[:])
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return werr
			}
			if flush && err == nil { // the server sends the end by itself
				if ferr := w.FlushError(); ferr != nil && !errors.Is(ferr, http.ErrNotSupported) {
					return ferr
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// answerTrailer sets what came after the body, announced or not. The flush keeps the server from giving a short answer a
// length, with which there are no trailers.
func answerTrailer(w *responseWriter, res *http.Response, announced int) {
	_ = w.FlushError()
	for name, values := range res.Trailer {
		if len(res.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		for _, value := range values {
			w.Header().Add(name, value)
		}
	}
}

// eventStream says whether an answer is one of server-sent events.
func eventStream(h http.Header) bool {
	kinds := h["Content-Type"]
	if len(kinds) == 0 || len(kinds[0]) < len("text/event-stream") {
		return false
	}
	kind, _, err := mime.ParseMediaType(kinds[0])
	return err == nil && kind == "text/event-stream"
}
