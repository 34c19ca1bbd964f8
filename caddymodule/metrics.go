package caddymodule

import (
	"time"

	"github.com/keystile/keystile/policy"
)

type metrics struct{}

// sample says whether to measure the times of this request: true for one in 64. Only then are lookup and decide worth
// the clock readings.
func (m *metrics) sample() bool { return false }

// decision counts one answered request by its reason.
func (m *metrics) decision(reason policy.Reason) {}

// cache counts one look-up by whether the cache had the key.
func (m *metrics) cache(hit bool) {}

// lookup observes the time of one sampled look-up.
func (m *metrics) lookup(d time.Duration) {}

// decide observes the time of one sampled decision, from the credential to the verdict.
func (m *metrics) decide(d time.Duration) {}
