package requestlog

import (
	"sync/atomic"
	"time"
)

// dropCount counts dropped records exactly, and remembers from when to when since the last gap record. Producers only add;
// the writer reads.
type dropCount struct {
	refused atomic.Uint64 // by Append, AppendForAnyone and AppendMinor
	given   atomic.Uint64 // up after they had been accepted
	from    atomic.Int64  // Unix nanoseconds of the first drop since the last gap record, 0 for none
	to      atomic.Int64  // of the last drop

	reported uint64 // writer only: how many stand in gap records
	since    int64  // writer only: from, of a gap record that is not stored yet
}

func (d *dropCount) add(n uint64, now time.Time) {
	d.mark(now)
	d.refused.Add(n) // behind mark, so that the writer never sees a count without its times
}

func (d *dropCount) giveUp(n uint64, now time.Time) {
	d.mark(now)
	d.given.Add(n)
}

func (d *dropCount) mark(now time.Time) {
	ns := now.UnixNano()
	d.to.Store(ns)
	d.from.CompareAndSwap(0, ns)
}

func (d *dropCount) counts() (given, refused uint64) { return d.given.Load(), d.refused.Load() }

// unreported is how many drops no gap record tells of yet. Writer only.
func (d *dropCount) unreported() uint64 {
	given, refused := d.counts()
	return given + refused - d.reported
}

// fillGap makes r a gap record of everything unreported. Writer only; call reportedGap once it is stored.
func (d *dropCount) fillGap(r *Record, now time.Time) {
	from, to := d.from.Swap(0), d.to.Load()
	r.Lost = int64(d.unreported())
	if d.since == 0 { // else a gap record before this one was given up, and this one stands for it
		d.since = from
	}
	r.LostFrom, r.LostTo = now, now
	if to != 0 {
		r.LostTo = time.Unix(0, to)
	}
	if d.since != 0 {
		r.LostFrom = time.Unix(0, d.since)
	} else if r.LostTo.Before(now) {
		r.LostFrom = r.LostTo // it was counted just behind the gap record that took its time
	}
	r.ID = newID(gapPrefix, now)
	r.Time = now
	r.Decision = DecisionGap
}

// reportedGap notes that the gap record is stored.
func (d *dropCount) reportedGap(r *Record) {
	d.reported += uint64(r.Lost)
	d.since = 0
}
