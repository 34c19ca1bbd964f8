package requestlog

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	maxTails   = 64   // live tails of one process
	tailBuffer = 1024 // records that wait for one slow reader
)

// Tail calls fn for each record that is stored from now on and that the filter selects, in the order in which requests
// ended, until ctx ends (its error is returned), fn fails (its error), or the log is closed (ErrClosed). A reader that is too
// slow loses records and then gets a gap record that counts them; it never slows the log. The records are fn's to keep.
func (l *Log) Tail(ctx context.Context, f Filter, fn func(*Record) error) error {
	t := &tail{filter: f, ready: make(chan struct{}, 1), now: l.now}
	if err := l.addTail(t); err != nil {
		return err
	}
	defer l.removeTail(t)
	closed := false
	for {
		records, gap := t.take()
		for _, r := range records {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(r); err != nil {
				return err
			}
		}
		if gap != nil {
			if err := fn(gap); err != nil {
				return err
			}
		}
		if closed && len(records) == 0 {
			return ErrClosed
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done:
			closed = true // once more round, for what came last
		}
	}
}

func (l *Log) addTail(t *tail) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*tail
	if old := l.tails.Load(); old != nil {
		list = append(list, *old...)
	}
	if len(list) >= maxTails {
		return ErrTooManyTails
	}
	list = append(list, t)
	l.tails.Store(&list)
	return nil
}

func (l *Log) removeTail(t *tail) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Clone(*l.tails.Load())
	list = slices.DeleteFunc(list, func(other *tail) bool { return other == t })
	l.tails.Store(&list)
}

// tail is one live reader. The writer offers, the reader takes; the lock is held for a moment by both.
type tail struct {
	filter Filter
	ready  chan struct{} // capacity 1: something can be taken
	now    func() time.Time

	mu       sync.Mutex
	records  []*Record
	lost     int64 // since records filled up
	lostFrom time.Time
	lostTo   time.Time
}

// offer gives the tail a copy of the record if the filter selects it and there is room.
func (t *tail) offer(r *Record) {
	if !t.filter.Match(r) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 || len(t.records) >= tailBuffer {
		if t.lost == 0 || r.Time.Before(t.lostFrom) {
			t.lostFrom = r.Time
		}
		if t.lost == 0 || r.Time.After(t.lostTo) {
			t.lostTo = r.Time
		}
		t.lost++
		return
	}
	t.records = append(t.records, r.clone())
	signal(t.ready)
}

// take empties the tail: the records, and behind them a gap record if some were lost.
func (t *tail) take() (records []*Record, gap *Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	records, t.records = t.records, nil
	if t.lost > 0 {
		gap = &Record{Decision: DecisionGap, Lost: t.lost, LostFrom: t.lostFrom, LostTo: t.lostTo}
		gap.Time = cleanTime(t.now())
		gap.ID = newID(gapPrefix, gap.Time)
		t.lost = 0
	}
	return records, gap
}
