package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

const (
	// VerificationLifetime is how long a code is good.
	VerificationLifetime = 10 * time.Minute
	// VerificationTries is how many codes may be tried for one verification.
	VerificationTries = 5

	// VerificationHeader carries a verification with the call that it is for.
	VerificationHeader = "Keystile-Verification"
	// VerificationCodeHeader carries its code.
	VerificationCodeHeader = "Keystile-Verification-Code"

	// How many verifications a member may ask for: each is a message. Who goes through twenty keys one by one, as after a leak,
	// is not held up; a mailbox is not flooded.
	verificationsAtOnce = 20 // in the lifetime of one
	verificationsADay   = 100
	// verificationTriesADay is how many codes a member may try in a day, right ones too: 150 guesses at a million codes.
	verificationTriesADay = 150
)

// MethodTOTP is the method of a verification by the member's authenticator app. The other methods are those of senders.
const MethodTOTP = "totp"

// MethodEmail is the method of senders whose codes reach the member's e-mail address and nobody else: who shows such a code
// has shown that the address is theirs.
const MethodEmail = "email"

// CodeSender sends codes to members. It is safe for concurrent use.
type CodeSender interface {
	// Method is the word for how it sends: email, http, log.
	Method() string
	// SendCode sends one code. When it returns without an error, the message is on its way.
	SendCode(ctx context.Context, m *CodeMessage) error
}

// CodeMessage is one code for a member.
type CodeMessage struct {
	Verification string // ver_…
	Member       string // mem_…
	Name, Email  string
	Code         policy.Token // six digits
	Action       string       // what it is for, in words
	Operation    string
	Object       string // id of what it is done to, "" for something new
	Address      string // from where it was asked for, "" if that is not known
	ExpiresAt    time.Time
}

// Action is what a verification is for. A code that was asked for one does nothing for another.
type Action struct {
	Operation string // id of the call
	Object    string // id of what it is done to, "" for something new
	Title     string // for people; not part of what the code is bound to
	Content   []byte // what the call says, in a form that depends on its meaning only
}

// digest is the action in 32 bytes. Each part has its length before it, so that no two actions look alike.
func (a *Action) digest() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(a.Operation), []byte(a.Object), a.Content} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Verifier asks signed-in members for a code before they do what a stolen session must not do. One lives as long as a
// configuration; what it has sent is in the store.
type Verifier struct {
	sessions *Sessions
	sender   CodeSender
}

// NewVerifier makes a Verifier. A nil sender sends nothing: members then show the codes of their authenticator apps.
func NewVerifier(sessions *Sessions, sender CodeSender) *Verifier {
	return &Verifier{sessions: sessions, sender: sender}
}

// Verification is a code that is awaited.
type Verification struct {
	ID        string
	Method    string
	SentTo    string // the address, so far that its owner knows it; "" if nothing was sent
	ExpiresAt time.Time
}

// verificationRecord is what is kept of a verification, sealed.
type verificationRecord struct {
	Member, Session string
	Action          [sha256.Size]byte
	Method          string
	Email           string        // that the code was sent to
	Code            policy.Digest // of the verification and its code; not used for an authenticator app
}

func verificationName(id string) string { return "verification " + id }

func codeDigest(id, code string) policy.Digest { return policy.DigestOf(id + " " + code) }

// Begin asks for a code for an action. method is MethodTOTP, or "" for the one that is set up.
func (v *Verifier) Begin(ctx context.Context, s *Session, a *Action, method string) (*Verification, error) {
	switch {
	case method == "" && v.sender != nil:
		method = v.sender.Method()
	case method == "":
		method = MethodTOTP
	case method != MethodTOTP:
		return nil, forbidden(CodeVerificationUnavailable, "codes are not sent in this way here")
	}
	if method == MethodTOTP && !s.Member.HasTOTP {
		return nil, noVerification(v.sender != nil)
	}
	store, now := v.sessions.Store, v.sessions.Now()
	for _, limit := range []struct {
		name string
		most uint32
		time time.Duration
	}{
		{"verifications now of ", verificationsAtOnce, VerificationLifetime},
		{"verifications today of ", verificationsADay, 24 * time.Hour},
	} {
		within, err := store.Count(ctx, limit.name+s.Member.ID, limit.most, now.Add(limit.time))
		if err != nil {
			return nil, err
		}
		if !within {
			return nil, &Refusal{Status: http.StatusTooManyRequests, Code: CodeLocked, RetryAfter: limit.time,
				Message: fmt.Sprintf("%d codes were asked for in %s: wait a while, then ask again", limit.most, hours(limit.time))}
		}
	}
	id, err := randomText("ver_", 20)
	if err != nil {
		return nil, err
	}
	out := &Verification{ID: id, Method: method, ExpiresAt: now.Add(VerificationLifetime)}
	record := verificationRecord{Member: s.Member.ID, Session: s.Row.ID, Action: a.digest(), Method: method, Email: s.Member.Email}
	var code policy.Token
	if method != MethodTOTP {
		n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
		if err != nil {
			return nil, fmt.Errorf("making a code: %w", err)
		}
		code = policy.TokenFrom(fmt.Sprintf("%06d", n.Int64()))
		record.Code = codeDigest(id, code.Reveal())
	}
	body, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encoding a verification: %w", err)
	}
	if err := store.KeepSecret(ctx, verificationName(id), out.ExpiresAt, body); err != nil {
		return nil, err
	}
	if code.IsZero() {
		return out, nil
	}
	out.SentTo = maskEmail(s.Member.Email)
	err = v.sender.SendCode(ctx, &CodeMessage{
		Verification: id, Member: s.Member.ID, Name: s.Member.Name, Email: s.Member.Email, Code: code, Action: a.Title,
		Operation: a.Operation, Object: a.Object, Address: s.Actor().Address, ExpiresAt: out.ExpiresAt,
	})
	if err != nil {
		v.sessions.Logger.Error("sending a verification code", zap.String("member", s.Member.ID), zap.String("method", method), zap.Error(err))
		return nil, &Refusal{Status: http.StatusServiceUnavailable, Code: CodeNotSent, Message: "the code could not be sent: try again, or use an authenticator app"}
	}
	return out, nil
}

