package postgres

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Limits of the connections, where the address says nothing.
const (
	connectTimeout = 3 * time.Second
	maxConnections = 8
)

// Parse reads the address of a database, as postgres://user:password@host:5432/database or as key=value pairs. It connects to
// nothing. No error holds anything of the address.
func Parse(dsn string) (*pgxpool.Config, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, errors.New("the address of the database is empty")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// Not err: the driver quotes what it could not read, and leaves out the password only where it found one.
		return nil, errors.New("the address of the database cannot be read: give it as postgres://user:password@host:5432/database, or as key=value pairs")
	}
	c := config.ConnConfig
	if misread(dsn, c) {
		return nil, errors.New("the address of the database cannot be read: in an address postgres://… a @ or / of the password is written %40 or %2F")
	}
	// No statement outlives its transaction: the next one may be on another connection behind a pooler.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	if c.ConnectTimeout == 0 || c.ConnectTimeout > time.Minute {
		c.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	c.DialFunc = dialer(unansweredTime).DialContext
	if len(servers(c)) > 1 && c.ValidateConnect == nil && !strings.Contains(dsn, "target_session_attrs") {
		// Of several servers the one that takes writes is meant, unless target_session_attrs says otherwise.
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if _, set := c.RuntimeParams["application_name"]; !set {
		c.RuntimeParams["application_name"] = "keystile"
	}
	return config, nil
}

// misread says whether a piece of a password seems to have become part of a name, which would be shown: an unescaped @ or / has cut
// the password short, or one address stands within another.
func misread(dsn string, c *pgx.ConnConfig) bool {
	for _, s := range servers(c) {
		if strings.Contains(s, "@") && !strings.HasPrefix(s, "/") {
			return true
		}
	}
	name := c.Database
	if strings.Contains(name, "://") || strings.Contains(name, "password=") {
		return true
	}
	isURL := strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
	return isURL && strings.Contains(name, "@") && strings.Contains(dsn, name) // a @ that belongs to the name is written %40
}

// Check says what is wrong with an address. It connects to nothing.
func Check(dsn string) error {
	_, err := Parse(dsn)
	return err
}

// Place is where an address points to, for people: without user and password.
func Place(dsn string) string {
	config, err := Parse(dsn)
	if err != nil {
		return "an unreadable address"
	}
	return PlaceOf(config)
}

// PlaceOf is [Place] of an address that was read.
func PlaceOf(config *pgxpool.Config) string {
	return fmt.Sprintf("postgres %s/%s", strings.Join(servers(config.ConnConfig), ","), config.ConnConfig.Database)
}

// servers are those that an address names, in its order. The driver tries one twice where it may be with TLS or without.
func servers(c *pgx.ConnConfig) []string {
	server := func(host string, port uint16) string {
		if strings.HasPrefix(host, "/") {
			return host
		}
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	all := []string{server(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if s := server(f.Host, f.Port); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
