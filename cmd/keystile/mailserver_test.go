package main_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailServer is a real SMTP server on this machine. It keeps what it gets.
type mailServer struct {
	addr *net.TCPAddr

	mu   sync.Mutex
	mail []string // recipient, a newline, and the message with its lines joined
}

const mailPassword = "password-of-the-mail-server"

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	s := new(mailServer)
	srv := smtp.NewServer(s)
	srv.Domain, srv.AllowInsecureAuth = "localhost", true
	srv.ReadTimeout, srv.WriteTimeout = 30*time.Second, 30*time.Second
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().(*net.TCPAddr)
	go func() { _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

// NewSession implements smtp.Backend.
func (s *mailServer) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &mailSession{server: s}, nil
}

// last is the newest message to an address.
func (s *mailServer) last(t *testing.T, to string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.mail) - 1; i >= 0; i-- {
		if text, ok := strings.CutPrefix(s.mail[i], to+"\n"); ok {
			return text
		}
	}
	t.Fatalf("no mail came to %s", to)
	return ""
}

type mailSession struct {
	server *mailServer
	to     string
}

// AuthMechanisms implements smtp.AuthSession.
func (*mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (*mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, password string) error {
		if password != mailPassword {
			return errors.New("wrong password")
		}
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (*mailSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

// Data implements smtp.Session.
func (s *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "=\r\n", ""), "=3D", "=") // quoted-printable
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mail = append(s.server.mail, s.to+"\n"+text)
	return err
}

// Reset implements smtp.Session.
func (*mailSession) Reset() {}

// Logout implements smtp.Session.
func (*mailSession) Logout() error { return nil }
