package api

import (
	"net/http"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/policy"
)

// PasswordChange is the body that changes one's own password.
type PasswordChange struct {
	CurrentPassword string `json:"current_password" writeOnly:"true" maxLength:"1024"`
	Password        string `json:"password" writeOnly:"true" doc:"12 characters or more"`
}

// AppEnroll is the body that begins to enrol an authenticator app.
type AppEnroll struct {
	CurrentPassword Optional[string] `json:"current_password,omitzero" writeOnly:"true" doc:"Required from a member with a password"`
}

// AppConfirm is the body that ends it.
type AppConfirm struct {
	Code string `json:"code" writeOnly:"true" doc:"Six digits that the new app shows"`
}

// AppProof is the body of what takes the authenticator app away or replaces its recovery codes.
type AppProof struct {
	CurrentPassword Optional[string] `json:"current_password,omitzero" writeOnly:"true" doc:"Required from a member with a password"`
	Code            Optional[string] `json:"code,omitzero" writeOnly:"true" doc:"Six digits of the app"`
	RecoveryCode    Optional[string] `json:"recovery_code,omitzero" writeOnly:"true" doc:"In place of the code"`
}

func (p *AppProof) proof() (password policy.Token, factors auth.SignIn) {
	return policy.TokenFrom(p.CurrentPassword.Value), auth.SignIn{Code: policy.TokenFrom(p.Code.Value), RecoveryCode: policy.TokenFrom(p.RecoveryCode.Value)}
}

// AppSecret is what an authenticator app is set up with.
type AppSecret struct {
	Object string `json:"object" enum:"authenticator_app"`
	Secret Token  `json:"secret" doc:"In base32, to be typed into the app"`
	URL    Token  `json:"url" doc:"otpauth://…, to be shown as a QR code"`
}

// RecoveryCodes are the codes that stand in for the authenticator app, each of them once.
type RecoveryCodes struct {
	Object string  `json:"object" enum:"recovery_codes"`
	Codes  []Token `json:"codes" nullable:"false" doc:"In this answer and no other"`
}

// Done is the answer of a call that has nothing to show.
type Done struct {
	Object string `json:"object" enum:"done"`
}

type changePasswordInput struct {
	Body PasswordChange
}

type enrollInput struct {
	Body AppEnroll
}

type confirmInput struct {
	Body AppConfirm
}

type proofInput struct {
	Body AppProof
}

func (a *API) registerOwnCredentials() {
	const tag = "sessions"
	handle(a, operation{
		method: http.MethodPost, path: "/v1/session/password", id: "change_password", tag: tag, unkept: true, summary: "Change one's own password",
		description: "One's other sessions end.",
	}, a.changePassword)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/session/totp", id: "enroll_totp", tag: tag, unkept: true, summary: "Begin to enrol an authenticator app",
		description: "It counts once it is confirmed, within ten minutes.",
	}, a.enrollTOTP)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/session/totp/confirm", id: "confirm_totp", tag: tag, unkept: true, summary: "Enrol an authenticator app",
		description: "Answers ten recovery codes, which nobody can read again. One's other sessions end.",
	}, a.confirmTOTP)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/session/totp/remove", id: "remove_totp", tag: tag, unkept: true, summary: "Remove one's authenticator app",
		description: "One's other sessions end.",
	}, a.removeTOTP)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/session/recovery_codes", id: "create_recovery_codes", tag: tag, unkept: true, summary: "Replace one's recovery codes",
	}, a.newRecoveryCodes)
}

func (a *API) changePassword(c *call, in *changePasswordInput) (Done, error) {
	s, err := c.ownSession()
	if err != nil {
		return Done{}, err
	}
	err = a.Sessions.SetPassword(c.ctx, s, policy.TokenFrom(in.Body.CurrentPassword), policy.TokenFrom(in.Body.Password))
	return c.done(err)
}

func (c *call) done(err error) (Done, error) {
	if err != nil {
		return Done{}, c.told(err)
	}
	return Done{Object: "done"}, nil
}

func (a *API) enrollTOTP(c *call, in *enrollInput) (AppSecret, error) {
	s, err := c.ownSession()
	if err != nil {
		return AppSecret{}, err
	}
	e, err := a.Sessions.BeginTOTP(c.ctx, s, policy.TokenFrom(in.Body.CurrentPassword.Value))
	if err != nil {
		return AppSecret{}, c.told(err)
	}
	return AppSecret{Object: "authenticator_app", Secret: Token(e.Secret.Reveal()), URL: Token(e.URL.Reveal())}, nil
}

func (a *API) confirmTOTP(c *call, in *confirmInput) (RecoveryCodes, error) {
	s, err := c.ownSession()
	if err != nil {
		return RecoveryCodes{}, err
	}
	codes, err := a.Sessions.ConfirmTOTP(c.ctx, s, policy.TokenFrom(in.Body.Code))
	return c.viewCodes(codes, err)
}

func (c *call) viewCodes(codes []policy.Token, err error) (RecoveryCodes, error) {
	if err != nil {
		return RecoveryCodes{}, c.told(err)
	}
	out := RecoveryCodes{Object: "recovery_codes", Codes: make([]Token, 0, len(codes))}
	for _, code := range codes {
		out.Codes = append(out.Codes, Token(code.Reveal()))
	}
	return out, nil
}

func (a *API) removeTOTP(c *call, in *proofInput) (Done, error) {
	s, err := c.ownSession()
	if err != nil {
		return Done{}, err
	}
	password, factors := in.Body.proof()
	return c.done(a.Sessions.RemoveTOTP(c.ctx, s, password, factors))
}

func (a *API) newRecoveryCodes(c *call, in *proofInput) (RecoveryCodes, error) {
	s, err := c.ownSession()
	if err != nil {
		return RecoveryCodes{}, err
	}
	password, factors := in.Body.proof()
	codes, err := a.Sessions.NewRecoveryCodes(c.ctx, s, password, factors)
	return c.viewCodes(codes, err)
}
