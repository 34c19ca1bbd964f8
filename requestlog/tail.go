package requestlog

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	maxTails   = 64      // live tails of one process
	tailBuffer = 1024    // records that wait for one slow reader
	tailBytes  = 1 << 20 // of captured text in them
	tailText   = 2 << 20 // of all other text in them
)

// Tail calls fn for each record that is stored from now on and that the filter selects, in the order in which requests
// ended, until ctx ends (its error is returned), fn fails (its error), or the log is closed (ErrClosed). A reader that is too
// slow loses records and then gets a gap record that counts them; it never slows the log. The records are fn's to keep.
func (l *Log) Tail(ctx context.Context, f Filter, fn func(*Record) error) error {
	t, err := l.Follow(f)
	if err != nil {
		return err
	}
	defer t.Close()
	for {
		records, err := t.Next(ctx)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(r); err != nil {
				return err
			}
		}
	}
}

// Follow begins a live tail: every record that is stored behind its return, and that the filter selects, comes out of Next.
// ErrTooManyTails, ErrClosed or ErrUnavailable say why there is none. The caller closes it.
func (l *Log) Follow(f Filter) (*Follower, error) {
	if err := l.prepareTail(); err != nil {
		return nil, err
	}
	return l.follow(f)
}

func (l *Log) follow(f Filter) (*Follower, error) {
	t := &Follower{log: l, filter: f, ready: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue.closed() {
		return nil, ErrClosed
	}
	var list []*Follower
	if old := l.tails.Load(); old != nil {
		list = append(list, *old...)
	}
	if len(list) >= maxTails {
		return nil, ErrTooManyTails
	}
	list = append(list, t)
	l.tails.Store(&list)
	return t, nil
}

// Follower is one live tail. The writer offers, the reader takes; the lock is held for a moment by both.
type Follower struct {
	log    *Log
	filter Filter
	ready  chan struct{} // capacity 1: something can be taken

	mu       sync.Mutex
	records  []*Record
	captured int   // bytes of captured text in records
	text     int   // bytes of other text in records
	lost     int64 // since records filled up
	lostFrom time.Time
	lostTo   time.Time
}

// Close ends the tail.
func (t *Follower) Close() {
	l := t.log
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Clone(*l.tails.Load())
	list = slices.DeleteFunc(list, func(other *Follower) bool { return other == t })
	l.tails.Store(&list)
}

// Next waits for records and answers all that there are, at least one. Behind the last of them stands a gap record if the
// reader was too slow. It fails with ctx's error, or with ErrClosed once the log is closed and everything was read.
func (t *Follower) Next(ctx context.Context) ([]*Record, error) {
	for {
		if records := t.take(); len(records) > 0 {
			return records, nil
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.log.done:
			if records := t.take(); len(records) > 0 { // what came last
				return records, nil
			}
			return nil, ErrClosed
		}
	}
}

// offer gives the tail a copy of the record if the filter selects it and there is room.
func (t *Follower) offer(r *Record) {
	if !t.filter.Match(r) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	size := r.textBytes()
	if t.lost > 0 || len(t.records) >= tailBuffer || len(t.records) > 0 && t.text+size > tailText {
		t.loseLocked(1, r.Time)
		return
	}
	c := r.clone()
	if t.captured += c.CapturedBytes(); t.captured > tailBytes {
		t.captured -= c.CapturedBytes()
		c.DropCaptured()
	}
	t.text += size
	t.records = append(t.records, c)
	signal(t.ready)
}

// loseLocked counts records of a time that the tail does not get.
func (t *Follower) loseLocked(n int64, at time.Time) {
	if t.lost == 0 || at.Before(t.lostFrom) {
		t.lostFrom = at
	}
	if t.lost == 0 || at.After(t.lostTo) {
		t.lostTo = at
	}
	t.lost += n
}

// take empties the tail: the records, and behind them a gap record if some were lost.
func (t *Follower) take() []*Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	records := t.records
	t.records, t.captured, t.text = nil, 0, 0
	if t.lost > 0 {
		now := cleanTime(t.log.now())
		records = append(records, &Record{
			ID: newID(gapPrefix, now), Time: now, Node: t.log.node,
			Decision: DecisionGap, Lost: t.lost, LostFrom: t.lostFrom, LostTo: t.lostTo,
		})
		t.lost = 0
	}
	return records
}
