package keystore

import (
	"context"
	"time"
)

// InUseWindow is how long after its last use an old key still counts as in use.
const InUseWindow = time.Hour

// EndRotationParams says how the overlap of a rotation is ended.
type EndRotationParams struct {
	Force      bool   // also if the old key is still in use
	IfRevision uint64 // the revision that the key must have; 0: whatever it is
}

// EndRotation ends the overlap of a rotation early: the old key, which id names, ends now. If it was used within
// [InUseWindow] that is refused with [CodeKeyInUse] unless it is forced. When it returns, no request that starts later is
// let in with the old key.
func (s *Store) EndRotation(ctx context.Context, by Actor, id string, p EndRotationParams) (*Key, error) {
	var now *Key
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.liveKey(id, p.IfRevision)
		if err != nil {
			return err
		}
		if err := c.checkEnding(old, p.Force); err != nil {
			return err
		}
		next := *old
		c.end(&next)
		now = &next
		if err := c.putKey(now); err != nil {
			return err
		}
		return c.keyEvent(EventKeyRotationEnded, old, now)
	})
	return result(now, err)
}

func (c *change) checkEnding(k *Key, force bool) error {
	if k.Successor == "" {
		if before, ok := c.keyView().byID(k.Predecessor); ok && !before.Ended(c.now) {
			return &Error{Code: CodeNotRotating, Message: "key '" + k.ID + "' is the replacement; the key that is ending is '" + before.ID + "'"}
		}
		return &Error{Code: CodeNotRotating, Message: "key '" + k.ID + "' is not being replaced, there is no rotation to end"}
	}
	last := k.usage.last.Load()
	if force || last == nil || c.now.Sub(last.At) >= InUseWindow {
		return nil
	}
	return &Error{Code: CodeKeyInUse, Message: "key '" + k.ID + "' was used within the last hour, at " +
		last.At.Format(time.RFC3339) + "; whoever uses it would be refused: give force to end it all the same"}
}
