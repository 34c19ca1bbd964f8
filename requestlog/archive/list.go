package archive

import (
	"context"
	"slices"

	"github.com/keystile/keystile/requestlog"
)

// List answers one page, newest first: the journal's and the archived files' records, put together.
func (a *Archive) List(ctx context.Context, q requestlog.Query) (requestlog.Page, error) {
	v := a.pin()
	defer v.readers.Done()
	newest, err := a.journal.ListWithout(ctx, q, v.sources)
	if err != nil {
		return requestlog.Page{}, err
	}
	floor := uint64(0) // the journal knows of nothing below
	if newest.More {
		floor, _ = requestlog.Position(newest.Next)
	}
	older, err := a.listFiles(ctx, v, q, floor)
	if err != nil {
		return requestlog.Page{}, err
	}
	return join(newest, older, q.Limit), nil
}

// join puts two pages of different records together. What lies behind the end of either is unknown to it, so that the page ends
// where the first of them does.
func join(a, b requestlog.Page, limit int) requestlog.Page {
	var p requestlog.Page
	p.Records = append(append(p.Records, a.Records...), b.Records...)
	slices.SortFunc(p.Records, func(a, b *requestlog.Record) int { return requestlog.CompareIDs(b.ID, a.ID) })
	for _, end := range []requestlog.Page{a, b} {
		if end.More && (!p.More || requestlog.CompareIDs(end.Next, p.Next) > 0) {
			p.More, p.Next = true, end.Next
		}
	}
	n := len(p.Records)
	if p.More {
		n, _ = slices.BinarySearchFunc(p.Records, p.Next, func(r *requestlog.Record, next string) int {
			if requestlog.CompareIDs(r.ID, next) >= 0 {
				return -1
			}
			return 1
		})
	}
	if n > limit {
		n = limit
	}
	if n < len(p.Records) {
		if p.Records = p.Records[:n]; n == limit {
			p.More, p.Next = true, p.Records[n-1].ID
		}
	}
	return p
}

// listFiles answers a page of the archived files. Below the position floor it need not look.
func (a *Archive) listFiles(ctx context.Context, v *view, q requestlog.Query, floor uint64) (requestlog.Page, error) {
	s, err := a.newScan(ctx, v, q.Filter, q.After)
	if err != nil {
		return requestlog.Page{}, err
	}
	l := lister{scan: s, want: q.Limit + 1}
	for {
		l.emit()
		if l.full() || len(s.units) == 0 {
			return l.page(), nil
		}
		next := s.units[0].highest
		if next < s.start && (s.spent() || next < floor) {
			return requestlog.Page{Records: l.trim(), More: true, Next: requestlog.CursorBefore(next)}, nil
		}
		if err := s.next(l.add); err != nil {
			return requestlog.Page{}, err
		}
	}
}

// lister gathers the records of a page.
type lister struct {
	*scan
	want    int                  // one more than the page holds: it says whether more follow
	pending []*requestlog.Record // found, newest first, not yet known to be next
	out     []*requestlog.Record
	room    requestlog.PageRoom
}

// add reads the newest of the selected rows, no more than can still be wanted.
func (l *lister) add(r *rowGroup, rows []int) error {
	if most := l.want - len(l.out); len(rows) > most {
		rows = rows[len(rows)-most:]
	}
	records, err := r.records(rows, nil)
	if err != nil {
		return err
	}
	for i := range records {
		if !requestlog.ValidID(records[i].ID) || !l.filter.Match(&records[i]) {
			return errDamaged // the columns said otherwise
		}
		one := records[i]
		l.pending = append(l.pending, &one)
	}
	slices.SortFunc(l.pending, func(a, b *requestlog.Record) int { return requestlog.CompareIDs(b.ID, a.ID) })
	if most := min(l.want-len(l.out), l.room.Fit(l.pending)); len(l.pending) > most {
		clear(l.pending[most:])
		l.pending = l.pending[:most]
	}
	return nil
}

// emit gives out the found records that nothing unread can precede.
func (l *lister) emit() {
	n := 0
	for n < len(l.pending) && !l.full() {
		r := l.pending[n]
		if position, _ := requestlog.Position(r.ID); len(l.units) > 0 && position <= l.units[0].highest {
			break
		}
		l.out = append(l.out, r)
		l.room.Take(r)
		n++
	}
	l.pending = slices.Delete(l.pending, 0, n)
}

// full says whether the page takes no further record.
func (l *lister) full() bool { return len(l.out) == l.want || l.room.Full() }

// trim is the page's records: all that was given out, without the one that only says that more follow.
func (l *lister) trim() []*requestlog.Record { return l.out[:min(len(l.out), l.want-1)] }

func (l *lister) page() requestlog.Page {
	p := requestlog.Page{Records: l.trim()}
	if l.full() {
		p.More, p.Next = true, p.Records[len(p.Records)-1].ID
	}
	return p
}

// Get answers the record of the id: the position in it leads to the few row groups that can hold it, their bloom filters to
// the one that does.
func (a *Archive) Get(ctx context.Context, id string) (*requestlog.Record, error) {
	if !requestlog.ValidID(id) {
		return nil, requestlog.ErrNotFound
	}
	for after := ""; ; {
		page, err := a.List(ctx, requestlog.Query{Filter: requestlog.Filter{RequestID: id}, Limit: 1, After: after})
		switch {
		case err != nil:
			return nil, err
		case len(page.Records) > 0:
			return page.Records[0], nil
		case !page.More:
			return nil, requestlog.ErrNotFound
		}
		after = page.Next
	}
}