// Check uses a verification up for an action of a session. An error that is a *[Refusal] says what was wrong with it; the
// action must not happen then, nor on any other error.
func (v *Verifier) Check(ctx context.Context, s *Session, a *Action, id string, code policy.Token) error {
	store := v.sessions.Store
	if !strings.HasPrefix(id, "ver_") || len(id) > 40 {
		return unknownVerification()
	}
	body, err := store.KeptSecret(ctx, verificationName(id))
	if err != nil {
		return err
	}
	var record verificationRecord
	if body == nil {
		return unknownVerification()
	}
	if err := json.Unmarshal(body, &record); err != nil {
		return fmt.Errorf("reading a verification: %w", err)
	}
	digest := a.digest()
	if record.Member != s.Member.ID || record.Session != s.Row.ID {
		return unknownVerification()
	}
	if subtle.ConstantTimeCompare(record.Action[:], digest[:]) != 1 {
		return forbidden(CodeVerificationMismatch, "the code was asked for another action, or for this one with other contents: ask for a new one")
	}
	// First the try is counted, on all nodes, and only then the code is looked at.
	within, err := store.Count(ctx, "tried codes today of "+s.Member.ID, verificationTriesADay, v.sessions.Now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	if !within {
		return &Refusal{Status: http.StatusTooManyRequests, Code: CodeLocked, RetryAfter: 24 * time.Hour,
			Message: fmt.Sprintf("%d codes were tried in a day: wait until tomorrow", verificationTriesADay)}
	}
	end := v.sessions.Now().Add(VerificationLifetime)
	if within, err := store.Count(ctx, "tries of "+id, VerificationTries, end); err != nil {
		return err
	} else if !within {
		return unknownVerification()
	}
	ok, err := v.right(ctx, s, &record, id, code)
	if err != nil {
		return err
	}
	if !ok {
		return v.wrong(ctx, s, a, id, end)
	}
	once, err := store.Count(ctx, "use of "+id, 1, end)
	if err != nil {
		return err
	}
	if !once {
		return unknownVerification()
	}
	ctx = context.WithoutCancel(ctx)
	// Who signed in by a provider may not know that there is a password, of somebody who came before them.
	if record.Method == MethodEmail && !s.Member.EmailProven && s.Row.Method != keystore.SignInOIDC {
		if err := store.ProveEmail(ctx, s.Actor(), s.Member.ID, record.Email, ""); err != nil {
			return err
		}
	}
	return store.DropSecret(ctx, verificationName(id))
}

// right says whether a code is the one of a verification.
func (v *Verifier) right(ctx context.Context, s *Session, record *verificationRecord, id string, code policy.Token) (bool, error) {
	if record.Method != MethodTOTP {
		given := codeDigest(id, strings.ReplaceAll(code.Reveal(), " ", ""))
		return subtle.ConstantTimeCompare(given[:], record.Code[:]) == 1, nil
	}
	creds, err := v.sessions.Store.MemberCredentials(s.Member)
	if err != nil {
		return false, err
	}
	return v.sessions.checkTOTP(ctx, s.Member.ID, creds.TOTP, code.Reveal())
}

// wrong answers a wrong code. The last one that may be wrong ends the verification, and is written down.
func (v *Verifier) wrong(ctx context.Context, s *Session, a *Action, id string, end time.Time) error {
	store := v.sessions.Store
	left, err := store.Count(ctx, "wrong codes of "+id, VerificationTries-1, end)
	if err != nil {
		return err
	}
	if left {
		return forbidden(CodeVerificationCode, "the code is wrong")
	}
	ctx = context.WithoutCancel(ctx)
	if err := store.DropSecret(ctx, verificationName(id)); err != nil {
		return err
	}
	if err := store.NoteFailedVerification(ctx, s.Actor(), s.Member.ID, a.Operation, a.Object); err != nil {
		return err
	}
	return forbidden(CodeVerificationCode, "the code is wrong, and was the last that could be tried: ask for a new one")
}

// hours is a limit's time in words.
func hours(d time.Duration) string {
	if d < time.Hour {
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

func unknownVerification() *Refusal {
	return forbidden(CodeVerificationOver, "the verification has expired, was used, or never was one of this session: ask for a new one")
}

// noVerification is the answer to who cannot be asked for a code.
func noVerification(sends bool) *Refusal {
	if sends {
		return forbidden(CodeVerificationUnavailable, "you have no authenticator app: let the code be sent to you")
	}
	return forbidden(CodeVerificationUnavailable, "this needs a verification code, and none can be sent: enrol an authenticator app (POST /v1/session/totp), "+
		"or let the operator set up `verification smtp` or `verification http`")
}

// maskEmail is an address so far that its owner knows it.
func maskEmail(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	if local == "" {
		return ""
	}
	return local[:1] + "…@" + domain
}

// randomText is a prefix and n random base62 characters.
func randomText(prefix string, n int) (string, error) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := []byte(prefix)
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(digits))))
		if err != nil {
			return "", fmt.Errorf("making an id: %w", err)
		}
		out = append(out, digits[i.Int64()])
	}
	return string(out), nil
}

// Guarded says whether a role is one that could do what a code is asked for: to hand it out is to get around the code.
func Guarded(role keystore.Role) bool { return role.Includes(keystore.RoleDeveloper) }
