package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/policy"
)

// sendTime bounds one sending, from the connection to the server's last word.
const sendTime = 15 * time.Second

// Security is how a connection to an SMTP server is protected.
type Security string

// The ways.
const (
	StartTLS Security = "starttls" // in clear at first, then TLS or nothing
	TLS      Security = "tls"      // from the first byte
	NoTLS    Security = "off"      // for a server on the same machine
)

// SMTPOptions are what an SMTP server is reached with.
type SMTPOptions struct {
	Host     string
	Port     int    // 0: 587, or 465 for TLS, or 25 for NoTLS
	From     string // e-mail address, perhaps with a name: Keys <keys@example.com>
	Username string // "": without authentication
	Password policy.Token
	Security Security // "": StartTLS

	TLSConfig *tls.Config // nil: the system's certificates
}

// SMTP sends e-mail. It is safe for concurrent use: each message has a connection of its own.
type SMTP struct{ o SMTPOptions }

// NewSMTP checks the options. It connects to nothing.
func NewSMTP(o SMTPOptions) (*SMTP, error) {
	if o.Security == "" {
		o.Security = StartTLS
	}
	switch {
	case o.Host == "":
		return nil, errors.New("host is missing")
	case o.From == "":
		return nil, errors.New("from is missing: the e-mail address that messages come from")
	case o.Port < 0 || o.Port > 65535:
		return nil, errors.New("port must be from 1 to 65535")
	case o.Security != StartTLS && o.Security != TLS && o.Security != NoTLS:
		return nil, fmt.Errorf("tls: %q is neither starttls, tls nor off", o.Security)
	case o.Security == NoTLS && !loopback(o.Host):
		return nil, errors.New("tls off: codes would cross the network in clear; that is for a server on this machine only")
	case (o.Username == "") != o.Password.IsZero():
		return nil, errors.New("username and password go together")
	}
	if o.Port == 0 {
		o.Port = map[Security]int{StartTLS: 587, TLS: 465, NoTLS: 25}[o.Security]
	}
	s := &SMTP{o: o}
	if err := mail.NewMsg().From(o.From); err != nil {
		return nil, errors.New("from is no e-mail address")
	}
	if _, err := s.client(); err != nil {
		return nil, err
	}
	return s, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *SMTP) client() (*mail.Client, error) {
	options := []mail.Option{mail.WithPort(s.o.Port), mail.WithTimeout(sendTime)}
	switch s.o.Security {
	case TLS:
		options = append(options, mail.WithSSL())
	case NoTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.o.TLSConfig != nil {
		options = append(options, mail.WithTLSConfig(s.o.TLSConfig))
	}
	if s.o.Username != "" {
		auth := mail.SMTPAuthAutoDiscover
		if s.o.Security == NoTLS {
			auth = mail.SMTPAuthPlainNoEnc // on this machine: what is not encrypted crosses no network
		}
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(s.o.Username), mail.WithPassword(s.o.Password.Reveal()))
	}
	client, err := mail.NewClient(s.o.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("setting up SMTP to %s: %w", s.o.Host, err)
	}
	return client, nil
}

// Method is the word for e-mail.
func (*SMTP) Method() string { return auth.MethodEmail }

// SendCode sends a verification code.
func (s *SMTP) SendCode(ctx context.Context, m *auth.CodeMessage) error {
	if m.Email == "" {
		return errors.New("the member has no e-mail address")
	}
	return s.send(ctx, m.Email, "Your verification code", codeText(m))
}

// SendInvitation sends the link of an invitation.
func (s *SMTP) SendInvitation(ctx context.Context, email, name string, link policy.Token) error {
	return s.send(ctx, email, "You are invited to manage API keys", invitationText(name, link))
}

func (s *SMTP) send(ctx context.Context, to, subject, text string) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	client, err := s.client()
	if err != nil {
		return err
	}
	m := mail.NewMsg()
	if err := m.From(s.o.From); err != nil {
		return errors.New("the sender's address is refused")
	}
	if err := m.To(to); err != nil {
		return errors.New("the member's address is refused")
	}
	m.Subject(subject)
	m.SetDate()
	m.SetMessageID()
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(mail.TypeTextPlain, text)
	if err := client.DialAndSendWithContext(ctx, m); err != nil {
		return fmt.Errorf("sending by %s: %w", net.JoinHostPort(s.o.Host, fmt.Sprint(s.o.Port)), err)
	}
	return nil
}

func codeText(m *auth.CodeMessage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Your verification code is %s.\n\n", m.Code.Reveal())
	fmt.Fprintf(&b, "It was asked for to %s", m.Action)
	if m.Address != "" {
		fmt.Fprintf(&b, ", from the address %s", m.Address)
	}
	fmt.Fprintf(&b, ".\nIt is good until %s, once, and for nothing else.\n\n", m.ExpiresAt.UTC().Format("15:04 UTC on 2 January 2006"))
	b.WriteString("If that was not you, somebody uses your session: give the code to nobody, end your sessions and change your password.\n")
	return b.String()
}

func invitationText(name string, link policy.Token) string {
	hello := "Hello,"
	if name != "" {
		hello = "Hello " + name + ","
	}
	return hello + "\n\nyou are invited to manage API keys. Open this link within 24 hours to choose a password; it opens once:\n\n" +
		link.Reveal() + "\n\nIf you did not expect this, there is nothing that you need to do.\n"
}

var _ auth.CodeSender = (*SMTP)(nil)
