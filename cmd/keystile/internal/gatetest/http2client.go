package gatetest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// H2 is an HTTP/2 client that sends the frames it is told to, also those that no client library would. One request at a
// time.
type H2 struct {
	conn   net.Conn
	framer *http2.Framer
	buf    bytes.Buffer
	enc    *hpack.Encoder
	next   uint32
}

// ResetError is a stream or connection that the server ended without an answer.
type ResetError struct {
	Code       http2.ErrCode
	Connection bool
}

// Error names the code.
func (e *ResetError) Error() string {
	if e.Connection {
		return "the server closed the connection: " + e.Code.String()
	}
	return "the server reset the stream: " + e.Code.String()
}

// DialH2 opens an HTTP/2 connection: over TLS for the server name (without checking the certificate), or in clear with
// prior knowledge if serverName is "".
func DialH2(addr, source, serverName string) (*H2, error) {
	conn, err := DialFrom(source, addr)
	if err != nil {
		return nil, err
	}
	if serverName != "" {
		//nolint:gosec // the certificate of a test gateway is its own; what is tested lies above TLS
		tlsConn := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: serverName, NextProtos: []string{"h2"}})
		if err := tlsConn.Handshake(); err != nil {
			_ = conn.Close()
			return nil, err
		}
		if got := tlsConn.ConnectionState().NegotiatedProtocol; got != "h2" {
			_ = conn.Close()
			return nil, fmt.Errorf("negotiated %q, want h2", got)
		}
		conn = tlsConn
	}
	_ = conn.SetDeadline(time.Now().Add(rawLimit))
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	h := &H2{conn: conn, framer: http2.NewFramer(conn, conn), next: 1}
	h.enc = hpack.NewEncoder(&h.buf)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.framer.AllowIllegalWrites = true
	if err := h.framer.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return h, nil
}

// Close closes the connection.
func (h *H2) Close() { _ = h.conn.Close() }

func (h *H2) block(fields []Field) []byte {
	h.buf.Reset()
	for _, f := range fields {
		_ = h.enc.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value})
	}
	return bytes.Clone(h.buf.Bytes())
}

// Do sends a request of header fields (pseudo headers first, as given), a body and trailers (nil: none), and reads the
// answer. A refusal by frames is a *ResetError.
func (h *H2) Do(header []Field, body []byte, trailer []Field) (*Answer, error) {
	_ = h.conn.SetDeadline(time.Now().Add(rawLimit))
	id := h.next
	h.next += 2
	err := h.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: h.block(header), EndHeaders: true, EndStream: body == nil && trailer == nil,
	})
	if err != nil {
		return nil, err
	}
	if body != nil {
		if err := h.framer.WriteData(id, trailer == nil, body); err != nil {
			return nil, err
		}
	}
	if trailer != nil {
		err := h.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: h.block(trailer), EndHeaders: true, EndStream: true,
		})
		if err != nil {
			return nil, err
		}
	}
	return h.read(id)
}

func (h *H2) read(id uint32) (*Answer, error) {
	var a *Answer
	for {
		frame, err := h.framer.ReadFrame()
		if err != nil {
			var conn http2.ConnectionError
			var stream http2.StreamError
			switch {
			case errors.As(err, &conn):
				return nil, &ResetError{Code: http2.ErrCode(conn), Connection: true}
			case errors.As(err, &stream):
				return nil, &ResetError{Code: stream.Code}
			}
			return nil, fmt.Errorf("%w (%w)", ErrClosed, err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = h.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = h.framer.WritePing(true, f.Data)
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return nil, &ResetError{Code: f.ErrCode, Connection: true}
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id && a == nil {
				return nil, &ResetError{Code: f.ErrCode}
			}
			if f.StreamID == id {
				return a, nil
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			header := make(http.Header)
			for _, field := range f.RegularFields() {
				header.Add(field.Name, field.Value)
			}
			if a == nil || a.Status < 200 {
				status, err := strconv.Atoi(f.PseudoValue("status"))
				if err != nil {
					return nil, fmt.Errorf(":status %q", f.PseudoValue("status"))
				}
				a = &Answer{Status: status, Header: header}
			} else {
				a.Trailer = header
			}
			if f.StreamEnded() {
				return a, nil
			}
		case *http2.DataFrame:
			if f.StreamID != id || a == nil {
				continue
			}
			a.Body = append(a.Body, f.Data()...)
			if n := uint32(len(f.Data())); n > 0 {
				_ = h.framer.WriteWindowUpdate(0, n)
				_ = h.framer.WriteWindowUpdate(id, n)
			}
			if f.StreamEnded() {
				return a, nil
			}
		}
	}
}

// H2Request is the header fields of an ordinary request for Do, in clear or over TLS.
func H2Request(method, path, token string, more ...Field) []Field {
	fields := []Field{
		F(":method", method),
		F(":scheme", "http"),
		F(":authority", "api.example.com"),
		F(":path", path),
	}
	if token != "" {
		fields = append(fields, F("authorization", "Bearer "+token))
	}
	return append(fields, more...)
}

// F is one header field.
func F(name, value string) Field { return Field{Name: name, Value: value} }
