package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/webhook"
	"github.com/keystile/keystile/policy"
)

// Hook hands codes to a service of the operator's, for text messages. It is safe for concurrent use.
type Hook struct {
	url    string
	secret policy.Token
	now    func() time.Time
	client *http.Client
}

// NewHook checks the URL. Unlike a webhook's it is the operator's own word, and may be a private address; but a code in clear
// stays on this machine.
func NewHook(address string, secret policy.Token, now func() time.Time) (*Hook, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("want an absolute URL such as https://sms.example.com/codes")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("the URL has no user, password or fragment here: requests are signed")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("codes would cross the network in clear: want https")
	case len(secret.Reveal()) < 16:
		return nil, errors.New("the secret that requests are signed with has at least 16 characters")
	}
	return &Hook{url: address, secret: secret, now: now, client: &http.Client{
		Transport: &http.Transport{
			Proxy: nil, DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Method is the word for the hook.
func (*Hook) Method() string { return "http" }

// hookBody is the body of a request; see the documentation of the package.
type hookBody struct {
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Member    string    `json:"member"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Code      string    `json:"code"`
	Action    string    `json:"action"`
	Operation string    `json:"operation"`
	ObjectID  string    `json:"object_id"`
	Address   string    `json:"address"`
	ExpiresAt time.Time `json:"expires_at"`
}

// SendCode posts a code.
func (h *Hook) SendCode(ctx context.Context, m *auth.CodeMessage) error {
	body, err := json.Marshal(hookBody{
		Type: "verification_code", ID: m.Verification, Member: m.Member, Name: m.Name, Email: m.Email, Code: m.Code.Reveal(),
		Action: m.Action, Operation: m.Operation, ObjectID: m.Object, Address: m.Address, ExpiresAt: m.ExpiresAt.UTC().Truncate(time.Second),
	})
	if err != nil {
		return errors.New("encoding a code")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the hook's URL is refused")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(webhook.SignatureHeader, webhook.Sign(h.now(), body, h.secret.Reveal()))
	answer, err := h.client.Do(r)
	if err != nil {
		var cause *url.Error
		if errors.As(err, &cause) {
			err = cause.Err // without the URL, which may hold a secret of the operator's
		}
		return fmt.Errorf("the hook cannot be reached: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 16<<10) // an answer counts by its status
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the hook answered %d, which is not 2xx", answer.StatusCode)
	}
	return nil
}

// Log writes codes to the process log, for development: whoever reads the log has them.
type Log struct{ Logger *zap.Logger }

// Method is the word for the log.
func (Log) Method() string { return "log" }

// SendCode writes a code.
func (l Log) SendCode(_ context.Context, m *auth.CodeMessage) error {
	l.Logger.Info("verification code, for development only: "+m.Code.Reveal(),
		zap.String("member", m.Member), zap.String("action", m.Action), zap.Time("expires_at", m.ExpiresAt))
	return nil
}

var (
	_ auth.CodeSender = (*Hook)(nil)
	_ auth.CodeSender = Log{}
)
