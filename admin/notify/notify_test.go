package notify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/notify"
	"github.com/keystile/keystile/admin/webhook"
	"github.com/keystile/keystile/policy"
)

// server is a real SMTP server that keeps what it gets.
type server struct {
	mu   sync.Mutex
	mail []string // recipient, a newline, and the message
	user string   // who authenticated last
	addr *net.TCPAddr
}

const smtpPassword = "a password of the server"

// serve starts it: with a certificate by STARTTLS, or from the first byte if whole, else in clear.
func serve(t *testing.T, certificate *tls.Certificate, whole bool) *server {
	t.Helper()
	s := new(server)
	srv := smtp.NewServer(s)
	srv.Domain, srv.ReadTimeout, srv.WriteTimeout = "localhost", 10*time.Second, 10*time.Second
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().(*net.TCPAddr)
	if certificate != nil {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
		if whole {
			l = tls.NewListener(l, srv.TLSConfig)
		}
	}
	go func() { _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

func (s *server) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }

type session struct {
	server *server
	to     string
}

func (*session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != smtpPassword {
			return errors.New("wrong password")
		}
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.user = user
		return nil
	}), nil
}

func (*session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "refused@") {
		return &smtp.SMTPError{Code: 550, Message: "no such mailbox"}
	}
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mail = append(s.server.mail, s.to+"\n"+string(data))
	return err
}

func (*session) Reset()        {}
func (*session) Logout() error { return nil }

func (s *server) last(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mail) == 0 {
		t.Fatal("no mail came")
	}
	return s.mail[len(s.mail)-1]
}

func message() *auth.CodeMessage {
	return &auth.CodeMessage{
		Verification: "ver_1", Member: "mem_1", Name: "Jenny", Email: "jenny@example.com", Code: policy.TokenFrom("012345"), Action: "create a live key",
		Operation: "create_key", Address: "203.0.113.9", ExpiresAt: time.Date(2026, 11, 25, 16, 20, 0, 0, time.UTC),
	}
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	certificate, roots := newCertificate(t)
	for _, test := range []struct {
		what        string
		certificate *tls.Certificate
		whole       bool
		security    notify.Security
		user        string
	}{
		{"in clear", nil, false, notify.NoTLS, ""},
		{"STARTTLS", certificate, false, notify.StartTLS, "keys"},
		{"TLS", certificate, true, notify.TLS, "keys"},
	} {
		s := serve(t, test.certificate, test.whole)
		o := notify.SMTPOptions{
			Host: "127.0.0.1", Port: s.addr.Port, From: "Keys <keys@example.com>", Security: test.security,
			TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1"},
		}
		if test.user != "" {
			o.Username, o.Password = test.user, policy.TokenFrom(smtpPassword)
		}
		sender, err := notify.NewSMTP(o)
		if err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		if err := sender.SendCode(t.Context(), message()); err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		got := s.last(t)
		for _, want := range []string{"jenny@example.com\n", "012345", "create a live key", "203.0.113.9", "keys@example.com", "16:20 UTC"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: the message lacks %q:\n%s", test.what, want, got)
			}
		}
		if strings.Contains(strings.SplitN(got, "\r\n\r\n", 2)[0], "012345") {
			t.Errorf("%s: the code is in the head of the message", test.what)
		}
		if s.user != test.user {
			t.Errorf("%s: authenticated as %q", test.what, s.user)
		}
		link := policy.TokenFrom("https://keys.example.com/invitation#inv_x")
		if err := sender.SendInvitation(t.Context(), "sam@example.com", "Sam", link); err != nil {
			t.Fatal(err)
		}
		if got := s.last(t); !strings.Contains(got, "https://keys.example.com/invitation#inv") || !strings.HasPrefix(got, "sam@example.com\n") {
			t.Errorf("%s: the invitation is\n%s", test.what, got)
		}
	}
}

