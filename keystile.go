// Package keystile gives any HTTP API the key system that Stripe has for its own: secret, publishable, restricted and
// organization keys with modes, permissions, IP ranges, rotation and a log of every request. It is a Caddy module that
// stands in front of the backends.
//
// This package only registers the module and its commands, so that
//
//	xcaddy build --with github.com/keystile/keystile
//
// builds a Caddy with Keystile in it. cmd/keystile is the same as a ready-made program.
package keystile

import (
	_ "github.com/keystile/keystile/caddymodule"         // the app, the handler, the matcher, the admin API
	_ "github.com/keystile/keystile/caddymodule/command" // keystile org|account|sandbox|key|explain|catalog|log
)
