package caddymodule

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/pgstore"
)

// The limits of max_staleness. Less than a second is less than a node needs to ask the database four times.
const (
	minStaleness = time.Second
	maxStaleness = 24 * time.Hour
)

// storePlace is where a key store is. Exactly one field is set. A DSN holds a password: it is no Stringer's business, and
// a place is printed by its name only.
type storePlace struct {
	file string // absolute path of a bolt file
	dsn  string // address of a PostgreSQL database
}

// String is the place for people.
func (p storePlace) String() string {
	if p.dsn != "" {
		return pgstore.Place(p.dsn)
	}
	return p.file
}

// GoString keeps the DSN out of what prints whole values.
func (p storePlace) GoString() string { return p.String() }

// key names the place in the pool.
func (p storePlace) key() string {
	if p.dsn != "" {
		sum := sha256.Sum256([]byte(p.dsn))
		return "postgres " + hex.EncodeToString(sum[:])
	}
	return p.file
}

// shared says whether other processes use the store too.
func (p storePlace) shared() bool { return p.dsn != "" }

// node names this process to the others. Hosts may have the same name, and several processes one host.
func (p storePlace) node() string {
	if !p.shared() {
		return nodeName()
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return nodeName() + "-" + hex.EncodeToString(b[:])
}

// copyFile is where the last state of a shared store is kept, for a start without the database.
func (p storePlace) copyFile() string {
	if !p.shared() {
		return ""
	}
	sum := sha256.Sum256([]byte(p.String()))
	return filepath.Join(caddy.AppDataDir(), "keystile", "copy-"+hex.EncodeToString(sum[:6])+".keys")
}

// open opens the backend.
func (p storePlace) open() (keystore.Backend, error) {
	if p.shared() {
		// not the config's context: the store outlives it
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		backend, err := pgstore.Open(ctx, p.dsn)
		if err != nil {
			return nil, err
		}
		return backend, nil
	}
	backend, err := boltstore.Open(p.file, boltstore.Options{})
	if err != nil {
		return nil, err
	}
	return backend, nil
}

// probe says what would stop the store from being opened, without opening, connecting to, locking or creating anything.
func (p storePlace) probe() error {
	if p.shared() {
		return pgstore.Check(p.dsn)
	}
	return boltstore.Probe(p.file)
}

// resolveStore finds out where the store is.
func (a *App) resolveStore(repl *caddy.Replacer, data string) (storePlace, error) {
	store := StoreConfig{}
	if a.Store != nil {
		store = *a.Store
	}
	switch store.Backend {
	case "", storeBolt:
		if store.DSN != "" {
			return storePlace{}, fmt.Errorf("store: dsn is of a %q store, and this one is %q", storePostgres, storeBolt)
		}
		path, err := dataPath(repl, store.Path, filepath.Join(data, "keys.db"))
		if err != nil {
			return storePlace{}, fmt.Errorf("store: path: %w", err)
		}
		return storePlace{file: path}, nil
	case storePostgres:
		if store.Path != "" {
			return storePlace{}, fmt.Errorf("store: path is of a %q store, and this one is %q", storeBolt, storePostgres)
		}
		if store.DSN == "" {
			return storePlace{}, errors.New("store: dsn: the address of the database is missing")
		}
		dsn, err := repl.ReplaceOrErr(store.DSN, true, true)
		if err != nil {
			return storePlace{}, fmt.Errorf("store: dsn: %w", err)
		}
		if err := pgstore.Check(dsn); err != nil {
			return storePlace{}, fmt.Errorf("store: dsn: %w", err)
		}
		return storePlace{dsn: dsn}, nil
	}
	return storePlace{}, fmt.Errorf("store: unknown backend %q: this version has %q and %q", store.Backend, storeBolt, storePostgres)
}

// resolveStaleness checks max_staleness and fills its default in.
func (a *App) resolveStaleness() (time.Duration, error) {
	d := time.Duration(a.MaxStaleness)
	if d == 0 {
		return keystore.DefaultMaxStaleness, nil
	}
	if d < minStaleness || d > maxStaleness {
		return 0, fmt.Errorf("max_staleness: %s is not from %s to %s", d, minStaleness, maxStaleness)
	}
	return d, nil
}
