package archive

import (
	"cmp"
	"context"
	"time"

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
	times, err := r.values(rows, "time")
	if err != nil {
		return err
	}
	groups, err := r.values(rows, by)
	if err != nil {
		return err
	}
	lost, err := r.values(rows, "lost")
	if err != nil {
		return err
	}
	for i := range rows {
		if lost[i].Integer > 0 {
			continue // a gap
		}
		group := groups[i].Text
		if by == requestlog.ByStatusClass {
			group = requestlog.StatusClass(int(groups[i].Integer))
		}
		t.Add(cmp.Or(group, requestlog.GroupNone), time.UnixMilli(times[i].Integer), 1)
	}
	return nil
}
