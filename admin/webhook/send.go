package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// attemptTime is how long an endpoint has to answer, all together.
	attemptTime = 10 * time.Second
	// maxAnswer is how much of an answer's body is read, and thrown away: an answer counts by its status.
	maxAnswer = 16 << 10
	// maxAnswerHeader bounds the head of an answer.
	maxAnswerHeader = 16 << 10
)

// The reasons for which an attempt fails, as the delivery log has them. They are words of ours: an error of the network may
// hold the URL, which may hold a secret, and tells about the network behind the gateway.
var (
	errAddress  = errors.New("the address is not public, and private ones are not allowed")
	errScheme   = errors.New("the URL is not https, and plain HTTP is not allowed")
	errTime     = fmt.Errorf("no answer within %v", attemptTime)
	errName     = errors.New("the host name does not resolve")
	errTLS      = errors.New("TLS failed: the certificate is not trusted, or it is no TLS")
	errConnect  = errors.New("no connection")
	errBroken   = errors.New("the connection broke before the answer")
	errRedirect = errors.New("redirects are not followed")
)

// sender posts deliveries.
type sender struct {
	private atomic.Bool // any address, and plain HTTP
	client  *http.Client
}

func newSender() *sender {
	s := new(sender)
	dialer := &net.Dialer{Timeout: attemptTime, KeepAlive: -1, Control: s.control}
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy:       nil, // one from the environment would connect in our place, to where it likes
			DialContext: dialer.DialContext,
			// Each connection is judged when it is made: one that is kept would outlast a change of the rules.
			DisableKeepAlives:      true,
			DisableCompression:     true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: maxAnswerHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// control judges the address that is about to be connected to. It comes after all resolving, so that it does not matter
// what name led there, and what the name meant a moment ago.
func (s *sender) control(_, address string, _ syscall.RawConn) error {
	if s.private.Load() {
		return nil
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil || !public(a.Addr()) {
		return errAddress // fail closed
	}
	return nil
}

// send posts one delivery. The status is that of the answer, 0 if there was none; the error says why it does not count.
func (s *sender) send(ctx context.Context, url string, header http.Header, body []byte) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, errConnect
	}
	if r.URL.Scheme != "https" && !s.private.Load() {
		return 0, errScheme
	}
	r.Header = header
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, reason(err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // for servers that take a closed connection ill
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		return answer.StatusCode, nil
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return answer.StatusCode, errRedirect
	}
	return answer.StatusCode, fmt.Errorf("the status %d is not 2xx", answer.StatusCode)
}

// reason is one of our words for an error of the network.
func reason(err error) error {
	var name *net.DNSError
	var network net.Error
	var op *net.OpError
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var host x509.HostnameError
	switch {
	case errors.Is(err, errAddress):
		return errAddress
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return errTime
	case errors.As(err, &name):
		return errName
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record), errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &host):
		return errTLS
	case errors.As(err, &op) && op.Op == "dial":
		return errConnect
	}
	return errBroken
}
