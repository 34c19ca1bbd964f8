package keystore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A lease lets one of the nodes that share a backend do what has to be done once. It saves work and quarrels, and nothing
// is unsafe without it: what the scheduler does is checked again in its transaction. So a clock that is wrong can make two
// nodes believe that they have it, and no key is rotated twice.

// The names of leases, as the backend keeps them.
const (
	schedulerLease = "scheduler_lease"
	webhookLease   = "webhook_lease"
)

// leaseTime is how long a lease holds. A node that dies with it keeps the others waiting that long.
const leaseTime = 30 * time.Second

var errLeaseHeld = errors.New("another node runs what is due")

type lease struct{ name, holder string }

// leaseValue is the lease as the backend keeps it.
type leaseValue struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

// newLeaseHolder names this process: a node that was started anew is another one.
func newLeaseHolder(node string) (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return node + " " + hex.EncodeToString(b[:]), nil
}

// take takes the lease, or makes ours last longer. It answers errLeaseHeld if somebody else has it.
func (l *lease) take(ctx context.Context, b Backend, now time.Time) error {
	old, err := b.Meta(ctx, l.name)
	if err != nil {
		return fmt.Errorf("reading the %s: %w", l.name, err)
	}
	var is leaseValue
	if len(old) > 0 && json.Unmarshal(old, &is) != nil {
		is = leaseValue{} // nobody can hold what nobody can read
	}
	left := is.Until.Sub(now)
	switch {
	case is.Holder == l.holder && left > leaseTime/2 && left <= leaseTime:
		return nil
	case is.Holder != l.holder && left > 0 && left <= 2*leaseTime: // one that lasts longer was given by a wrong clock
		return errLeaseHeld
	}
	return l.swap(ctx, b, old, leaseValue{Holder: l.holder, Until: now.Add(leaseTime).UTC()})
}

// release gives the lease back if it is ours, so that nobody has to wait for its end.
func (l *lease) release(ctx context.Context, b Backend) error {
	old, err := b.Meta(ctx, l.name)
	if err != nil {
		return fmt.Errorf("reading the %s: %w", l.name, err)
	}
	var is leaseValue
	if json.Unmarshal(old, &is) != nil || is.Holder != l.holder {
		return nil //nolint:nilerr // what cannot be read is not ours to give back
	}
	err = l.swap(ctx, b, old, leaseValue{})
	if errors.Is(err, errLeaseHeld) {
		return nil // it had ended, and somebody was faster
	}
	return err
}

func (l *lease) swap(ctx context.Context, b Backend, old []byte, value leaseValue) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding the %s: %w", l.name, err)
	}
	swapped, err := b.SwapMeta(ctx, l.name, old, body)
	switch {
	case err != nil:
		return fmt.Errorf("writing the %s: %w", l.name, err)
	case !swapped:
		return errLeaseHeld
	}
	return nil
}
