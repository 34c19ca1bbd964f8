package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/keystile/keystile/policy"
)

// Limits of passwords. The upper one keeps a sign-in from being work for nothing; the lower one stands in for a rule about
// what kinds of characters there must be, which makes passwords worse.
const (
	MinPassword = 12   // characters
	MaxPassword = 1024 // bytes
)

// The cost of a password: argon2id over 19 MiB, twice, as OWASP recommends at the least. It is stored with each hash, so that
// it can rise: a hash of another cost is made anew at the next sign-in.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// How many passwords are looked at at the same time, and how many more may wait for their turn. Whoever knocks on the door
// takes no more memory and no more processors than this.
const (
	hashesAtOnce = 2
	hashesQueued = 32
	hashWait     = 5 * time.Second
)

// hasher hashes passwords, few at a time.
type hasher struct {
	running chan struct{}
	queued  chan struct{}
	dummy   policy.Token // the hash of a password that nobody knows, for members who are not there
}

func newHasher() (*hasher, error) {
	h := &hasher{running: make(chan struct{}, hashesAtOnce), queued: make(chan struct{}, hashesAtOnce+hashesQueued)}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	var err error
	h.dummy, err = hashPassword(string(secret[:]))
	return h, err
}

// busy is the answer when more come than can be served.
func busy() *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, Code: CodeLocked, RetryAfter: hashWait, Message: "too many are signing in at this moment: try again"}
}

// enter waits for a turn.
func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.queued <- struct{}{}:
	default:
		return nil, busy()
	}
	wait := time.NewTimer(hashWait)
	defer wait.Stop()
	select {
	case h.running <- struct{}{}:
		return func() { <-h.running; <-h.queued }, nil
	case <-wait.C:
		err = busy()
	case <-ctx.Done():
		err = ctx.Err()
	}
	<-h.queued
	return nil, err
}

// hash makes the hash of a new password.
func (h *hasher) hash(ctx context.Context, password policy.Token) (policy.Token, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return policy.Token{}, err
	}
	defer leave()
	return hashPassword(password.Reveal())
}

// matches says whether the password is the one of a hash, and whether the hash should be made anew. No hash costs as much as
// one that does not match.
func (h *hasher) matches(ctx context.Context, hash, password policy.Token) (match, old bool, err error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	if hash.IsZero() || len(password.Reveal()) > MaxPassword {
		_, _, _ = matchesPassword(h.dummy.Reveal(), password.Reveal()[:min(len(password.Reveal()), MaxPassword)])
		return false, false, nil
	}
	return matchesPassword(hash.Reveal(), password.Reveal())
}

func hashPassword(password string) (policy.Token, error) {
	salt := make([]byte, argonSalt)
	if _, err := rand.Read(salt); err != nil {
		return policy.Token{}, fmt.Errorf("hashing a password: %w", err)
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	encode := base64.RawStdEncoding.EncodeToString
	return policy.TokenFrom(fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, argonMemory, argonTime, argonThreads, encode(salt), encode(key))), nil
}

var errHash = errors.New("the stored hash of a password cannot be read")

func matchesPassword(hash, password string) (match, old bool, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return false, false, errHash
	}
	var version, memory, passes, threads uint32
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, false, errHash
	}
	_, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads)
	// What a store says may not cost the process its memory.
	if err != nil || memory < 8 || memory > 1<<18 || passes < 1 || passes > 16 || threads < 1 || threads > 16 {
		return false, false, errHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(want) < 16 || len(want) > 64 {
		return false, false, errHash
	}
	key := argon2.IDKey([]byte(password), salt, passes, memory, uint8(threads), uint32(len(want)))
	match = subtle.ConstantTimeCompare(key, want) == 1
	return match, memory != argonMemory || passes != argonTime || threads != argonThreads || len(want) != argonKey, nil
}

// checkPassword says what is wrong with a new password of a member.
func checkPassword(password, email string) error {
	refuse := func(message string) error {
		return &Refusal{Status: http.StatusBadRequest, Code: CodePassword, Param: "password", Message: message}
	}
	distinct := make(map[rune]bool)
	for _, r := range password {
		distinct[r] = true
	}
	switch {
	case !utf8.ValidString(password) || utf8.RuneCountInString(password) < MinPassword:
		return refuse(fmt.Sprintf("a password has at least %d characters", MinPassword))
	case len(password) > MaxPassword:
		return refuse(fmt.Sprintf("a password has at most %d bytes", MaxPassword))
	case len(distinct) < 5:
		return refuse("a password of the same few characters is easily guessed: give another one")
	case email != "" && strings.Contains(strings.ToLower(password), strings.ToLower(email)):
		return refuse("a password that holds the e-mail address is easily guessed: give another one")
	}
	return nil
}
