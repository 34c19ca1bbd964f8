package archive

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog"
)

// Histogram counts records by time and group: from the counts of the files where the query asks of nothing but the time, else
// from the columns that it asks of, without reading any record whole.
func (a *Archive) Histogram(ctx context.Context, q requestlog.HistogramQuery) (*requestlog.Histogram, error) {
	v := a.pin()
	defer v.readers.Done()
	t := requestlog.NewTally(q)
	from, err := a.journal.TallyWithout(ctx, t, v.sources)
	if err != nil {
		return nil, err
	}
	cut, err := a.tallyFiles(ctx, v, q, t)
	if err != nil {
		return nil, err
	}
	return t.Histogram(later(from, cut)), nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// tallyFiles counts the archived files' records. It answers the time behind which its bounded work ended, zero if everything
// was counted.
func (a *Archive) tallyFiles(ctx context.Context, v *view, q requestlog.HistogramQuery, t *requestlog.Tally) (time.Time, error) {
	parts, ok := q.Parts()
	if !ok {
		return a.tallyRows(ctx, v, q.Filter, q.By, t)
	}
	var from time.Time
	for _, edge := range parts.Edges {
		cut, err := a.tallyRows(ctx, v, edge, q.By, t)
		if err != nil {
			return from, err
		}
		from = later(from, cut)
	}
	if parts.Empty() {
		return from, nil
	}
	left := &view{} // what has no counts of this kind
	reach := span{high: 1<<64 - 1, first: q.Filter.Since.UnixMilli(), last: q.Filter.Until.UnixMilli()}
	for _, f := range v.files {
		if !reach.meets(f.span) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return from, err
		}
		c := f.contents.Load()
		if c == nil {
			if err := a.read(f, func(h *handle) (err error) {
				c, err = f.load(h)
				return err
			}); err != nil {
				return from, err
			}
		}
		switch {
		case c == nil:
			if f.state.Load() == fileGood { // the disk does not give it just now: else it is damaged, and gone
				from = later(from, time.UnixMilli(f.span.last+1).UTC())
			}
		case c.counts.Knows(q.By):
			c.counts.AddTo(t, parts)
		default:
			left.files = append(left.files, f)
		}
	}
	cut, err := a.tallyRows(ctx, left, parts.Minutes, q.By, t)
	return later(from, cut), err
}

// tallyRows counts by reading columns.
func (a *Archive) tallyRows(ctx context.Context, v *view, f requestlog.Filter, by string, t *requestlog.Tally) (time.Time, error) {
	s, err := a.newScan(ctx, v, f, "")
	if err != nil {
		return time.Time{}, err
	}
	for len(s.units) > 0 {
		if s.cost >= a.o.TallyBudget {
			last := s.units[0].span.last
			for _, u := range s.units {
				last = max(last, u.span.last)
			}
			return time.UnixMilli(max(last, s.unread) + 1).UTC(), nil
		}
		if err := s.next(func(r *rowGroup, rows []int) error { return tallyGroup(r, rows, by, t) }); err != nil {
			return time.Time{}, err
		}
	}
	if s.unread != wholeSpan.first {
		return time.UnixMilli(s.unread + 1).UTC(), nil
	}
	return time.Time{}, nil
}

// tallyGroup counts some rows of a row group. Groupings are called after their columns.
func tallyGroup(r *rowGroup, rows []int, by string, t *requestlog.Tally) error {
	const gap = math.MinInt64
	times := make([]int64, len(rows))
	if err := r.eachValue("time", rows, func(i int, p *page, at int) { times[i] = p.integer(at) }); err != nil {
		return err
	}
	if err := r.eachValue("lost", rows, func(i int, p *page, at int) {
		if p.integer(at) > 0 {
			times[i] = gap
		}
	}); err != nil {
		return err
	}
	groups := make([]*requestlog.TallyGroup, len(rows))
	finder := groupFinder{tally: t, by: by}
	if err := r.eachValue(by, rows, func(i int, p *page, at int) { groups[i] = finder.find(p, at) }); err != nil {
		return err
	}
	var none *requestlog.TallyGroup
	for i, ms := range times {
		if ms == gap {
			continue
		}
		g := groups[i]
		if g == nil {
			if none == nil {
				none = t.Group(requestlog.GroupNone)
			}
			g = none
		}
		g.AddMilli(ms)
	}
	return nil
}

// groupFinder finds the groups of a column's values, those of a dictionary once each.
type groupFinder struct {
	tally      *requestlog.Tally
	by         string
	dictionary parquet.Dictionary
	known      []*requestlog.TallyGroup // of the dictionary's values, once they were asked for
}

func (f *groupFinder) find(p *page, at int) *requestlog.TallyGroup {
	if p.dictionary == nil {
		return f.group(p, at)
	}
	if f.dictionary != p.dictionary {
		f.dictionary, f.known = p.dictionary, make([]*requestlog.TallyGroup, p.dictionary.Len())
	}
	g := &f.known[p.index[at]]
	if *g == nil {
		*g = f.group(p, at)
	}
	return *g
}

func (f *groupFinder) group(p *page, at int) *requestlog.TallyGroup {
	if f.by == requestlog.ByStatusClass {
		return f.tally.Group(requestlog.StatusClass(int(p.integer(at))))
	}
	return f.tally.Group(cmp.Or(p.view(at), requestlog.GroupNone)) // which copies the name of a new one
}
