package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"time"
)

// EventFilter narrows a list of events. Zero fields do not narrow; every field that is set must hold.
type EventFilter struct {
	Type                  string // a type, "key.created", or all of a noun: "key.*"
	Actor                 string // the actor's id, name or kind
	Object                string // id of what changed; for a key also the import that brought it in
	Account, Organization string
	Since, Until          time.Time         // not before, and before
	Within                func(*Event) bool // what the caller may see; nil: all
}

// EventPage is one page of events, newest first.
type EventPage struct {
	Events []StoredEvent
	More   bool
	Next   string // StartingAfter of the next page, set with More: the page may end between matches
}

// StoredEvent is an event with the bytes that the chain is made of.
type StoredEvent struct {
	*Event
	Body []byte            // as it is stored: its SHA-256 is what the next event names as its previous
	Hash [sha256.Size]byte // of Body
}

// maxEventScan bounds how many events one page looks at: a filter that selects almost nothing is answered in pages of
// bounded work, some of them empty.
const maxEventScan = 20_000

// Events lists events, newest first, from the backend: they are not kept in memory.
func (s *Store) Events(ctx context.Context, f *EventFilter, p Page) (page EventPage, err error) {
	limit, last := p.Limit, s.snap.Load().head.Events
	switch {
	case limit == 0:
		limit = defaultPageLimit
	case limit < 0 || limit > MaxPageLimit:
		return page, invalid("limit", "the limit must be from 1 to %d", MaxPageLimit)
	}
	if err := f.Check(); err != nil {
		return page, err
	}
	if p.StartingAfter != "" {
		after, err := s.findEvent(ctx, p.StartingAfter)
		if err != nil {
			return page, err
		}
		if after == nil {
			return page, invalid("starting_after", "give the id of the last event seen, which begins with %s", prefixEvent)
		}
		last = after.Seq - 1
	}
	seen, edge := 0, ""
	err = s.walkEvents(ctx, 1, last, true, func(e StoredEvent) error {
		switch matches := f.matches(e.Event); {
		case seen == maxEventScan, matches && len(page.Events) == limit:
			page.More = true
			return errEnough
		case !f.Since.IsZero() && e.Time.Before(f.Since.Add(-clockSlack)):
			return errEnough // older ones only from here on
		case matches:
			page.Events = append(page.Events, e)
		}
		seen++
		edge = e.ID
		return nil
	})
	if page.More {
		page.Next = edge
	}
	return page, err
}

// clockSlack is how far back the clock may have been set without a list by time losing events: their order is that of
// their commits, and a time is what the clock said.
const clockSlack = 24 * time.Hour

// Event finds an event by its id.
func (s *Store) Event(ctx context.Context, id string) (*StoredEvent, error) {
	e, err := s.findEvent(ctx, id)
	if err == nil && e == nil {
		err = notFound("", "event", id)
	}
	return e, err
}

// ExportEvents calls fn for every event that the filter lets through, oldest first: the order in which they can be
// verified. Those of commits that come later are not among them.
func (s *Store) ExportEvents(ctx context.Context, f *EventFilter, fn func(StoredEvent) error) error {
	if err := f.Check(); err != nil {
		return err
	}
	return s.walkEvents(ctx, 1, s.snap.Load().head.Events, false, func(e StoredEvent) error {
		if !f.matches(e.Event) {
			return nil
		}
		return fn(e)
	})
}

// walkEvents decodes a range of events. A body that cannot be read ends it: a list with a silent hole would be a lie.
func (s *Store) walkEvents(ctx context.Context, first, last uint64, backwards bool, fn func(StoredEvent) error) error {
	err := s.backend.Events(ctx, first, last, backwards, func(r EventRow) error {
		e, err := DecodeEvent(r.Body)
		if err != nil {
			return err
		}
		return fn(StoredEvent{Event: e, Body: append([]byte(nil), r.Body...), Hash: sha256.Sum256(r.Body)})
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// findEvent looks an id up; nil if there is none. Ids rise along the chain, so that it is a search by halves and no
// index is needed.
func (s *Store) findEvent(ctx context.Context, id string) (*StoredEvent, error) {
	if prefix, _, ok := cutIDPrefix(id); !ok || prefix != prefixEvent || !plausibleID(id) {
		return nil, nil //nolint:nilnil // nil is: there is none
	}
	low, high := uint64(1), s.snap.Load().head.Events
	for low <= high {
		middle := low + (high-low)/2
		var found *StoredEvent
		err := s.walkEvents(ctx, middle, middle, false, func(e StoredEvent) error {
			found = &e
			return nil
		})
		switch {
		case err != nil || found == nil:
			return nil, err // found == nil: a hole in the chain, for VerifyEvents to name
		case found.ID == id:
			return found, nil
		case found.ID < id:
			low = middle + 1
		default:
			high = middle - 1
		}
	}
	return nil, nil //nolint:nilnil // nil is: there is none
}

// Check says whether the filter can be used.
func (f *EventFilter) Check() error {
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return invalid("until", "until must be after since")
	}
	if f.Type != "" && !eventTypeShape.MatchString(f.Type) {
		return invalid("type", "give a type such as key.created, or key.* for all of a noun")
	}
	return nil
}

var eventTypeShape = regexp.MustCompile(`^[a-z_]{1,40}\.([a-z_]{1,40}|\*)$`)

// errEnough ends a walk that has what it wanted.
var errEnough = errors.New("enough")

func (f *EventFilter) matches(e *Event) bool {
	noun, all := strings.CutSuffix(f.Type, "*") // keeps the dot
	switch {
	case f.Type != "" && string(e.Type) != f.Type && !(all && strings.HasPrefix(string(e.Type), noun)),
		f.Actor != "" && f.Actor != e.Actor.ID && f.Actor != e.Actor.Name && f.Actor != e.Actor.Kind,
		f.Object != "" && f.Object != e.Object && !e.imports(f.Object),
		f.Account != "" && f.Account != e.Account,
		f.Organization != "" && f.Organization != e.Organization,
		!f.Since.IsZero() && e.Time.Before(f.Since),
		!f.Until.IsZero() && !e.Time.Before(f.Until),
		f.Within != nil && !f.Within(e):
		return false
	}
	return true
}

// HashText is a hash as events and answers write it.
func (e *StoredEvent) HashText() string { return hex.EncodeToString(e.Hash[:]) }
