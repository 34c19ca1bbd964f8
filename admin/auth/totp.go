package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/keystile/keystile/policy"
)

const (
	totpPeriod = 30 // seconds
	// totpSkew is how many periods before and after the present one are taken too: clocks of phones differ.
	totpSkew = 1

	recoveryCodes = 10

	// enrolTime is how long an authenticator app may take to be confirmed.
	enrolTime = 10 * time.Minute
)

// checkTOTP says whether a code is one of the app's now, and uses it up: it is not taken a second time, on any node.
func (a *Sessions) checkTOTP(ctx context.Context, member string, secret policy.Token, code string) (bool, error) {
	code = strings.ReplaceAll(code, " ", "")
	if secret.IsZero() || len(code) != 6 {
		return false, nil
	}
	now := a.Now()
	step, found := int64(0), false
	for skew := -totpSkew; skew <= totpSkew; skew++ {
		at := now.Add(time.Duration(skew) * totpPeriod * time.Second)
		want, err := totp.GenerateCodeCustom(secret.Reveal(), at, totp.ValidateOpts{Period: totpPeriod, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return false, fmt.Errorf("reading the authenticator app of %s: its secret is damaged", member)
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, found = at.Unix()/totpPeriod, true
		}
	}
	if !found {
		return false, nil
	}
	name := "code of " + member + " at " + strconv.FormatInt(step, 10)
	return a.Store.Count(ctx, name, 1, now.Add(2*(totpSkew+1)*totpPeriod*time.Second))
}

// Enrollment is an authenticator app that waits to be confirmed. It prints as a mask.
type Enrollment struct {
	Secret policy.Token // in base32, to be typed
	URL    policy.Token // otpauth://…, to be shown as a QR code
}

func enrollmentName(session string) string { return "authenticator app of " + session }

// BeginTOTP makes the secret of an authenticator app. The app counts once [Sessions.ConfirmTOTP] has seen a code of it.
func (a *Sessions) BeginTOTP(ctx context.Context, s *Session, password policy.Token) (*Enrollment, error) {
	if _, err := a.confirm(ctx, s, password); err != nil {
		return nil, err
	}
	if s.Member.HasTOTP {
		return nil, &Refusal{Status: http.StatusConflict, Code: CodeEnrolled, Message: "an authenticator app is enrolled already: remove it first"}
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Keystile", AccountName: s.Member.Email, Period: totpPeriod, SecretSize: 20, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return nil, fmt.Errorf("making the secret of an authenticator app: %w", err)
	}
	if err := a.Store.KeepSecret(ctx, enrollmentName(s.Row.ID), a.Now().Add(enrolTime), []byte(key.Secret())); err != nil {
		return nil, err
	}
	return &Enrollment{Secret: policy.TokenFrom(key.Secret()), URL: policy.TokenFrom(key.URL())}, nil
}

// ConfirmTOTP enrols the app that [Sessions.BeginTOTP] began with, if the code is one of its. The answer are the recovery
// codes, which nobody can read again. Other sessions of the member end.
func (a *Sessions) ConfirmTOTP(ctx context.Context, s *Session, code policy.Token) ([]policy.Token, error) {
	plain, err := a.Store.KeptSecret(ctx, enrollmentName(s.Row.ID))
	if err != nil {
		return nil, err
	}
	if plain == nil {
		return nil, &Refusal{Status: http.StatusConflict, Code: CodeNotEnrolled, Message: "no authenticator app waits to be confirmed: begin anew"}
	}
	within, err := a.Store.Count(ctx, "confirmations of "+s.Row.ID, codesAnHour, a.Now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	secret := policy.TokenFrom(string(plain))
	ok := false
	if within {
		if ok, err = a.checkTOTP(ctx, s.Member.ID, secret, code.Reveal()); err != nil {
			return nil, err
		}
	}
	if !ok {
		return nil, forbidden(CodeTOTP, "the code is not one of this app, or its clock is wrong: try the next one")
	}
	codes, digests, err := newRecoveryCodes()
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := a.Store.EnrollTOTP(ctx, s.Actor(), s.Member.ID, secret, digests, s.Row.ID); err != nil {
		return nil, err
	}
	return codes, a.Store.DropSecret(ctx, enrollmentName(s.Row.ID))
}

// RemoveTOTP takes the authenticator app away. It takes the password, and a code of the app or a recovery code: who has lost
// both comes back by a new invitation. Other sessions of the member end.
func (a *Sessions) RemoveTOTP(ctx context.Context, s *Session, password policy.Token, in SignIn) error {
	if err := a.confirmBoth(ctx, s, password, in); err != nil {
		return err
	}
	return a.Store.RemoveTOTP(context.WithoutCancel(ctx), s.Actor(), s.Member.ID, s.Row.ID)
}

// NewRecoveryCodes replaces the recovery codes.
func (a *Sessions) NewRecoveryCodes(ctx context.Context, s *Session, password policy.Token, in SignIn) ([]policy.Token, error) {
	if err := a.confirmBoth(ctx, s, password, in); err != nil {
		return nil, err
	}
	codes, digests, err := newRecoveryCodes()
	if err != nil {
		return nil, err
	}
	return codes, a.Store.SetRecoveryCodes(context.WithoutCancel(ctx), s.Actor(), s.Member.ID, digests)
}

func (a *Sessions) confirmBoth(ctx context.Context, s *Session, password policy.Token, in SignIn) error {
	creds, err := a.confirm(ctx, s, password)
	if err != nil {
		return err
	}
	if !s.Member.HasTOTP {
		return &Refusal{Status: http.StatusConflict, Code: CodeNotEnrolled, Message: "no authenticator app is enrolled"}
	}
	if _, err = a.secondFactor(ctx, s.Member, creds, in, a.Now()); err != nil {
		if r, ok := asRefusal(err); ok && r.Status == http.StatusUnauthorized {
			return forbidden(r.Code, "%s", r.Message) // signed in they are
		}
	}
	return err
}

// newRecoveryCodes makes codes of 50 bits, which is plenty for what is tried 20 times an hour at most.
func newRecoveryCodes() (codes []policy.Token, digests []policy.Digest, err error) {
	for range recoveryCodes {
		var b [10]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, nil, fmt.Errorf("making recovery codes: %w", err)
		}
		text := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:10]
		text = text[:5] + "-" + text[5:]
		codes, digests = append(codes, policy.TokenFrom(text)), append(digests, recoveryDigest(text))
	}
	return codes, digests, nil
}

// recoveryDigest is the digest of a recovery code as people type it.
func recoveryDigest(code string) policy.Digest {
	code = strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(code))
	return policy.DigestOf("keystile recovery code " + code)
}

// HasTOTP says whether the member could show a code of an authenticator app.
func (s *Session) HasTOTP() bool { return s.Member.HasTOTP }
