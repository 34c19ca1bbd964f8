package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// state is what is known of a key.
type state int

const (
	active   state = iota
	limited        // to addresses that nobody here has
	gone           // deleted, or rotated away
	changing       // a call is under way: both are right
	unknown        // the process was killed during a call; it is asked later
)

// key is one key, as its acknowledged calls have left it.
type key struct {
	id, token string

	mu      sync.Mutex
	state   state
	version int // counts changes of state
}

// look answers the state and its version, to be compared after a request.
func (k *key) look() (state, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, k.version
}

// begin says that a call is under way. Only the churner that holds the key changes it.
func (k *key) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.version = changing, k.version+1
}

func (k *key) end(s state) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.version = s, k.version+1
}

// wants answers the status and the code that a request with the key must get.
func (s state) wants() (status int, code string) {
	switch s {
	case active:
		return 200, ""
	case limited:
		return 403, "ip_not_allowed"
	case gone:
		return 401, "api_key_expired"
	}
	return 0, ""
}

// ring is all keys, of which requests choose: the living ones, and those that are gone.
type ring struct {
	mu   sync.Mutex
	keys []*key
}

func (r *ring) add(k *key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = append(r.keys, k)
}

// pick takes one of the newest keys mostly, since these change.
func (r *ring) pick() *key {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.keys)
	if rand.IntN(4) > 0 {
		return r.keys[max(0, n-1-rand.IntN(40))]
	}
	return r.keys[rand.IntN(n)]
}

func (r *ring) all() []*key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*key(nil), r.keys...)
}

// answered is a request that had its answer.
type answered struct {
	id string
	at time.Time
}

// receipts are the requests that were answered since the last look.
type receipts struct {
	mu  sync.Mutex
	all []answered
}

func (r *receipts) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, answered{id, time.Now()})
}

// take answers those of before a time, and keeps the others for later.
func (r *receipts) take(before time.Time) (taken []answered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	for _, a := range all {
		if a.at.Before(before) {
			taken = append(taken, a)
		} else {
			r.all = append(r.all, a)
		}
	}
	return taken
}
