package gatetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Answer is one HTTP answer, read whole.
type Answer struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Body    []byte
}

// Error reads the body as the contract's error object.
func (a *Answer) Error(tb testing.TB) APIError {
	tb.Helper()
	e, err := ParseError(a.Body)
	if err != nil {
		tb.Fatalf("status %d: %v", a.Status, err)
	}
	return e
}

// Echo reads the body as what the raw Backend received.
func (a *Answer) Echo(tb testing.TB) *Received {
	tb.Helper()
	if a.Status != 200 {
		tb.Fatalf("got status %d, want 200 from the backend; body: %.600s", a.Status, a.Body)
	}
	var r Received
	if err := json.Unmarshal(a.Body, &r); err != nil {
		tb.Fatalf("the answer is no echo: %v; body: %.600s", err, a.Body)
	}
	return &r
}

// ErrClosed is a connection that the other side closed without an answer.
var ErrClosed = errors.New("the connection was closed without an answer")

// rawLimit bounds the wait for one answer.
const rawLimit = 20 * time.Second

// DialFrom connects to addr from a source address of this machine ("" for any). On Linux every 127.x.y.z is one.
func DialFrom(source, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: rawLimit}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	return d.Dial("tcp", addr)
}

// Send writes bytes to a new connection from a source address and reads the first answer, which is read as one to the
// method with which the bytes begin. It returns ErrClosed if there was none.
func Send(addr, source, request string) (*Answer, error) {
	answers, err := SendAll(addr, source, request, 1)
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// SendAll is Send for up to n answers on the one connection; it returns those that came. After the first, a missing
// answer is awaited half a second only.
func SendAll(addr, source, request string, n int) ([]*Answer, error) {
	conn, err := DialFrom(source, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(rawLimit))
	writeErr := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, request)
		writeErr <- err
	}()
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(conn)
	var answers []*Answer
	for len(answers) < n {
		if len(answers) > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		}
		a, err := ReadAnswer(in, method)
		if err != nil {
			if len(answers) > 0 {
				break
			}
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// ReadAnswer reads one answer to a request with a method; interim answers (100, 103) are passed over.
func ReadAnswer(in *bufio.Reader, method string) (*Answer, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
				strings.Contains(err.Error(), "connection reset") {
				return nil, ErrClosed
			}
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the body of a %d: %w", resp.StatusCode, err)
		}
		return &Answer{Status: resp.StatusCode, Header: resp.Header, Trailer: resp.Trailer, Body: body}, nil
	}
}

// Request is the bytes of an HTTP/1.1 request: request line, Host, the given header lines as they stand, and the body
// with its length if there is one. Lines are "Name: value" without line ends.
func Request(method, target, body string, lines ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: api.example.com\r\n", method, target)
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

// Bearer is the Authorization line for a token.
func Bearer(token string) string { return "Authorization: Bearer " + token }
