package keystore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/keystile/keystile/policy"
)

// The prefixes of the secrets of members.
const (
	sessionTokenPrefix    = "kss_"
	invitationTokenPrefix = "inv_"
)

// Credentials are what a member proves themselves with. They print as masks.
type Credentials struct {
	Password policy.Token    // the hash, in the form of its parameters; zero: none
	TOTP     policy.Token    // the shared secret in base32; zero: none
	Recovery []policy.Digest // of the recovery codes that are left
}

// sealedCredentials is what is sealed of them.
type sealedCredentials struct {
	Password string          `json:"password,omitempty"`
	TOTP     string          `json:"totp,omitempty"`
	Recovery []policy.Digest `json:"recovery,omitempty"`
}

// MemberCredentials opens what a member signs in with.
func (s *Store) MemberCredentials(m *Member) (*Credentials, error) {
	out := new(Credentials)
	if m.sealed == "" {
		return out, nil
	}
	plain, err := s.seal.Decrypt([]byte(m.sealed), credentialsFor(m.ID))
	if err != nil {
		return nil, fmt.Errorf("opening the credentials of %s: %w", m.ID, err)
	}
	var in sealedCredentials
	if err := json.Unmarshal(plain, &in); err != nil {
		return nil, fmt.Errorf("opening the credentials of %s: they are damaged", m.ID)
	}
	out.Password, out.TOTP, out.Recovery = policy.TokenFrom(in.Password), policy.TokenFrom(in.TOTP), in.Recovery
	return out, nil
}

// seals seals credentials into a member that is being made.
func (m *Member) seals(s *Store, c *Credentials) error {
	m.HasPassword, m.HasTOTP, m.Recovery = !c.Password.IsZero(), !c.TOTP.IsZero(), len(c.Recovery)
	m.sealed = ""
	if !m.HasPassword && !m.HasTOTP && m.Recovery == 0 {
		return nil
	}
	plain, err := json.Marshal(sealedCredentials{Password: c.Password.Reveal(), TOTP: c.TOTP.Reveal(), Recovery: c.Recovery})
	if err != nil {
		return fmt.Errorf("encoding the credentials of %s: %w", m.ID, err)
	}
	sealed, err := s.seal.Encrypt(plain, credentialsFor(m.ID))
	if err != nil {
		return fmt.Errorf("sealing the credentials of %s: %w", m.ID, err)
	}
	m.sealed = string(sealed)
	return nil
}

// newSecret is a prefix and 43 random characters, 256 bits.
func newSecret(random io.Reader, prefix string) (policy.Token, error) {
	secret := []byte(prefix)
	var buf [64]byte
	for len(secret) < len(prefix)+43 {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return policy.Token{}, fmt.Errorf("making a secret: %w", err)
		}
		for _, b := range buf {
			// 248 is the greatest multiple of 62 that a byte holds: the rest would favour some characters
			if b < 248 && len(secret) < len(prefix)+43 {
				secret = append(secret, base62[b%62])
			}
		}
	}
	return policy.TokenFrom(string(secret)), nil
}

// SetPassword gives a member the hash of a new password, and ends their sessions but the one named.
func (s *Store) SetPassword(ctx context.Context, by Actor, id string, hash policy.Token, except string) error {
	return s.changeCredentials(ctx, by, id, EventMemberPasswordChanged, func(c *change, creds *Credentials) error {
		creds.Password = hash
		_, err := c.endSessions(id, except)
		return err
	})
}

// RehashPassword keeps the same password under a new hash. was is the one that it replaces: another change comes first.
func (s *Store) RehashPassword(ctx context.Context, by Actor, id string, was, hash policy.Token) error {
	return s.changeCredentials(ctx, by, id, EventMemberPasswordRehashed, func(_ *change, creds *Credentials) error {
		if creds.Password.Digest() != was.Digest() {
			return conflict("", "the password has changed meanwhile")
		}
		creds.Password = hash
		return nil
	})
}

// EnrollTOTP gives a member an authenticator app, by its secret in base32, and recovery codes, by their digests. Sessions
// other than the one named end: whoever signed in without the app is to come again.
func (s *Store) EnrollTOTP(ctx context.Context, by Actor, id string, secret policy.Token, recovery []policy.Digest, except string) error {
	return s.changeCredentials(ctx, by, id, EventMemberTOTPEnrolled, func(c *change, creds *Credentials) error {
		creds.TOTP, creds.Recovery = secret, recovery
		_, err := c.endSessions(id, except)
		return err
	})
}

// RemoveTOTP takes the authenticator app and the recovery codes away. Sessions other than the one named end: whoever holds
// one is to show what counts from now on.
func (s *Store) RemoveTOTP(ctx context.Context, by Actor, id, except string) error {
	return s.changeCredentials(ctx, by, id, EventMemberTOTPRemoved, func(c *change, creds *Credentials) error {
		creds.TOTP, creds.Recovery = policy.Token{}, nil
		_, err := c.endSessions(id, except)
		return err
	})
}

// SetRecoveryCodes replaces a member's recovery codes.
func (s *Store) SetRecoveryCodes(ctx context.Context, by Actor, id string, recovery []policy.Digest) error {
	return s.changeCredentials(ctx, by, id, EventMemberRecoveryCodesMade, func(_ *change, creds *Credentials) error {
		if creds.TOTP.IsZero() {
			return conflict("", "recovery codes stand in for an authenticator app: enrol one first")
		}
		creds.Recovery = recovery
		return nil
	})
}

// UseRecoveryCode uses a recovery code up. It is an error if the member has no such code, or has none any more.
func (s *Store) UseRecoveryCode(ctx context.Context, by Actor, id string, code policy.Digest) error {
	return s.changeCredentials(ctx, by, id, EventMemberRecoveryCodeUsed, func(_ *change, creds *Credentials) error {
		i := slices.Index(creds.Recovery, code)
		if i < 0 {
			return invalid("recovery_code", "this is none of the recovery codes that are left")
		}
		creds.Recovery = slices.Delete(slices.Clone(creds.Recovery), i, i+1)
		return nil
	})
}

func (s *Store) changeCredentials(ctx context.Context, by Actor, id string, t EventType, edit func(*change, *Credentials) error) error {
	return s.write(ctx, by, func(c *change) error {
		old, err := c.member(id)
		if err != nil {
			return err
		}
		creds, err := s.MemberCredentials(old)
		if err != nil {
			return err
		}
		if err := edit(c, creds); err != nil {
			return err
		}
		next := *old
		if err := next.seals(s, creds); err != nil {
			return err
		}
		if err := c.putMember(&next); err != nil {
			return err
		}
		return c.memberEvent(t, next.ID, &next, old.summary(), next.summary())
	})
}

// NoteFailedVerification writes down that somebody has spent all tries of a verification code.
func (s *Store) NoteFailedVerification(ctx context.Context, by Actor, id, operation, object string) error {
	return s.write(ctx, by, func(c *change) error {
		m, err := c.member(id)
		if err != nil {
			return err
		}
		after := map[string]any{"operation": operation}
		putText(after, "object", object)
		return c.memberEvent(EventMemberVerificationFailed, m.ID, m, nil, after)
	})
}
