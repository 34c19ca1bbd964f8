package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystile/keystile/keystore"
)

// The SQLSTATEs that are told apart.
const (
	stateUniqueViolation   = "23505"
	stateReadOnly          = "25006"
	stateSerialization     = "40001"
	stateDeadlock          = "40P01"
	stateUndefinedTable    = "42P01"
	stateUndefinedFunction = "42883"
)

func state(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// lost says whether the transaction was undone because somebody else's came first.
func lost(err error) bool {
	s := state(err)
	return s == stateSerialization || s == stateDeadlock
}

// away says whether the error means that the server cannot be reached, or does not serve for now.
func away(err error) bool {
	if err == nil {
		return false
	}
	if s := state(err); s != "" {
		switch {
		case strings.HasPrefix(s, "08"), // connection exceptions
			strings.HasPrefix(s, "53"),               // out of disk, memory or connections
			s == "57P01", s == "57P02", s == "57P03", // shutting down, crashed, starting up
			s == "57P05", s == "25P03", s == "57014": // a session or statement that took too long
			return true
		}
		return false
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "closed pool")
}

// named says which store an error is about. What the driver says names user and database, and never a password.
func (s *Store) named(err error) error {
	switch {
	case err == nil, errors.Is(err, keystore.ErrStale), errors.Is(err, keystore.ErrAway): // that has its name already
		return err
	case away(err):
		return fmt.Errorf("the key store at %s: %w: %w", s.place, keystore.ErrAway, err)
	}
	return fmt.Errorf("the key store at %s: %w", s.place, err)
}
