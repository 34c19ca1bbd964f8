package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog"
)

// page is a page of one column as the loops below walk it: the values that are there, without the absent ones, and which rows
// have one.
type page struct {
	rows   int
	levels []byte // 1: the row has a value; nil: all have

	dictionary parquet.Dictionary // of texts: index says which of its values the row has
	index      []int32

	text    []byte // of texts without a dictionary
	offsets []uint32

	integers []int64 // of everything else; 1 for true
}

// eachPage calls fn for the pages of a column in one row group, with the row at which each begins. The page is fn's until it
// returns.
func eachPage(chunk parquet.ColumnChunk, rows int, fn func(first int, p *page)) error {
	pages := chunk.Pages()
	defer pages.Close()
	var p page
	for first := 0; first < rows; first += p.rows {
		raw, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: a column of %d rows ends at %d", errDamaged, rows, first)
		}
		if err != nil {
			return err
		}
		if err = p.fill(raw, rows-first); err == nil {
			fn(first, &p)
		}
		parquet.Release(raw)
		if err != nil {
			return err
		}
	}
	return nil
}

// pickPages calls fn for those pages of a column that hold the rows, which are ascending: from the first row of them that is
// wanted on. fn answers how many rows have been dealt with so far.
func pickPages(chunk parquet.ColumnChunk, rows []int, most int, fn func(first int, p *page) (int, error)) error {
	if _, err := chunk.OffsetIndex(); err != nil { // read once for each open file: it says where pages begin
		return err
	}
	pages := chunk.Pages()
	defer pages.Close()
	var p page
	for done := 0; done < len(rows); {
		first := rows[done]
		if err := pages.SeekToRow(int64(first)); err != nil {
			return err
		}
		raw, err := pages.ReadPage()
		if err != nil {
			return fmt.Errorf("row %d: %w", first, err)
		}
		before := done
		if err = p.fill(raw, most-first); err == nil {
			done, err = fn(first, &p)
		}
		parquet.Release(raw)
		if err != nil {
			return err
		}
		if done == before {
			return fmt.Errorf("%w: row %d is in no page", errDamaged, first)
		}
	}
	return nil
}

// fill takes the page apart, and checks what the loops rely on.
func (p *page) fill(raw parquet.Page, most int) error {
	*p = page{rows: int(raw.NumRows()), levels: raw.DefinitionLevels()}
	if p.rows <= 0 || p.rows > most || p.levels != nil && len(p.levels) != p.rows {
		return fmt.Errorf("%w: a page of %d rows", errDamaged, p.rows)
	}
	values := p.rows
	if p.levels != nil {
		values = present(p.levels)
	}
	data := raw.Data()
	var have int
	switch p.dictionary = raw.Dictionary(); {
	case p.dictionary != nil:
		p.index = data.Int32()
		have = len(p.index)
	case raw.Type().Kind() == parquet.ByteArray:
		p.text, p.offsets = data.ByteArray()
		have = len(p.offsets) - 1
	case raw.Type().Kind() == parquet.Int64:
		p.integers = data.Int64()
		have = len(p.integers)
	default:
		var err error
		if p.integers, err = booleans(raw, values); err != nil {
			return err
		}
		have = len(p.integers)
	}
	if have < values {
		return fmt.Errorf("%w: %d values in a page of %d", errDamaged, have, values)
	}
	return nil
}

var presentLevel = []byte{1}

// present counts the rows that have a value.
func present(levels []byte) int { return bytes.Count(levels, presentLevel) }

// bytes is a text of a page without a dictionary.
func (p *page) bytes(i int) []byte { return p.text[p.offsets[i]:p.offsets[i+1]] }

// string copies a text.
func (p *page) string(i int) string { return strings.Clone(p.view(i)) }

