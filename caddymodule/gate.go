package caddymodule

import (
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// headerNames are the names of the headers that the gateway reads and writes. All are in canonical form.
type headerNames struct {
	// prefix starts every identity header, "Keystile-". It ends in a dash.
	prefix string
	// context names the header with the path of the account to act on, "Stripe-Context".
	context string
	// account names the one-hop form of it, "Stripe-Account".
	account string
	// version names the header with the API version, "Stripe-Version".
	version string
}

// settings are what the app's configuration says to a handler. They are known, complete and constant as soon as the app
// is provisioned; nothing in them needs the store to be open.
type settings struct {
	// catalog is never nil: without rules it knows no route.
	catalog *policy.Catalog
	headers headerNames
	version policy.VersionRule
	// node names this process in request records.
	node   string
	logger *zap.Logger
	now    func() time.Time
	// rates are the limits of accounts without limits of their own.
	rates   keystore.RateLimit
	limiter *limiter // lives in the pool, as what follows
	// throttle, resets, lockout and metrics outlive a config load: they live in the pool.
	throttle *throttle
	resets   *throttle // of requests that are given up
	lockout  *throttle // of the admin site
	metrics  *metrics
	members  memberSettings
}

// gate is what a handler needs of the app to judge a request: immutable for one config load. What it points to (store,
// log, throttle, metrics) may outlive it.
type gate struct {
	settings
	store *keystore.Store
	log   *requestlog.Log
}
