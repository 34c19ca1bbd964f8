package postgres

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Limits of the connections, where the address says nothing.
const (
	connectTimeout = 5 * time.Second
	maxConnections = 8
)

// Parse reads the address of a database, as postgres://user:password@host:5432/database or as key=value pairs. It connects to
// nothing.
func Parse(dsn string) (*pgxpool.Config, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, errors.New("the address of the database is empty")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// Not err: the driver quotes what it could not read, and leaves out the password only where it found one.
		return nil, errors.New("the address of the database cannot be read: give it as postgres://user:password@host:5432/database, or as key=value pairs")
	}
	// No statement outlives its transaction: the next one may be on another connection behind a pooler.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnConfig.ConnectTimeout == 0 || config.ConnConfig.ConnectTimeout > time.Minute {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	if _, set := config.ConnConfig.RuntimeParams["application_name"]; !set {
		config.ConnConfig.RuntimeParams["application_name"] = "keystile"
	}
	return config, nil
}

// Place is where a database is, for people: without user and password.
func Place(config *pgxpool.Config) string {
	c := config.ConnConfig
	address := c.Host
	if !strings.HasPrefix(c.Host, "/") {
		address = net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	}
	return fmt.Sprintf("postgres %s/%s", address, c.Database)
}
