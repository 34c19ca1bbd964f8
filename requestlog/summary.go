package requestlog

import (
	"context"
	"slices"
	"time"
)

// KeySummary is what a key did, as far as records of it are kept, or longer where the store counts as it goes: then asking
// costs little, and what retention deletes stays counted.
type KeySummary struct {
	Key       string
	Requests  int64     // all records of the key, denied ones included
	Errors    int64     // those with a status from 400 on
	FirstSeen time.Time // of the oldest record; zero: none
	LastSeen  time.Time // of the newest record

	// What it was seen with, the latest first, at most MaxSeen of each.
	Addresses  []Seen
	UserAgents []Seen
	Resources  []Seen
}

// Seen is one value that a key was seen with.
type Seen struct {
	Value    string
	Requests int64     // since the value came on the list: one that fell off it begins anew
	LastSeen time.Time // UTC
}

// MaxSeen is how many addresses, user agents and resources of a key are remembered.
const MaxSeen = 20

// KeySummary answers what a key did. A key without records has the zero summary.
func (l *Log) KeySummary(ctx context.Context, key string) (*KeySummary, error) {
	return l.store.KeySummary(ctx, key)
}

// Add counts one record of the key. Records may come in any order.
func (s *KeySummary) Add(r *Record) {
	if r.IsGap() || r.Key == "" {
		return
	}
	s.Key = r.Key
	s.Requests++
	if r.Status >= 400 {
		s.Errors++
	}
	if s.FirstSeen.IsZero() || r.Time.Before(s.FirstSeen) {
		s.FirstSeen = r.Time
	}
	if r.Time.After(s.LastSeen) {
		s.LastSeen = r.Time
	}
	if r.Client.IsValid() {
		s.Addresses = addSeen(s.Addresses, r.Client.String(), r.Time)
	}
	s.UserAgents = addSeen(s.UserAgents, r.UserAgent, r.Time)
	s.Resources = addSeen(s.Resources, r.Resource, r.Time)
}

// addSeen notes a value at its place, the latest first. The list is short: looking through it costs less than a map.
func addSeen(list []Seen, value string, at time.Time) []Seen {
	if value == "" {
		return list
	}
	i := slices.IndexFunc(list, func(s Seen) bool { return s.Value == value })
	switch {
	case i >= 0:
	case len(list) < MaxSeen:
		i = len(list)
		list = append(list, Seen{Value: value})
	case at.Before(list[MaxSeen-1].LastSeen):
		return list
	default:
		i = MaxSeen - 1
		list[i] = Seen{Value: value}
	}
	list[i].Requests++
	if at.After(list[i].LastSeen) {
		list[i].LastSeen = at
	}
	for ; i > 0 && list[i-1].LastSeen.Before(list[i].LastSeen); i-- {
		list[i-1], list[i] = list[i], list[i-1]
	}
	return list
}
