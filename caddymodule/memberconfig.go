package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/notify"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// The methods of verification.
const (
	verificationSMTP = "smtp"
	verificationHTTP = "http"
	verificationTOTP = "totp"
	verificationLog  = "log"
)

// VerificationConfig says how signed-in members get the code that they are asked for before they make, show or replace a live
// key.
type VerificationConfig struct {
	// Where codes come from: "smtp" (an e-mail by the server of `smtp`), "http" (the operator's own service, which sends a
	// text message), "totp" (the member's authenticator app), or "log" (the process log, for development: every site with
	// keystile_admin must then listen on loopback addresses only). Default: totp.
	Method string `json:"method,omitempty"`

	// The URL that codes are posted to, with method "http".
	URL string `json:"url,omitempty"`

	// What these requests are signed with, as webhooks are, in the header Keystile-Signature.
	Secret *SecretSource `json:"secret,omitempty"`
}

// SMTPConfig says by which server e-mail is sent to members: invitations, and codes with verification smtp.
type SMTPConfig struct {
	// The server's host name or address.
	Host string `json:"host,omitempty"`

	// The server's port. Default: 587, with TLS "tls" 465, with "off" 25.
	Port int `json:"port,omitempty"`

	// The e-mail address that messages come from, perhaps with a name: `Keys <keys@example.com>`.
	From string `json:"from,omitempty"`

	// The user name at the server. Default: no authentication.
	Username string `json:"username,omitempty"`

	// The password at the server.
	Password *SecretSource `json:"password,omitempty"`

	// "starttls" (TLS or nothing), "tls" (from the first byte), or "off" (for a server on this machine). Default: starttls.
	TLS string `json:"tls,omitempty"`
}

// OIDCConfig says which identity provider (OpenID Connect) signs members in. Who is no member and not invited does not come
// in by it; the provider must have verified the e-mail address. It is told of the callback
// https://<site>/v1/session/oidc/callback.
type OIDCConfig struct {
	// The provider's URL, as its discovery document names it.
	Issuer string `json:"issuer,omitempty"`

	// The id of this client at the provider.
	ClientID string `json:"client_id,omitempty"`

	// The secret of this client. Default: none, a public client.
	ClientSecret *SecretSource `json:"client_secret,omitempty"`
}

// memberSettings are what the configuration says of members, with its secrets read.
type memberSettings struct {
	smtp  *notify.SMTP      // nil: no e-mail
	codes auth.CodeSender   // nil: members show the codes of their authenticator apps
	oidc  *auth.OIDCOptions // nil: no identity provider
}

// resolveMembers checks what the configuration says of members, and reads the secrets. It connects to nothing.
func (a *App) resolveMembers(s *settings) (m memberSettings, err error) {
	if a.SMTP != nil {
		password, err := a.SMTP.Password.read()
		if err != nil {
			return m, fmt.Errorf("smtp: password: %w", err)
		}
		m.smtp, err = notify.NewSMTP(notify.SMTPOptions{
			Host: a.SMTP.Host, Port: a.SMTP.Port, From: a.SMTP.From, Username: a.SMTP.Username, Password: password, Security: notify.Security(a.SMTP.TLS),
		})
		if err != nil {
			return m, fmt.Errorf("smtp: %w", err)
		}
	}
	if a.OIDC != nil {
		m.oidc = &auth.OIDCOptions{Issuer: a.OIDC.Issuer, ClientID: a.OIDC.ClientID}
		if m.oidc.ClientSecret, err = a.OIDC.ClientSecret.read(); err != nil {
			return m, fmt.Errorf("oidc: client_secret: %w", err)
		}
		if err := auth.CheckOIDC(m.oidc); err != nil {
			return m, fmt.Errorf("oidc: %w", err)
		}
	}
	if m.codes, err = a.resolveVerification(s, m.smtp); err != nil {
		return m, fmt.Errorf("verification: %w", err)
	}
	return m, nil
}

func (a *App) resolveVerification(s *settings, smtp *notify.SMTP) (auth.CodeSender, error) {
	v := VerificationConfig{}
	if a.Verification != nil {
		v = *a.Verification
	}
	if v.Method != verificationHTTP && (v.URL != "" || v.Secret != nil) {
		return nil, fmt.Errorf("url and secret go with method %q", verificationHTTP)
	}
	switch v.Method {
	case "", verificationTOTP:
		return nil, nil
	case verificationSMTP:
		if smtp == nil {
			return nil, errors.New("there is no server to send by: set up smtp")
		}
		return smtp, nil
	case verificationHTTP:
		secret, err := v.Secret.read()
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		hook, err := notify.NewHook(v.URL, secret, s.now)
		if err != nil {
			return nil, fmt.Errorf("http: %w", err)
		}
		return hook, nil
	case verificationLog:
		return notify.Log{Logger: s.logger.Named("verification")}, nil
	}
	return nil, fmt.Errorf("unknown method %q: this version has smtp, http, totp and log", v.Method)
}

