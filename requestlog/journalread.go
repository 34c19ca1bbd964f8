package requestlog

import (
	"container/heap"
	"context"
	"fmt"
	"os"

	"go.uber.org/zap"
)

// Records lie in the journal in the order in which requests ended, and are listed by id, the order in which they began: a
// long request lies far behind its neighbours in the list. So a query does not read files from the end. It takes blocks (and
// files that have no index yet) by the highest id that they hold, and gives a record out once no block that is left can hold
// a higher one. A late record only makes its block be read for a second page too.

// unit is what a query may still have to read: a block, or a whole file whose index is not made yet.
type unit struct {
	file    *journalFile
	block   block
	isFile  bool
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

// List answers one page, newest first. It reads at most ScanBudget bytes and a little, and then answers what it has.
func (j *Journal) List(ctx context.Context, q Query) (Page, error) { return j.list(ctx, q, leftOut{}) }

// leftOut are files that a query passes over.
type leftOut struct {
	paths map[string]bool
	files map[*journalFile]bool
}

func (j *Journal) list(ctx context.Context, q Query, without leftOut) (Page, error) {
	s, err := j.newScan(q, without)
	if err != nil {
		return Page{}, err
	}
	defer s.close()
	for {
		s.emit()
		if s.full() || len(s.units) == 0 {
			return s.page(), nil
		}
		if next := s.units[0].highest; s.read >= j.o.ScanBudget && next < s.start {
			return Page{Records: s.trim(), More: true, Next: cursorBefore(next)}, nil
		}
		if err := ctx.Err(); err != nil {
			return Page{}, err
		}
		u := heap.Pop(&s.units).(unit)
		if u.isFile {
			err = s.readIndex(u)
		} else {
			err = s.readBlock(u)
		}
		if err != nil {
			// One unreadable file must not hide all others.
			j.errors.Add(1)
			j.logger.Error("request log: cannot read a file", zap.Error(err))
		}
	}
}

// Get answers the record of the id.
func (j *Journal) Get(ctx context.Context, id string) (*Record, error) {
	if !ValidID(id) {
		return nil, ErrNotFound
	}
	page, err := j.List(ctx, Query{Filter: Filter{RequestID: id}, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(page.Records) == 0 {
		return nil, ErrNotFound
	}
	return page.Records[0], nil
}

// newScan prepares a query: which units can hold an answer.
func (j *Journal) newScan(q Query, without leftOut) (*scan, error) {
	s := &scan{
		journal: j, filter: q.Filter, needle: []byte(q.Filter.needle()), want: min(max(q.Limit, 1), MaxLimit) + 1,
		start: 1<<64 - 1, reach: span{high: 1<<64 - 1, first: -1 << 63, last: 1<<63 - 1},
	}
	if q.After != "" {
		position, ok := parseID(q.After)
		if !ok {
			return nil, &FilterError{"starting_after", quoted(q.After) + " is not a request id"}
		}
		s.after = sortKey(q.After)
		if position > 0 && q.After == cursorBefore(position-1) {
			position-- // a position between records: nothing at it comes behind it
		}
		s.start = position
	}
	s.reach.high = s.start
	if q.Filter.RequestID != "" {
		position, ok := parseID(q.Filter.RequestID)
		if !ok {
			return s, nil // no record can have it
		}
		s.start = min(s.start, position)
		s.reach.low, s.reach.high = position, s.start
	}
	if t := q.Filter.Since; !t.IsZero() {
		s.reach.first = t.UnixMilli()
	}
	if t := q.Filter.Until; !t.IsZero() {
		s.reach.last = t.UnixMilli()
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.files {
		if without.paths[f.path] || without.files[f] {
			continue
		}
		if !f.indexed {
			s.addUnit(unit{file: f, isFile: true}, f.span)
			continue
		}
		s.addBlocksLocked(f)
	}
	heap.Init(&s.units)
	return s, nil
}

// readIndex makes the index of a file, unless another query has made it meanwhile, and adds its blocks.
func (s *scan) readIndex(u unit) error {
	j, f := s.journal, u.file
	f.indexing.Lock()
	defer f.indexing.Unlock()
	j.mu.Lock()
	indexed := f.indexed
	j.mu.Unlock()
	if !indexed {
		handle, err := s.open(f)
		if err != nil || handle == nil {
			return err
		}
		info, err := handle.Stat()
		if err != nil {
			return err
		}
		res, err := indexFile(handle, info.Size())
		if err != nil {
			return fmt.Errorf("%s: %w", j.pathOf(f), err)
		}
		s.read += info.Size()
		j.skipped.Add(res.skipped)
		j.mu.Lock()
		f.blocks, f.indexed = res.file.blocks, true
		j.mu.Unlock()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s.addBlocksLocked(f)
	heap.Init(&s.units)
	return nil
}

func (s *scan) addBlocksLocked(f *journalFile) {
	if !f.indexed || !s.reach.meets(f.span) {
		return
	}
	for _, b := range f.blocks {
		s.addUnit(unit{file: f, block: b}, b.span)
	}
	if f.open.length > 0 {
		s.addUnit(unit{file: f, block: f.open}, f.open.span)
	}
}

// addUnit adds the unit, which covers c, if the query reaches it. The heap is put in order by the caller.
func (s *scan) addUnit(u unit, c span) {
	if !s.reach.meets(c) {
		return
	}
	u.highest = min(c.high, s.start)
	s.units = append(s.units, u)
}

// meets says whether two spans have anything in common.
func (s span) meets(o span) bool {
	return s.low <= o.high && o.low <= s.high && s.first <= o.last && o.first <= s.last
}

// pathOf is where a file lies just now: it may be getting its sealed name.
func (j *Journal) pathOf(f *journalFile) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return f.path
}

// open opens a file once for the scan. It answers nil for a file that retention, or somebody, has deleted.
func (s *scan) open(f *journalFile) (File, error) {
	if handle, ok := s.handles[f]; ok {
		return handle, nil
	}
	j := s.journal
	j.mu.Lock()
	handle, err := j.fs.OpenFile(f.path, os.O_RDONLY, 0)
	j.mu.Unlock()
	if err != nil {
		return nil, ignoreMissing(err)
	}
	if s.handles == nil {
		s.handles = make(map[*journalFile]File)
	}
	s.handles[f] = handle
	return handle, nil
}
