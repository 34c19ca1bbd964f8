package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore"
)

// named says which store an error is about. What the driver says names user and database, and never a password.
func (s *Store) named(err error) error {
	switch {
	case err == nil, errors.Is(err, keystore.ErrStale), errors.Is(err, keystore.ErrAway): // that has its name already
		return err
	case postgres.Away(err), errors.Is(err, context.Canceled) && s.down.Load(): // given up: see whileUp
		return fmt.Errorf("the key store at %s: %w: %w", s.place, keystore.ErrAway, err)
	}
	return fmt.Errorf("the key store at %s: %w", s.place, err)
}