// checkLoopback refuses a site that others than this machine can reach, while codes are printed to the log. What counts is
// where the server listens: a host name in a request is the client's word.
func (a *App) checkLoopback(server *caddyhttp.Server) error {
	if a.Verification == nil || a.Verification.Method != verificationLog {
		return nil
	}
	refused := errors.New("verification log is for development: it prints codes to the log, and this site can be reached from other machines; " +
		"let it listen on this machine only (bind 127.0.0.1), or set up verification smtp, http or totp")
	if server == nil || len(server.Listen) == 0 {
		return refused // fail closed
	}
	for _, listen := range server.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			return refused
		}
		if address.IsUnixNetwork() {
			continue
		}
		if ip := net.ParseIP(address.Host); address.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return refused
		}
	}
	return nil
}

// mailInvitation sends the link of an invitation.
func (s *settings) mailInvitation(ctx context.Context, m *keystore.Member, link policy.Token) error {
	return s.members.smtp.SendInvitation(ctx, m.Email, m.Name, link)
}

// parseVerification sets up the option from Caddyfile tokens. Syntax:
//
//	verification smtp [{ as smtp }] | totp | log
//	verification http <url> {
//		secret env <name> | file <path>
//	}
func (a *App) parseVerification(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	v := &VerificationConfig{Method: args[0]}
	a.Verification = v
	switch {
	case v.Method == verificationHTTP && len(args) == 2:
		v.URL = args[1]
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			if d.Val() != "secret" {
				return d.Errf("unrecognized option %q of verification http", d.Val())
			}
			if v.Secret != nil {
				return d.Err("duplicate option \"secret\" of verification http")
			}
			var err error
			if v.Secret, err = parseSecretSource(d); err != nil {
				return err
			}
		}
		if v.Secret == nil {
			return d.Err("verification http: the secret is missing: secret env <name> or secret file <path>")
		}
		return nil
	case len(args) != 1:
		return d.ArgErr()
	case v.Method == verificationSMTP:
		if smtp, err := parseSMTPBlock(d); smtp == nil || err != nil {
			return err
		} else if a.SMTP != nil {
			return d.Err("smtp is set up twice: as an option and inside of verification")
		} else {
			a.SMTP = smtp
		}
		return nil
	case v.Method == verificationTOTP, v.Method == verificationLog:
		return refuseBlock(d, "verification "+v.Method)
	case v.Method == verificationHTTP:
		return d.Err("verification http: the URL is missing")
	}
	return d.Errf("unrecognized verification %q: this version has %q, %q, %q and %q", v.Method, verificationSMTP, verificationHTTP, verificationTOTP, verificationLog)
}

// parseSMTP sets up the option from Caddyfile tokens. Syntax:
//
//	smtp {
//		host <host>
//		port <port>
//		from <address>
//		username <name>
//		password env <name> | file <path>
//		tls starttls|tls|off
//	}
func (a *App) parseSMTP(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	smtp, err := parseSMTPBlock(d)
	switch {
	case err != nil:
		return err
	case smtp == nil:
		return d.Err("smtp: empty: it needs at least host and from")
	case a.SMTP != nil:
		return d.Err("smtp is set up twice: as an option and inside of verification")
	}
	a.SMTP = smtp
	return nil
}

// parseSMTPBlock reads the block of an SMTP server, nil if there is none.
func parseSMTPBlock(d *caddyfile.Dispenser) (*SMTPConfig, error) {
	var s *SMTPConfig
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if s == nil {
			s = new(SMTPConfig)
		}
		option := d.Val()
		if seen[option] {
			return nil, d.Errf("duplicate option %q of smtp", option)
		}
		seen[option] = true
		var err error
		switch option {
		case "host":
			err = parseOneArg(d, &s.Host)
		case "from":
			err = parseOneArg(d, &s.From)
		case "username":
			err = parseOneArg(d, &s.Username)
		case "tls":
			err = parseOneArg(d, &s.TLS)
		case "password":
			s.Password, err = parseSecretSource(d)
		case "port":
			var text string
			if err = parseOneArg(d, &text); err == nil {
				if s.Port, err = strconv.Atoi(text); err != nil || s.Port < 1 || s.Port > 65535 {
					err = d.Errf("port: %q is no port from 1 to 65535", text)
				}
			}
		default:
			err = d.Errf("unrecognized option %q of smtp", option)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// parseOIDC sets up the option from Caddyfile tokens. Syntax:
//
//	oidc {
//		issuer <url>
//		client_id <id>
//		client_secret env <name> | file <path>
//	}
func (a *App) parseOIDC(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.OIDC = new(OIDCConfig)
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("duplicate option %q of oidc", option)
		}
		seen[option] = true
		var err error
		switch option {
		case "issuer":
			err = parseOneArg(d, &a.OIDC.Issuer)
		case "client_id":
			err = parseOneArg(d, &a.OIDC.ClientID)
		case "client_secret":
			a.OIDC.ClientSecret, err = parseSecretSource(d)
		default:
			err = d.Errf("unrecognized option %q of oidc", option)
		}
		if err != nil {
			return err
		}
	}
	if !seen["issuer"] || !seen["client_id"] {
		return d.Err("oidc needs issuer and client_id")
	}
	return nil
}
