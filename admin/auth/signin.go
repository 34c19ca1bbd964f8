package auth

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// SignIn is what somebody shows who wants to sign in. Code or RecoveryCode is needed from a member with an authenticator app.
type SignIn struct {
	Email        string
	Password     policy.Token
	Code         policy.Token // of the authenticator app
	RecoveryCode policy.Token
}

// codesAnHour is how many codes of an app a member may show in an hour to sign in, right or wrong ones.
const codesAnHour = 20

// SignIn signs a member in: the session and its cookie. An unknown member, a wrong password and a member without a password
// get the same answer after the same work. The error is a *[Refusal], or one of the store.
func (a *Sessions) SignIn(r *http.Request, in SignIn) (*Session, *http.Cookie, error) {
	ctx, now := r.Context(), a.Now()
	if err := a.cutOff(now); err != nil {
		return nil, nil, err
	}
	email := keystore.NormalEmail(in.Email)
	m, known := a.Store.Snapshot().MemberByEmail(email)
	name := email
	// Others' guesses must not lock a member out of the browser or the place where they use to sign in.
	device := ""
	if known {
		device = a.deviceOf(r, m)
	}
	switch {
	case !known:
	case device != "":
		name += " with " + device
	case a.cameFrom(m.ID, ClientFrom(ctx)):
		name += " at " + addressName(ClientFrom(ctx))
	}
	tried, err := a.try(ctx, name, now)
	if err != nil {
		return nil, nil, err
	}
	defer tried()
	creds := new(keystore.Credentials)
	if known && m.Active {
		if creds, err = a.Store.MemberCredentials(m); err != nil {
			return nil, nil, err
		}
	}
	match, old, err := a.hasher.matches(ctx, creds.Password, in.Password)
	if err != nil {
		return nil, nil, err
	}
	if !match {
		a.failed(ctx, name, now)
		return nil, nil, &Refusal{
			Status: http.StatusUnauthorized, Code: CodeCredentials,
			Message: "the e-mail address or the password is wrong",
		}
	}
	method := keystore.SignInPassword
	if m.HasTOTP {
		if method, err = a.secondFactor(ctx, m, creds, in, now); err != nil {
			if refusal, ok := asRefusal(err); ok && refusal.Code == CodeTOTP {
				a.failed(ctx, name, now)
			}
			return nil, nil, err
		}
	}
	a.members.clear(name)
	if old {
		a.rehash(ctx, m, creds.Password, in.Password)
	}
	return a.start(r, m, method)
}

// cameFrom says whether a member has a session that began at the client's address.
func (a *Sessions) cameFrom(member string, c Client) bool {
	if !c.Address.IsValid() {
		return false
	}
	address := c.Address.String()
	return slices.ContainsFunc(a.Live(member), func(row *keystore.Session) bool { return row.Address == address })
}

// addressName is what shares a count of failed sign-ins: an IPv4 address, an IPv6 /64, since one host has a whole /64.
func addressName(c Client) string {
	address := c.Address.Unmap().WithZone("")
	if address.Is6() {
		if p, err := address.Prefix(64); err == nil {
			return p.String()
		}
	}
	return address.String() // all unknown clients share one
}

// lockedOut refuses a client address and an e-mail address (name, "" for none) that have failed too often. It asks nothing about members: the answer
// for one who is not there is the same.
func (a *Sessions) lockedOut(ctx context.Context, name string, now time.Time) error {
	wait := a.addresses.locked(addressName(ClientFrom(ctx)), now)
	if name != "" {
		wait = max(wait, a.members.locked(name, now))
	}
	if wait == 0 {
		return nil
	}
	return tooMany(wait)
}

func tooMany(wait time.Duration) *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, Code: CodeLocked, RetryAfter: wait, Message: "too many failed tries: wait a while, then try again"}
}

// try counts a try of a client address and an e-mail address before it is looked at: a look takes long, and many at the same
// time must not get through before the first of them has failed. done is to be called after the look.
func (a *Sessions) try(ctx context.Context, name string, now time.Time) (done func(), err error) {
	address := addressName(ClientFrom(ctx))
	if wait := a.addresses.begin(address, now); wait > 0 {
		return nil, tooMany(wait)
	}
	if wait := a.members.begin(name, now); wait > 0 {
		a.addresses.end(address)
		return nil, tooMany(wait)
	}
	return func() {
		a.addresses.end(address)
		a.members.end(name)
	}, nil
}

func (a *Sessions) failed(ctx context.Context, name string, now time.Time) {
	client := ClientFrom(ctx)
	if a.addresses.fail(addressName(client), now) {
		a.Logger.Warn("locked an address out of signing in: too many failed tries", zap.Stringer("address", client.Address))
	}
	if name != "" && a.members.fail(name, now) {
		a.Logger.Warn("locked a member's address out of signing in: too many failed tries", zap.Stringer("address", client.Address))
	}
}

