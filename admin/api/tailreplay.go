package api

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// A tail gives records in the order in which requests ended, lists in the order in which they began. The log remembers the
// order of storing for its newest records: a reader who was away for a moment gets exactly what it missed. One who comes back
// later, or to a process that has started anew, gets what ended since the last event, as the records tell: nothing is
// missing, but what ended within the same moment as the last event may come a second time.

const (
	// tailReplay is the most records that are given to a reader who comes back without the log knowing their order. A gap
	// record counts the others.
	tailReplay = 1000
	// replayPages bounds how many pages of the log are read to find them.
	replayPages = 20
	// replayLong is how long a request may have lasted and still be found: it is listed where it began.
	replayLong = 10 * time.Minute
	// replayMargin is how far the end of a request, as its record tells it, may be from the order in which it was stored.
	replayMargin = 5 * time.Millisecond
)

// tailPlan is what one stream has to give.
type tailPlan struct {
	filter requestlog.Filter
	live   *requestlog.Follower
	missed []string // ids of records to give first, if known
	known  bool
	seen   string // the last event that the reader has; "": none
}

// followTail begins to listen, before anything is read: so nothing falls between what was missed and what comes.
func (a *API) followTail(filter requestlog.Filter, seen string) (*tailPlan, error) {
	filter.Within = nil // each record is judged when it comes, by what the caller covers then
	t := &tailPlan{filter: filter, seen: seen}
	var err error
	if seen == "" {
		t.live, err = a.Log.Follow(filter)
		return t, err
	}
	t.live, t.missed, t.known, err = a.Log.FollowAfter(filter, seen)
	return t, err
}

// feedTail gives first what was missed, then what comes, until ctx or the log ends.
func (a *API) feedTail(ctx context.Context, c *call, t *tailPlan, send func([]byte) error) error {
	give := func(r *requestlog.Record) error {
		if !c.coversRecord(r) {
			return nil
		}
		return send(tailEvent(r))
	}
	var given map[string]bool
	var err error
	switch {
	case t.known:
		err = a.replayKnown(ctx, t, give)
	case t.seen != "":
		given, err = a.replayFound(ctx, c, t, give)
	}
	for err == nil {
		var records []*requestlog.Record
		if records, err = t.live.Next(ctx); err != nil {
			break
		}
		for _, r := range records {
			if given[r.ID] {
				delete(given, r.ID) // stored after the tail began, and before the list was read
				continue
			}
			if err = give(r); err != nil {
				break
			}
		}
	}
	return err
}

// replayKnown gives the missed records, whose order the log knows.
func (a *API) replayKnown(ctx context.Context, t *tailPlan, give func(*requestlog.Record) error) error {
	for _, id := range t.missed {
		r, err := a.Log.Get(ctx, id)
		if errors.Is(err, requestlog.ErrNotFound) {
			continue // retention was faster
		}
		if err != nil {
			return err
		}
		if t.filter.Match(r) {
			if err := give(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// replayFound gives the missed records as far as they can be found, at most tailReplay, and answers which these were.
func (a *API) replayFound(ctx context.Context, c *call, t *tailPlan, give func(*requestlog.Record) error) (map[string]bool, error) {
	missed, err := a.missedSince(ctx, c, t)
	if err != nil {
		return nil, err
	}
	filter := t.filter
	filter.Within = c.within()
	if begin := missed.begin; begin.After(filter.Since) {
		filter.Since = begin
	}
	var found []foundRecord
	var gap requestlog.Record
	cursor := ""
	for page := 0; ; page++ {
		p, err := a.Log.List(ctx, filter, requestlog.MaxLimit, cursor)
		if err != nil {
			return nil, err
		}
		for _, r := range p.Records {
			switch {
			case !missed.has(r) || !c.coversRecord(r):
			case len(found) < tailReplay:
				found = append(found, foundRecord{strings.Clone(r.ID), endOf(r)})
			default:
				countLost(&gap, r)
			}
		}
		if !p.More || missed.passed(p.Next) {
			break
		}
		if page == replayPages {
			gap.Lost = max(gap.Lost, 1) // and nobody knows how many more
			break
		}
		cursor = p.Next
	}
	if gap.Lost > 0 {
		gap.ID, gap.Time, gap.Node, gap.Decision = "gap_"+requestlog.NewID(c.now)[len("req_"):], c.now.UTC().Truncate(time.Millisecond), a.Node, requestlog.DecisionGap
		if gap.LostFrom.IsZero() {
			gap.LostFrom, gap.LostTo = missed.begin, gap.Time
		}
		if err := give(&gap); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, func(a, b foundRecord) int {
		return cmp.Or(a.end.Compare(b.end), cmp.Compare(a.id, b.id))
	})
	given := make(map[string]bool, len(found))
	for _, f := range found {
		given[f.id] = true
		r, err := a.Log.Get(ctx, f.id)
		if errors.Is(err, requestlog.ErrNotFound) {
			continue // retention was faster
		}
		if err != nil {
			return nil, err
		}
		if err := give(r); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// foundRecord is what is remembered of a record until it is its turn: with what a site captures, a record may be large.
type foundRecord struct {
	id  string
	end time.Time
}

// countLost counts a record that is not given.
func countLost(gap, r *requestlog.Record) {
	gap.Lost++
	if gap.LostFrom.IsZero() || r.Time.Before(gap.LostFrom) {
		gap.LostFrom = r.Time
	}
	if r.Time.After(gap.LostTo) {
		gap.LostTo = r.Time
	}
}

// missedSet tells by a record itself whether it was stored after the last event.
type missedSet struct {
	seen  string
	begin time.Time // no missed record began before it
	after time.Time // zero: the last event is not kept any more, and ids must do
}

// missedSince finds out what the record of the last event tells. One that is gone, or not the caller's to see, tells nothing.
func (a *API) missedSince(ctx context.Context, c *call, t *tailPlan) (*missedSet, error) {
	m := &missedSet{seen: t.seen}
	last, err := a.Log.Get(ctx, t.seen)
	switch {
	case errors.Is(err, requestlog.ErrNotFound) || err == nil && !c.coversRecord(last):
		return m, nil
	case err != nil:
		return nil, err
	}
	m.after = endOf(last).Add(-replayMargin)
	m.begin = last.Time.Add(-replayLong)
	return m, nil
}

func (m *missedSet) has(r *requestlog.Record) bool {
	if r.ID == m.seen {
		return false
	}
	if m.after.IsZero() {
		return r.ID[len("req_"):] > m.seen[len("req_"):] // ids sort by time
	}
	return endOf(r).After(m.after)
}

// passed says whether nothing behind a cursor of the list can be missed.
func (m *missedSet) passed(cursor string) bool {
	return m.after.IsZero() && cursor[len("req_"):] < m.seen[len("req_"):]
}

// endOf is when a request ended, as its record tells: to the millisecond.
func endOf(r *requestlog.Record) time.Time { return r.Time.Add(r.Duration) }
