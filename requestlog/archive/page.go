package archive

import (
	"errors"
	"fmt"
	"io"

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

	integers []int64
	bits     []byte
}

// eachPage calls fn for the pages of a column in one row group, with the row at which each begins, until fn answers false.
// The page is fn's until it returns.
func eachPage(chunk parquet.ColumnChunk, rows int, fn func(first int, p *page) (bool, error)) error {
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
			var more bool
			if more, err = fn(first, &p); !more && err == nil {
				parquet.Release(raw)
				return nil
			}
		}
		parquet.Release(raw)
		if err != nil {
			return err
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
		values = 0
		for _, l := range p.levels {
			values += int(l)
		}
	}
	data := raw.Data()
	have := 0
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
		p.bits = data.Boolean()
		have = 8 * len(p.bits)
	}
	if have < values {
		return fmt.Errorf("%w: %d values in a page of %d", errDamaged, have, values)
	}
	return nil
}

// bytes is a text of a page without a dictionary.
func (p *page) bytes(i int) []byte { return p.text[p.offsets[i]:p.offsets[i+1]] }

// integer is a number, or a bit.
func (p *page) integer(i int) int64 {
	switch {
	case p.dictionary != nil:
		return p.dictionary.Index(p.index[i]).Int64()
	case p.bits != nil:
		return int64(p.bits[i/8] >> (i % 8) & 1)
	}
	return p.integers[i]
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

func (n *narrow) page(first int, p *page) (bool, error) {
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
	return true, nil
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
	return n.condition.Text(string(b))
}

// fillIn gives the records of some rows their values of one column.
type fillIn struct {
	column  *requestlog.Column
	rows    []int // ascending
	records []requestlog.Record
	done    int // rows that have their value

	dictionary parquet.Dictionary
	texts      map[int32]string // of the dictionary, those that were asked for
}

func (f *fillIn) page(first int, p *page) (bool, error) {
	if p.dictionary != f.dictionary {
		f.dictionary, f.texts = p.dictionary, make(map[int32]string)
	}
	value, row := 0, 0
	for f.done < len(f.rows) && f.rows[f.done] < first+p.rows {
		at := f.rows[f.done] - first
		for ; row < at; row++ {
			if p.levels == nil || p.levels[row] != 0 {
				value++
			}
		}
		if p.levels == nil || p.levels[at] != 0 {
			if err := f.column.SetValue(&f.records[f.done], f.value(p, value)); err != nil {
				return false, fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		f.done++
	}
	return f.done < len(f.rows), nil
}

func (f *fillIn) value(p *page, i int) requestlog.Value {
	switch {
	case !f.column.IsText():
		return requestlog.Value{Integer: p.integer(i)}
	case p.dictionary == nil:
		return requestlog.Value{Text: string(p.bytes(i))}
	}
	at := p.index[i]
	text, ok := f.texts[at]
	if !ok {
		text = string(p.dictionary.Index(at).ByteArray())
		f.texts[at] = text
	}
	return requestlog.Value{Text: text}
}