// secondFactor takes the code of an authenticator app, or a recovery code in its place.
func (a *Sessions) secondFactor(ctx context.Context, m *keystore.Member, creds *keystore.Credentials, in SignIn, now time.Time) (string, error) {
	if in.Code.IsZero() && in.RecoveryCode.IsZero() {
		return "", &Refusal{
			Status: http.StatusUnauthorized, Code: CodeTOTPRequired, Param: "code",
			Message: "give the six digits that your authenticator app shows, or a recovery code",
		}
	}
	within, err := a.Store.Count(ctx, "codes at sign-in of "+m.ID, codesAnHour, now.Add(time.Hour))
	if err != nil {
		return "", err
	}
	if !within {
		return "", &Refusal{Status: http.StatusTooManyRequests, Code: CodeLocked, RetryAfter: time.Hour, Message: "too many codes were tried: wait an hour, then try again"}
	}
	if !in.RecoveryCode.IsZero() {
		actor := keystore.Actor{Kind: "member", ID: m.ID, Name: m.Name}
		if address := ClientFrom(ctx).Address; address.IsValid() {
			actor.Address = address.String()
		}
		err := a.Store.UseRecoveryCode(ctx, actor, m.ID, recoveryDigest(in.RecoveryCode.Reveal()))
		if keystore.CodeOf(err) == keystore.CodeInvalid {
			return "", wrongCode("recovery_code")
		}
		return keystore.SignInRecovery, err
	}
	ok, err := a.checkTOTP(ctx, m.ID, creds.TOTP, in.Code.Reveal())
	if err != nil {
		return "", err
	}
	if !ok {
		return "", wrongCode("code")
	}
	return keystore.SignInTOTP, nil
}

func wrongCode(param string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: CodeTOTP, Param: param, Message: "the code is wrong, or was used already"}
}

// rehash keeps the password that was just shown under the cost of this version. If it fails, the next sign-in tries again.
func (a *Sessions) rehash(ctx context.Context, m *keystore.Member, was, password policy.Token) {
	hash, err := a.hasher.hash(ctx, password)
	if err == nil {
		err = a.Store.RehashPassword(context.WithoutCancel(ctx), keystore.Actor{Kind: "system", Name: "sign-in"}, m.ID, was, hash)
	}
	if err != nil {
		a.Logger.Warn("raising the cost of a password's hash", zap.String("member", m.ID), zap.Error(err))
	}
}

// Accept is what somebody says who accepts an invitation.
type Accept struct {
	Invitation policy.Token
	Name       string // "": as the invitation has it
	Email      string // only where the invitation has none
	Password   policy.Token
}

// Accept makes an invited person a member, and signs them in.
func (a *Sessions) Accept(r *http.Request, in Accept) (*Session, *http.Cookie, error) {
	ctx, now := r.Context(), a.Now()
	if err := a.cutOff(now); err != nil {
		return nil, nil, err
	}
	if err := a.lockedOut(ctx, "", now); err != nil {
		return nil, nil, err
	}
	digest := in.Invitation.Digest()
	m, ok := a.Store.Snapshot().MemberByInvitation(&digest)
	if !ok || !m.Invited(now) {
		a.failed(ctx, "", now)
		return nil, nil, &Refusal{
			Status: http.StatusNotFound, Code: CodeInvitation, Param: "invitation",
			Message: "the invitation has expired, was used already, or never was: ask for a new one",
		}
	}
	email := m.Email
	if email == "" {
		email = in.Email
	}
	if err := checkPassword(in.Password.Reveal(), email); err != nil {
		return nil, nil, err
	}
	hash, err := a.hasher.hash(ctx, in.Password)
	if err != nil {
		return nil, nil, err
	}
	actor := keystore.Actor{Kind: "member"}
	if address := ClientFrom(ctx).Address; address.IsValid() {
		actor.Address = address.String()
	}
	m, err = a.Store.AcceptInvitation(context.WithoutCancel(ctx), actor, &digest, keystore.Acceptance{Name: in.Name, Email: in.Email, Password: hash})
	if err != nil {
		return nil, nil, err
	}
	return a.start(r, m, keystore.SignInInvitation)
}

// recently is how fresh a sign-in must be that stands in for a password.
const recently = 10 * time.Minute

// confirm asks a signed-in member for the password once more, before something that a stolen session must not do.
func (a *Sessions) confirm(ctx context.Context, s *Session, password policy.Token) (*keystore.Credentials, error) {
	now := a.Now()
	name := "session of " + s.Member.ID
	if wait := a.members.begin(name, now); wait > 0 {
		return nil, &Refusal{Status: http.StatusTooManyRequests, Code: CodeLocked, RetryAfter: wait, Message: "too many wrong passwords: wait a while, then try again"}
	}
	defer a.members.end(name)
	creds, err := a.Store.MemberCredentials(s.Member)
	if err != nil {
		return nil, err
	}
	if creds.Password.IsZero() {
		// Of a member who signs in elsewhere only: there is nothing to ask for but that they do so again.
		if now.Sub(s.Row.CreatedAt) > recently {
			return nil, forbidden(CodeSignInAgain, "sign in again, and then repeat this within %v", recently)
		}
		return creds, nil
	}
	match, _, err := a.hasher.matches(ctx, creds.Password, password)
	if err != nil {
		return nil, err
	}
	if !match {
		a.members.fail(name, now)
		return nil, &Refusal{Status: http.StatusForbidden, Code: CodeCredentials, Param: "current_password", Message: "the current password is wrong"}
	}
	return creds, nil
}

// SetPassword changes the password of a signed-in member. Their other sessions end.
func (a *Sessions) SetPassword(ctx context.Context, s *Session, current, password policy.Token) error {
	creds, err := a.confirm(ctx, s, current)
	if err != nil {
		return err
	}
	if creds.Password.IsZero() {
		return forbidden(CodeCredentials, "you sign in elsewhere and have no password here: ask for an invitation to get one")
	}
	if err := checkPassword(password.Reveal(), s.Member.Email); err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	if err := a.Store.SetPassword(context.WithoutCancel(ctx), s.Actor(), s.Member.ID, hash, s.Row.ID); err != nil {
		return fmt.Errorf("changing a password: %w", err)
	}
	return nil
}
