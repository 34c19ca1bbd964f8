package archive

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog"
)

const (
	// groupRows is how many records a row group holds: few enough that reading one record of it costs little, enough that a
	// dictionary pays.
	groupRows = 8192
	// chunkRows is how many records are gathered before they are given to the columns.
	chunkRows = 256
	// pageBytes is about where a page ends, before compression.
	pageBytes = 64 << 10
)

// ParquetWriter writes records into a Parquet file, in the order in which they are given and in constant memory: a row group
// at a time. It is not safe for concurrent use.
type ParquetWriter struct {
	parquet *parquet.Writer
	columns []requestlog.Column
	values  [][]parquet.Value // of each column, not yet given to it
	rows    int               // of the row group
	err     error             // the first failure: nothing is written behind it
	endRows func() error      // called before a row group ends; may be nil
}

// NewParquetWriter begins a Parquet file on w, such as an export. Close ends it, and does not close w.
func NewParquetWriter(w io.Writer) *ParquetWriter { return newParquetWriter(w) }

func newParquetWriter(w io.Writer, options ...parquet.WriterOption) *ParquetWriter {
	columns := requestlog.Columns()
	options = append(options,
		recordSchema(columns), parquet.PageBufferSize(pageBytes), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.CreatedBy("keystile", "1", ""))
	p := &ParquetWriter{parquet: parquet.NewWriter(w, options...), columns: columns, values: make([][]parquet.Value, len(columns))}
	for i := range p.values {
		p.values[i] = make([]parquet.Value, 0, chunkRows)
	}
	return p
}

// Write adds a record. It keeps nothing of it but its texts.
func (p *ParquetWriter) Write(r *requestlog.Record) error {
	if p.err != nil {
		return p.err
	}
	for i := range p.columns {
		c := &p.columns[i]
		v, ok := c.Value(r)
		p.values[i] = append(p.values[i], parquetValue(c, v, ok, i))
	}
	p.rows++
	if len(p.values[0]) == chunkRows {
		p.giveRows()
	}
	if p.rows == groupRows {
		p.endGroup()
	}
	return p.err
}

// parquetValue is a column's value as Parquet has it: an absent one is null, at definition level 0.
func parquetValue(c *requestlog.Column, v requestlog.Value, ok bool, column int) parquet.Value {
	level := 0
	if c.Optional() {
		if !ok {
			return parquet.NullValue().Level(0, 0, column)
		}
		level = 1
	}
	switch {
	case c.IsText():
		return parquet.ByteArrayValue([]byte(v.Text)).Level(0, level, column)
	case c.Kind == requestlog.ColumnBool:
		return parquet.BooleanValue(v.Integer != 0).Level(0, level, column)
	}
	return parquet.Int64Value(v.Integer).Level(0, level, column)
}

// giveRows hands the gathered values to the columns.
func (p *ParquetWriter) giveRows() {
	if len(p.values[0]) == 0 || p.err != nil {
		return
	}
	p.guard(func() error {
		for i, column := range p.parquet.ColumnWriters() {
			if _, err := column.WriteRowValues(p.values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range p.values {
		clear(p.values[i])
		p.values[i] = p.values[i][:0]
	}
}

// endGroup ends the row group.
func (p *ParquetWriter) endGroup() {
	p.giveRows()
	if p.rows == 0 || p.err != nil {
		return
	}
	p.rows = 0
	if p.endRows != nil {
		if p.err = p.endRows(); p.err != nil {
			return
		}
	}
	p.guard(p.parquet.Flush)
}

// Close writes what is left and the footer. A file of no records is a valid one.
func (p *ParquetWriter) Close() error {
	p.endGroup()
	if p.err == nil {
		p.guard(p.parquet.Close)
	}
	return p.err
}

// guard makes an error of a panic of the library: a record that it cannot take must not end the process.
func (p *ParquetWriter) guard(f func() error) {
	defer func() {
		if e := recover(); e != nil {
			p.err = fmt.Errorf("writing Parquet: panic: %v", e)
		}
	}()
	if err := f(); err != nil {
		p.err = fmt.Errorf("writing Parquet: %w", err)
	}
}