// view is a text as long as the page is there.
func (p *page) view(i int) string {
	var b []byte
	if p.dictionary != nil {
		b = p.dictionary.Index(p.index[i]).ByteArray()
	} else {
		b = p.bytes(i)
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (p *page) integer(i int) int64 {
	if p.dictionary != nil {
		return p.dictionary.Index(p.index[i]).Int64()
	}
	return p.integers[i]
}

// booleans reads a page of bits value by value: a page that was cut does not begin at the first bit of a byte.
func booleans(raw parquet.Page, n int) ([]int64, error) {
	list := make([]int64, 0, n)
	values := make([]parquet.Value, raw.NumValues())
	got, err := raw.Values().ReadValues(values)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, v := range values[:got] {
		switch {
		case v.IsNull():
		case v.Boolean():
			list = append(list, 1)
		default:
			list = append(list, 0)
		}
	}
	return list, nil
}

// narrow keeps the rows that meet the condition. It is called for every page of a column.
type narrow struct {
	condition *requestlog.Condition
	absent    bool // what the condition says of rows without a value
	keep      []bool
	kept      int

	dictionary parquet.Dictionary
	verdicts   []verdict // of the dictionary's values
}

type verdict uint8

const (
	unknown verdict = iota
	met
	failed
)

func newNarrow(c *requestlog.Condition, keep []bool) *narrow {
	n := &narrow{condition: c, keep: keep}
	if c.Text != nil {
		n.absent = c.Text("")
	} else {
		n.absent = c.Integer(0)
	}
	return n
}

func (n *narrow) page(first int, p *page) {
	if p.dictionary != n.dictionary && p.dictionary != nil {
		n.dictionary, n.verdicts = p.dictionary, make([]verdict, p.dictionary.Len())
	}
	value := 0
	for row := range p.rows {
		at := first + row
		if p.levels != nil && p.levels[row] == 0 {
			if n.keep[at] = n.keep[at] && n.absent; n.keep[at] {
				n.kept++
			}
			continue
		}
		if n.keep[at] {
			if n.keep[at] = n.test(p, value); n.keep[at] {
				n.kept++
			}
		}
		value++
	}
}

func (n *narrow) test(p *page, i int) bool {
	if p.dictionary != nil {
		v := p.index[i]
		if n.verdicts[v] == unknown {
			n.verdicts[v] = failed
			if n.value(p.dictionary.Index(v)) {
				n.verdicts[v] = met
			}
		}
		return n.verdicts[v] == met
	}
	if n.condition.Integer != nil {
		return n.condition.Integer(p.integer(i))
	}
	return n.bytes(p.bytes(i))
}

func (n *narrow) value(v parquet.Value) bool {
	if n.condition.Integer != nil {
		return n.condition.Integer(v.Int64())
	}
	return n.bytes(v.ByteArray())
}

func (n *narrow) bytes(b []byte) bool {
	if n.condition.Exact != "" {
		return string(b) == n.condition.Exact
	}
	return n.condition.Text(unsafe.String(unsafe.SliceData(b), len(b))) // it looks at the text, and keeps nothing of it
}

// picker takes the values of some rows out of a column. It is called for every page of it.
type picker struct {
	text bool  // the column is one of texts
	rows []int // ascending
	take func(i int, p *page, at int) error
	done int // rows that have their value

	dictionary parquet.Dictionary
	texts      []string // of the dictionary, those that were asked for; nil if rows are few
}

// manyRows is from how many rows on the texts of a dictionary are kept between them.
const manyRows = 100

func (k *picker) page(first int, p *page) (int, error) {
	if k.text && p.dictionary != k.dictionary && p.dictionary != nil && len(k.rows) >= manyRows {
		k.dictionary, k.texts = p.dictionary, make([]string, p.dictionary.Len())
	}
	value, row := 0, 0
	for k.done < len(k.rows) && k.rows[k.done] < first+p.rows {
		at := k.rows[k.done] - first
		if p.levels == nil {
			value = at
		} else {
			value += present(p.levels[row:at])
		}
		row = at
		if p.levels == nil || p.levels[at] != 0 {
			if err := k.take(k.done, p, value); err != nil {
				return k.done, fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		k.done++
	}
	return k.done, nil
}

func (k *picker) value(p *page, i int) requestlog.Value {
	switch {
	case !k.text:
		return requestlog.Value{Integer: p.integer(i)}
	case p.dictionary == nil:
		return requestlog.Value{Text: p.string(i)}
	}
	if k.texts == nil {
		return requestlog.Value{Text: p.string(i)}
	}
	at := p.index[i]
	if k.texts[at] == "" {
		k.texts[at] = p.string(i)
	}
	return requestlog.Value{Text: k.texts[at]}
}
