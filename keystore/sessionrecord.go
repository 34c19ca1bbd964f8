package keystore

import (
	"errors"

	"github.com/keystile/keystile/policy"
)

// The numbers of a session's fields. They are stored.
const (
	sessionID = iota + 1
	sessionMethod
	sessionAddress
	sessionUserAgent
	sessionCreatedAt
	sessionRevision

	sessionMember    = criticalField
	sessionDigest    = criticalField + 1
	sessionExpiresAt = criticalField + 2
)

func (s *Session) encode() []byte {
	e := newEncoder(256)
	e.string(sessionID, s.ID)
	e.string(sessionMethod, s.Method)
	e.string(sessionAddress, s.Address)
	e.string(sessionUserAgent, s.UserAgent)
	e.time(sessionCreatedAt, s.CreatedAt)
	e.uint(sessionRevision, s.Revision)
	e.string(sessionMember, s.Member)
	e.bytes(sessionDigest, s.Digest[:])
	e.time(sessionExpiresAt, s.ExpiresAt)
	return e.finish()
}

func decodeSession(id string, data []byte) (*Session, error) {
	s := &Session{seen: new(seenCell)}
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case sessionID:
			s.ID = string(value)
		case sessionMethod:
			s.Method = string(value)
		case sessionAddress:
			s.Address = string(value)
		case sessionUserAgent:
			s.UserAgent = string(value)
		case sessionCreatedAt:
			s.CreatedAt, err = decodeTime(value)
		case sessionRevision:
			s.Revision, err = decodeUint(value)
		case sessionMember:
			s.Member = string(value)
		case sessionDigest:
			err = decodeDigest(&s.Digest, value)
		case sessionExpiresAt:
			s.ExpiresAt, err = decodeTime(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixSession, id, s.ID)
	}
	if err == nil && (s.Member == "" || s.Digest == policy.Digest{} || s.ExpiresAt.IsZero()) {
		err = errors.New("the session has no member, no digest or no end") // fail closed
	}
	return s, err
}