// TestSMTPFails: nothing goes out unprotected, and errors do not say what was to be sent.
func TestSMTPFails(t *testing.T) {
	t.Parallel()
	certificate, roots := newCertificate(t)
	plain, secure := serve(t, nil, false), serve(t, certificate, false)
	good := notify.SMTPOptions{Host: "127.0.0.1", From: "keys@example.com", TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1"}}
	for what, set := range map[string]func(*notify.SMTPOptions, *auth.CodeMessage){
		"no STARTTLS":    func(o *notify.SMTPOptions, _ *auth.CodeMessage) { o.Port = plain.addr.Port },
		"foreign issuer": func(o *notify.SMTPOptions, _ *auth.CodeMessage) { o.Port, o.TLSConfig = secure.addr.Port, nil },
		"nobody there":   func(o *notify.SMTPOptions, _ *auth.CodeMessage) { o.Port = 1 },
		"no such mailbox": func(o *notify.SMTPOptions, m *auth.CodeMessage) {
			o.Port, m.Email = secure.addr.Port, "refused@example.com"
		},
		"no address": func(o *notify.SMTPOptions, m *auth.CodeMessage) { o.Port, m.Email = secure.addr.Port, "" },
		"a second address": func(o *notify.SMTPOptions, m *auth.CodeMessage) {
			o.Port, m.Email = secure.addr.Port, "a@example.com\r\nBcc: b@example.com"
		},
		"wrong password": func(o *notify.SMTPOptions, _ *auth.CodeMessage) {
			o.Port, o.Username, o.Password = secure.addr.Port, "keys", policy.TokenFrom("another password")
		},
	} {
		o, m := good, message()
		set(&o, m)
		sender, err := notify.NewSMTP(o)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		err = sender.SendCode(t.Context(), m)
		if err == nil || strings.Contains(err.Error(), "012345") || strings.Contains(err.Error(), "password of") || strings.Contains(err.Error(), "another") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(plain.mail)+len(secure.mail) != 0 {
		t.Errorf("messages came: %q %q", plain.mail, secure.mail)
	}
	for what, o := range map[string]notify.SMTPOptions{
		"no host":         {From: "a@example.com"},
		"no from":         {Host: "localhost"},
		"bad from":        {Host: "localhost", From: "keys"},
		"clear, far away": {Host: "smtp.example.com", From: "a@example.com", Security: notify.NoTLS},
		"bad word":        {Host: "localhost", From: "a@example.com", Security: "ssl"},
		"no password":     {Host: "localhost", From: "a@example.com", Username: "x"},
	} {
		if _, err := notify.NewSMTP(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestHook(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 16, 10, 0, 0, time.UTC)
	secret := policy.TokenFrom("a secret of the hook")
	var body []byte
	var header http.Header
	status := 204
	hooked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer hooked.Close()
	hook, err := notify.NewHook(hooked.URL+"/codes?key=operator", secret, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.SendCode(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil || got["code"] != "012345" || got["member"] != "mem_1" || got["expires_at"] != "2026-11-25T16:20:00Z" {
		t.Errorf("posted %s, %v", body, err)
	}
	if header.Get(webhook.SignatureHeader) != webhook.Sign(now, body, secret.Reveal()) {
		t.Errorf("signed %q", header.Get(webhook.SignatureHeader))
	}
	for _, status = range []int{302, 400, 500} {
		if err := hook.SendCode(t.Context(), message()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("an answer of %d: %v", status, err)
		}
	}
	hooked.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := hook.SendCode(ctx, message()); err == nil || strings.Contains(err.Error(), "operator") || strings.Contains(err.Error(), "012345") {
		t.Errorf("nobody there: %v", err)
	}
	for what, address := range map[string]string{"clear": "http://sms.example.com/", "none": "", "user": "https://u:p@sms.example.com/", "relative": "/codes"} {
		if _, err := notify.NewHook(address, secret, time.Now); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := notify.NewHook("https://sms.example.com/", policy.TokenFrom("short"), time.Now); err == nil {
		t.Error("a short secret: accepted")
	}
}

// newCertificate makes a certificate for 127.0.0.1.
func newCertificate(t *testing.T) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}
