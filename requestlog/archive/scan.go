package archive

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// Records lie in files in the order in which requests ended, but for the order inside of one file; they are listed by id, the
// order in which requests began. So, as the journal does, a query takes row groups (and files whose metadata was not read yet)
// by the highest id that they may hold, and gives a record out once nothing that is left can hold a higher one.

// unit is what a query may still have to read: a row group, or a file whose contents are not known.
type unit struct {
	file    *file
	group   int // -1: the file
	span    span
	highest uint64 // no record of the unit that the query may give out has a higher position
}

type unitHeap []unit

func (h unitHeap) Len() int           { return len(h) }
func (h unitHeap) Less(a, b int) bool { return h[a].highest > h[b].highest }
func (h unitHeap) Swap(a, b int)      { h[a], h[b] = h[b], h[a] }
func (h *unitHeap) Push(x any)        { *h = append(*h, x.(unit)) }
func (h *unitHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// scan is one query of the archived files at work.
type scan struct {
	archive    *Archive
	ctx        context.Context
	filter     requestlog.Filter
	conditions []requestlog.Condition // but for the time
	timed      []requestlog.Condition // the time's, for what lies only partly in it
	after      string                 // cursor, "" for none
	start      uint64                 // no record above this position is asked for
	reach      span                   // what the query can meet
	blooms     [len(bloomColumns)]string
	units      unitHeap
	cost       int64
	unread     int64 // the last millisecond of units that the disk did not give just now; wholeSpan.first: none
}

// Costs of what is not looking at values.
const (
	costOfFile  = 20_000 // opening a file, and reading its footer
	costOfBloom = 100    // one small read
)

// newScan prepares a query. nothing says that no record can be selected.
func (a *Archive) newScan(ctx context.Context, v *view, f requestlog.Filter, after string) (s *scan, err error) {
	s = &scan{archive: a, ctx: ctx, filter: f, after: after, start: 1<<64 - 1, reach: wholeSpan, unread: wholeSpan.first}
	for _, c := range f.Conditions() {
		if c.Column.Name == "time" {
			s.timed = append(s.timed, c)
			continue
		}
		if i := slices.Index(bloomColumns[:], c.Column.Name); i >= 0 {
			s.blooms[i] = c.Exact
		}
		s.conditions = append(s.conditions, c)
	}
	if after != "" {
		position, ok := requestlog.Position(after)
		if !ok {
			return nil, &requestlog.FilterError{Param: "starting_after", Reason: "is not a request id"}
		}
		if position > 0 && after == requestlog.CursorBefore(position-1) {
			position-- // a position between records: nothing at it comes behind it
		}
		s.start = position
	}
	s.reach.high = s.start
	if f.RequestID != "" {
		position, ok := requestlog.Position(f.RequestID)
		if !ok || f.Within != nil && len(f.Within) == 0 {
			return s, nil // no record can have it
		}
		s.start = min(s.start, position)
		s.reach.low, s.reach.high = position, s.start
	}
	if f.Within != nil && len(f.Within) == 0 {
		return s, nil
	}
	if !f.Since.IsZero() {
		s.reach.first = f.Since.UnixMilli()
	}
	if !f.Until.IsZero() {
		s.reach.last = f.Until.UnixMilli()
	}
	for _, file := range v.files {
		if c := file.contents.Load(); c != nil {
			s.addGroups(file, c)
			continue
		}
		s.add(unit{file: file, group: -1, span: file.span})
	}
	heap.Init(&s.units)
	return s, nil
}

func (s *scan) addGroups(f *file, c *contents) {
	for i := range c.groups {
		s.add(unit{file: f, group: i, span: c.groups[i].span})
	}
}

// add adds the unit if the query reaches it. The heap is put in order by the caller.
func (s *scan) add(u unit) {
	if s.reach.meets(u.span) {
		u.highest = min(u.span.high, s.start)
		s.units = append(s.units, u)
	}
}

// next takes the unit that may hold the highest id, and calls fn with its row group and the rows that are selected, unless
// there are none.
func (s *scan) next(fn func(*rowGroup, []int) error) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	u := heap.Pop(&s.units).(unit)
	read := false
	err := s.archive.read(u.file, func(h *handle) (err error) {
		defer func() { read = err == nil }()
		if u.group < 0 {
			s.cost += costOfFile
			c, err := u.file.load(h)
			if err != nil {
				return err
			}
			s.addGroups(u.file, c)
			heap.Init(&s.units)
			return nil
		}
		g := &u.file.contents.Load().groups[u.group]
		for i, value := range s.blooms {
			if value == "" {
				continue
			}
			s.cost += costOfBloom
			if ok, err := g.mayHold(h.in, i, value); err != nil || !ok {
				return err
			}
		}
		r, err := h.rowGroup(u.group, g)
		if err != nil {
			return err
		}
		defer func() { s.cost += r.cost.Load() }()
		rows, err := r.selectRows(s.conditionsOf(u), s.filter.Within)
		if err != nil || len(rows) == 0 {
			return err
		}
		return fn(r, rows)
	})
	if !read && u.file.state.Load() == fileGood {
		s.unread = max(s.unread, u.span.last)
	}
	return err
}

// conditionsOf are the conditions that the unit's rows have to meet: the time and the cursor are left out where the whole unit
// lies within them.
func (s *scan) conditionsOf(u unit) []requestlog.Condition {
	list := s.conditions
	if len(s.timed) > 0 && !u.span.within(span{high: 1<<64 - 1, first: ceilMilli(s.filter.Since), last: s.lastWhole()}) {
		list = append(slices.Clip(list), s.timed...)
	}
	if s.after != "" && u.span.high >= s.start {
		list = append(slices.Clip(list), requestlog.Condition{
			Column: requestlog.ColumnNamed("id"), Text: func(id string) bool { return requestlog.CompareIDs(id, s.after) < 0 },
		})
	}
	return list
}

// ceilMilli is the first millisecond that is not before the time.
func ceilMilli(t time.Time) int64 {
	if t.IsZero() {
		return wholeSpan.first
	}
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// lastWhole is the last millisecond before Until.
func (s *scan) lastWhole() int64 {
	if s.filter.Until.IsZero() {
		return wholeSpan.last
	}
	return ceilMilli(s.filter.Until) - 1
}

// spent says whether the query has done its work, though not all there would be.
func (s *scan) spent() bool { return s.cost >= s.archive.o.ScanBudget }
