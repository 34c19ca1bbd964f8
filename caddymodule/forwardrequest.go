package caddymodule

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// write sends the request line, the headers and the body.
func (t *shortTrip) write() error {
	r := t.request
	if ops := t.way.requestOps; ops != nil {
		// The operator's changes come last and may name anything, so they are made on a copy.
		out := *r
		out.Header = r.Header.Clone()
		for _, name := range [...]string{"Te", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
			delete(out.Header, name)
		}
		_ = t.forwarded(func(name, value string) error {
			out.Header[name] = []string{value}
			return nil
		})
		ops.ApplyToRequest(&out)
		r = &out
	}
	bw := t.conn.bw
	target := r.URL.RequestURI()
	host := r.Host
	if host == "" {
		host = t.backend.address
	}
	if !plainTarget(target) || !httpguts.ValidHostHeader(host) || !validMethod(r.Method) {
		return fmt.Errorf("%w: request line", errBadHead)
	}
	if r.Method == "" {
		bw.WriteString(http.MethodGet)
	} else {
		bw.WriteString(r.Method)
	}
	bw.WriteByte(' ')
	bw.WriteString(target)
	bw.WriteString(" HTTP/1.1\r\nHost: ")
	bw.WriteString(host)
	bw.WriteString("\r\n")
	if len(t.body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		bw.WriteString("Content-Length: ")
		bw.Write(strconv.AppendInt(bw.AvailableBuffer(), int64(len(t.body)), 10))
		bw.WriteString("\r\n")
	}
	changed := t.way.requestOps != nil
	for name, values := range r.Header {
		if connectionOrOurs(name, changed) || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, value := range values {
			if err := writeHeader(bw, name, value); err != nil {
				return err
			}
		}
	}
	if !changed {
		if err := t.forwarded(func(name, value string) error { return writeHeader(bw, name, value) }); err != nil {
			return err
		}
	}
	bw.WriteString("\r\n")
	if len(t.body) > 0 {
		bw.Write(t.body)
	}
	return bw.Flush() // it tells what any of the writes met
}

// connectionOrOurs says whether a header is about this connection or written by the short way itself. done says that the forwarding
// headers stand there already.
func connectionOrOurs(name string, done bool) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Trailer",
		"Transfer-Encoding", "Upgrade", "Host", "Content-Length", "Alt-Svc":
		return true
	case "Te", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via":
		return !done
	}
	return false
}

// writeHeader refuses what would be read as the next header.
func writeHeader(bw *bufio.Writer, name, value string) error {
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("%w: %s", errBadHead, name)
	}
	bw.WriteString(name)
	bw.WriteString(": ")
	bw.WriteString(value)
	_, err := bw.WriteString("\r\n")
	return err
}

// validMethod says whether a method is one token. "" stands for GET.
func validMethod(method string) bool {
	return method == "" || httpguts.ValidHeaderFieldName(method)
}

// plainTarget refuses what would end the request line. The decision has refused it before; this is the last look.
func plainTarget(target string) bool {
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return target != "" && target[0] == '/'
}

// forwarded says who asks, as Caddy's proxy says it: what an earlier proxy has written is kept only where that is one of
// the trusted proxies. A header that an earlier handler has set to nothing stays away.
func (t *shortTrip) forwarded(set func(name, value string) error) error {
	r := t.request
	trusted := trustedPeer(r.Context())
	if err := set("Via", t.via()); err != nil {
		return err
	}
	if httpguts.HeaderValuesContainsToken(r.Header["Te"], "trailers") {
		if err := set("Te", "trailers"); err != nil {
			return err
		}
	}
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil && (r.RemoteAddr != "@" || !trusted) {
		return nil // nobody whose name could be told
	}
	client, _, _ = strings.Cut(client, "%")
	if lines, ok := r.Header["X-Forwarded-For"]; !ok || lines != nil {
		if before := strings.Join(lines, ", "); trusted && before != "" {
			client = strings.TrimSuffix(before+", "+client, ", ")
		}
		if client != "" {
			if err := set("X-Forwarded-For", client); err != nil {
				return err
			}
		}
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	for _, f := range [...]struct{ name, value string }{{"X-Forwarded-Proto", scheme}, {"X-Forwarded-Host", r.Host}} {
		lines, ok := r.Header[f.name]
		if ok && lines == nil {
			continue
		}
		if trusted && len(lines) > 0 && lines[len(lines)-1] != "" {
			f.value = lines[len(lines)-1]
		}
		if err := set(f.name, f.value); err != nil {
			return err
		}
	}
	return nil
}

// via names the protocol that the request came by, after what earlier proxies have said.
func (t *shortTrip) via() string {
	r := t.request
	own := "1.1 Caddy"
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		own = strconv.Itoa(r.ProtoMajor) + "." + strconv.Itoa(r.ProtoMinor) + " Caddy"
	}
	if before := r.Header["Via"]; len(before) > 0 {
		return strings.Join(before, ", ") + ", " + own
	}
	return own
}
