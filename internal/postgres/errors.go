package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The SQLSTATEs that are told apart.
const (
	UniqueViolation      = "23505"
	CheckViolation       = "23514" // also: no partition for a row
	ReadOnly             = "25006"
	SerializationFailure = "40001"
	Deadlock             = "40P01"
	QueryCanceled        = "57014" // also: a statement that took too long
	LockNotAvailable     = "55P03"
	UndefinedTable       = "42P01"
	UndefinedFunction    = "42883"
)

// State is the SQLSTATE of an error that the server has answered, "" for any other.
func State(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// Lost says whether a transaction was undone because somebody else's came first. It can be tried again.
func Lost(err error) bool {
	s := State(err)
	return s == SerializationFailure || s == Deadlock
}

// Refused says whether the server has answered, and let nobody in. Mostly the address is wrong then, but whoever cannot sign in now
// may be able to later: the server's list of users is changed by somebody else.
func Refused(err error) bool {
	var connect *pgconn.ConnectError
	return State(err) != "" && errors.As(err, &connect)
}

// Away says whether an error means that the server cannot be reached, or does not serve for now.
func Away(err error) bool {
	if err == nil {
		return false
	}
	if s := State(err); s != "" {
		switch {
		case strings.HasPrefix(s, "08"), // connection exceptions
			strings.HasPrefix(s, "53"),               // out of disk, memory or connections
			s == "57P01", s == "57P02", s == "57P03", // shutting down, crashed, starting up
			s == "57P05", s == "25P03", s == QueryCanceled: // a session or statement that took too long
			return true
		}
		return false
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "closed pool")
}
