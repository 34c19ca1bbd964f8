package keystore

import (
	"context"
	"fmt"
	"time"
)

// claimTime is how long a claim holds that nobody gives back, by the database's clock: its node has died. It is longer than any
// call takes, an import of a file included.
const claimTime = 20 * time.Minute

// claimPrefix begins the ids of claims among the kept values.
const claimPrefix = "claim "

func claimID(caller, key string) string { return claimPrefix + answerID(caller, key) }

// ClaimAnswer says to the other nodes that a call with an idempotency key is under way here, and whether none of them said
// so before. Where there are no others it does nothing. Who claims must call [Store.ReleaseAnswer] once the answer is
// saved or given up.
func (s *Store) ClaimAnswer(ctx context.Context, caller, key string) (bool, error) {
	if s.shared == nil {
		return true, nil
	}
	claimed, err := s.shared.Claim(ctx, claimID(caller, key), []byte(s.node.id), claimTime)
	if err != nil {
		return false, fmt.Errorf("claiming an idempotency key: %w", err)
	}
	return claimed, nil
}

// ReleaseAnswer takes back what ClaimAnswer said, also if its caller has left. If it fails, the claim ends by itself.
func (s *Store) ReleaseAnswer(ctx context.Context, caller, key string) error {
	if s.shared == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.commitTime())
	defer cancel()
	if err := s.backend.Keep(ctx, nil, []string{claimID(caller, key)}); err != nil {
		return fmt.Errorf("releasing an idempotency key: %w", err)
	}
	return nil
}
