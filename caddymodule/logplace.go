package caddymodule

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/archive"
	"github.com/keystile/keystile/requestlog/pglog"
)

// The kinds of request log that this version has. The words are those of the Caddyfile and of JSON.
const (
	requestLogArchive  = "archive"
	requestLogPostgres = "postgres"
)

// logPlace is where request records are. A DSN holds a password: it is no Stringer's business, and a place is printed by its
// name only.
type logPlace struct {
	dir string // absolute path of an archive, or of the journal before a database
	dsn string // address of a PostgreSQL database, "" for an archive
}

// String is the place for people.
func (p logPlace) String() string {
	if p.dsn != "" {
		return pglog.Place(p.dsn)
	}
	return p.dir
}

// GoString keeps the DSN out of what prints whole values.
func (p logPlace) GoString() string { return p.String() }

// open opens the store of the place.
func (p logPlace) open(t logTuning, logger *zap.Logger) (requestlog.Store, error) {
	if p.dsn == "" {
		store, err := archive.Open(archive.Options{Dir: p.dir, Retention: t.retention, MaxSize: t.maxSize, Logger: logger})
		if err != nil {
			return nil, err
		}
		return store, nil
	}
	store, err := pglog.Open(pglog.Options{DSN: p.dsn, Dir: p.dir, Retention: t.retention, MaxSize: t.maxSize, Logger: logger})
	if err != nil {
		return nil, err
	}
	return store, nil
}

// resolve finds out where request records are.
func (c *RequestLogConfig) resolve(repl *caddy.Replacer, data string) (p logPlace, err error) {
	switch c.Backend {
	case "", requestLogArchive:
		if c.DSN != "" || c.Journal != "" {
			return p, fmt.Errorf("dsn and journal are of a %q request log, and this one is %q", requestLogPostgres, requestLogArchive)
		}
		if p.dir, err = dataPath(repl, c.Dir, filepath.Join(data, "requests")); err != nil {
			return p, fmt.Errorf("dir: %w", err)
		}
		return p, nil
	case requestLogPostgres:
	default:
		return p, fmt.Errorf("unknown backend %q: this version has %q and %q", c.Backend, requestLogArchive, requestLogPostgres)
	}
	if c.Dir != "" {
		return p, fmt.Errorf("dir is of a %q request log, and this one is %q; its local directory is called journal", requestLogArchive, requestLogPostgres)
	}
	if c.DSN == "" {
		return p, errors.New("dsn: the address of the database is missing")
	}
	if p.dir, err = dataPath(repl, c.Journal, filepath.Join(data, "requests-postgres")); err != nil {
		return p, fmt.Errorf("journal: %w", err)
	}
	if p.dsn, err = repl.ReplaceOrErr(c.DSN, true, true); err != nil {
		return p, fmt.Errorf("dsn: %w", err)
	}
	p.dsn = strings.TrimSpace(p.dsn) // files end with a newline
	if err := pglog.Check(p.dsn); err != nil {
		return p, fmt.Errorf("dsn: %w", err)
	}
	return p, nil
}
