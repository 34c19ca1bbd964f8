package archive

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog"
)

// rowGroup is one row group of an open file, for one query.
type rowGroup struct {
	open   *openFile
	chunks []parquet.ColumnChunk
	rows   int
	cost   atomic.Int64 // values looked at
}

func (h *handle) rowGroup(i int, g *group) (*rowGroup, error) {
	o, err := h.open()
	if err != nil {
		return nil, err
	}
	return &rowGroup{open: o, chunks: o.file.RowGroups()[i].ColumnChunks(), rows: g.Rows}, nil
}

// chunk is the column's part of the row group, nil if no row has a value of it.
func (r *rowGroup) chunk(name string) parquet.ColumnChunk {
	place := r.open.places[name]
	if place < 0 {
		return nil
	}
	chunk := r.chunks[place]
	if c, ok := chunk.(*parquet.FileColumnChunk); ok && c.NullCount() == c.NumValues() {
		return nil
	}
	return chunk
}

// selectRows answers the rows that meet all conditions, in their order. Columns are read one by one, only while rows are left.
func (r *rowGroup) selectRows(conditions []requestlog.Condition, within []string) ([]int, error) {
	keep := make([]bool, r.rows)
	for i := range keep {
		keep[i] = true
	}
	kept := r.rows
	for i := range conditions {
		var err error
		if kept, err = r.narrow(&conditions[i], keep); err != nil || kept == 0 {
			return nil, err
		}
	}
	if within != nil {
		var err error
		if kept, err = r.narrowWithin(within, keep); err != nil || kept == 0 {
			return nil, err
		}
	}
	rows := make([]int, 0, kept)
	for row, ok := range keep {
		if ok {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (r *rowGroup) narrow(c *requestlog.Condition, keep []bool) (kept int, err error) {
	n := newNarrow(c, keep)
	chunk := r.chunk(c.Column.Name)
	if chunk == nil {
		if !n.absent {
			return 0, nil
		}
		return count(keep), nil
	}
	r.cost.Add(int64(r.rows))
	err = eachPage(chunk, r.rows, n.page)
	return n.kept, err
}

// narrowWithin keeps the rows that concern one of the ids, as Record.Concerns has it.
func (r *rowGroup) narrowWithin(ids []string, keep []bool) (kept int, err error) {
	allowed := make(map[string]bool, len(ids))
	for _, id := range ids {
		allowed[id] = id != "" // nobody is no owner
	}
	byAccount, byOwner := make([]bool, len(keep)), keep
	copy(byAccount, keep)
	for name, list := range map[string][]bool{"account": byAccount, "owner": byOwner} {
		c := requestlog.Condition{Column: requestlog.ColumnNamed(name), Text: func(s string) bool { return allowed[s] }}
		n, err := r.narrow(&c, list)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			clear(list)
		}
	}
	if count(byAccount) > 0 {
		acted := requestlog.Condition{Column: requestlog.ColumnNamed("decision"), Text: func(s string) bool { return s != requestlog.DecisionForeign }}
		n, err := r.narrow(&acted, byAccount)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			clear(byAccount)
		}
	}
	for i := range keep {
		keep[i] = byAccount[i] || byOwner[i]
	}
	return count(keep), nil
}

func count(keep []bool) (n int) {
	for _, ok := range keep {
		if ok {
			n++
		}
	}
	return n
}

// records reads some rows, which are ascending. columns nil: all of them, else those of these names. Half of the columns are read
// beside the other half: most of the time goes into unpacking pages, and who asks for records waits for them.
func (r *rowGroup) records(rows []int, columns []string) ([]requestlog.Record, error) {
	records := make([]requestlog.Record, len(rows))
	read := func(half int) error {
		for i := half; i < len(r.open.columns); i += 2 {
			c := &r.open.columns[i]
			if columns != nil && !slices.Contains(columns, c.Name) {
				continue
			}
			if err := r.each(c, rows, func(i int, v requestlog.Value) error { return c.SetValue(&records[i], v) }); err != nil {
				return err
			}
		}
		return nil
	}
	other := make(chan error, 1)
	go func() { other <- guard(func() error { return read(1) }) }()
	err := guard(func() error { return read(0) })
	return records, errors.Join(err, <-other) // waited for in any case: it writes to records
}

// each calls set with the column's values of some rows, by their places in rows.
func (r *rowGroup) each(c *requestlog.Column, rows []int, set func(int, requestlog.Value) error) error {
	k := picker{text: c.IsText(), rows: rows}
	return r.pick(c.Name, &k, func(i int, p *page, at int) error { return set(i, k.value(p, at)) })
}

// eachValue calls take for those of some rows that have a value of the column, with their places in rows, and the value's in the
// page.
func (r *rowGroup) eachValue(name string, rows []int, take func(i int, p *page, at int)) error {
	return r.pick(name, &picker{rows: rows}, func(i int, p *page, at int) error {
		take(i, p, at)
		return nil
	})
}

func (r *rowGroup) pick(name string, k *picker, take func(i int, p *page, at int) error) error {
	chunk := r.chunk(name)
	if chunk == nil {
		return nil
	}
	r.cost.Add(int64(r.rows / 4)) // passed over, not looked at
	k.take = take
	return pickPages(chunk, k.rows, r.rows, k.page)
}
