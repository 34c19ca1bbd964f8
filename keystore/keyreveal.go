package keystore

import (
	"context"

	"github.com/keystile/keystile/policy"
)

// RevealKey gives a key's token: of a publishable key always, of a sandbox key any number of times, of a live key once and
// only if it is the account's default secret key or was made by a scheduled rotation. That one reveal destroys the sealed token in the same transaction that
// records it; of many at once exactly one succeeds.
func (s *Store) RevealKey(ctx context.Context, by Actor, id string) (*Key, policy.Token, error) {
	if k, ok := s.Snapshot().Key(id); ok && k.PublicToken != "" {
		return k, policy.TokenFrom(k.PublicToken), nil // public: nothing to record
	}
	var now *Key
	var token policy.Token
	err := s.write(ctx, by, func(c *change) error {
		k, err := c.liveKey(id, 0)
		if err != nil {
			return err
		}
		switch {
		case k.sealed != "":
		case k.revealed:
			return &Error{Code: CodeAlreadyRevealed, Message: "the key was revealed already, which a live key is only once; rotate it to get a new one"}
		default:
			return &Error{Code: CodeNotRevealable, Message: "the token was shown when the key was made and is not kept; rotate the key to get a new one"}
		}
		if token, err = s.seal.open(k); err != nil {
			return err
		}
		now = k
		if k.Mode == policy.ModeLive {
			next := *k
			next.sealed, next.revealed = "", true
			now = &next
			if err := c.putKey(now); err != nil {
				return err
			}
		}
		return c.keyEvent(EventKeyRevealed, k, now)
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return now, token, nil
}
