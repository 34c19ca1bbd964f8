package archive

import (
	"fmt"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog"
)

const (
	// groupRows is how many records a row group holds: few enough that reading one record of it costs little, enough that a
	// dictionary pays.
	groupRows = 4096
	// groupBytes ends a row group of long texts earlier: it is held in memory, packed, until it ends.
	groupBytes = 16 << 20
	// chunkRows is how many records are gathered before they are given to the columns.
	// They still are in the processor's cache when the last column takes its part.
	chunkRows = 64
	// chunkBytes is how much captured text they may have before that.
	chunkBytes = 2 << 20
	// pageBytes is about where a page ends, before compression: a dictionary's row group is one page, a long text's several, of
	// which one is read for one record.
	pageBytes = 4 * groupRows
)

// ParquetWriter writes records into a Parquet file, in the order in which they are given and in constant memory: a row group
// at a time. It is not safe for concurrent use.
type ParquetWriter struct {
	parquet *parquet.GenericWriter[any]
	columns []requestlog.Column
	chunk   []requestlog.Record // not yet given to the columns
	values  []parquet.Value     // scratch: one column of chunk
	held    int                 // captured bytes in chunk
	texts   []byte              // scratch: what values are made of
	rows    int                 // of the row group
	bytes   int                 // of the texts that its columns were given
	err     error               // the first failure: nothing is written behind it
	endRows func() error        // called before a row group ends; may be nil
}

// NewParquetWriter begins a Parquet file on w, such as an export. Close ends it, and does not close w.
func NewParquetWriter(w io.Writer) *ParquetWriter { return newParquetWriter(w) }

func newParquetWriter(w io.Writer, options ...parquet.WriterOption) *ParquetWriter {
	columns := requestlog.Columns()
	options = append(options,
		recordSchema(columns), parquet.PageBufferSize(pageBytes), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.CreatedBy("keystile", "1", ""))
	for i := range columns {
		// Bounds of pages cost a look at every value, and those of texts that come in any order rule nothing out. The header of a
		// page need not say again what the index says.
		c := &columns[i]
		options = append(options, parquet.SkipPageStatistics(c.Name))
		if c.IsText() && c.Name != "id" {
			options = append(options, parquet.SkipPageBounds(c.Name))
		}
	}
	return &ParquetWriter{
		parquet: parquet.NewGenericWriter[any](w, options...), columns: columns,
		chunk: make([]requestlog.Record, 0, chunkRows), values: make([]parquet.Value, 0, chunkRows),
	}
}

// Write adds a record. It keeps nothing of it but its texts.
func (p *ParquetWriter) Write(r *requestlog.Record) error {
	if p.err != nil {
		return p.err
	}
	p.chunk = append(p.chunk, *r)
	p.rows++
	if p.held += r.CapturedBytes(); len(p.chunk) == chunkRows || p.held >= chunkBytes {
		p.giveRows()
	}
	if p.rows == groupRows || p.bytes >= groupBytes {
		p.endGroup()
	}
	return p.err
}

// giveRows hands the gathered records to the columns, one after the other.
func (p *ParquetWriter) giveRows() {
	if len(p.chunk) == 0 || p.err != nil {
		return
	}
	p.guard(func() error {
		for i, column := range p.parquet.ColumnWriters() {
			p.fill(i)
			if _, err := column.WriteRowValues(p.values); err != nil {
				return err
			}
		}
		return nil
	})
	clear(p.chunk)
	p.chunk, p.held = p.chunk[:0], 0
}

// fill makes Parquet's values of a column of the gathered records. What is null is the zero value, at definition level 0.
func (p *ParquetWriter) fill(column int) {
	c := &p.columns[column]
	level := 0
	if c.Optional() {
		level = 1
	}
	p.values = p.values[:len(p.chunk)]
	switch c.Kind {
	case requestlog.ColumnText:
		for i := range p.chunk {
			s := c.TextOf(&p.chunk[i])
			if s == "" && level == 1 {
				p.values[i] = parquet.Value{}
				continue
			}
			p.bytes += len(s)
			p.values[i] = textValue(s).Level(0, level, column)
		}
	case requestlog.ColumnAddress:
		p.fillAddresses(c, level, column)
	default:
		for i := range p.chunk {
			switch v, ok := c.Value(&p.chunk[i]); {
			case !ok && level == 1:
				p.values[i] = parquet.Value{}
			case c.Kind == requestlog.ColumnBool:
				p.values[i] = parquet.BooleanValue(v.Integer != 0).Level(0, level, column)
			default:
				p.values[i] = parquet.Int64Value(v.Integer).Level(0, level, column)
			}
		}
	}
}

// fillAddresses writes the texts of addresses behind one another. Space that has become too small is left to those that are in it.
func (p *ParquetWriter) fillAddresses(c *requestlog.Column, level, column int) {
	p.texts = p.texts[:0]
	for i := range p.chunk {
		a := c.AddressOf(&p.chunk[i])
		if !a.IsValid() && level == 1 {
			p.values[i] = parquet.Value{}
			continue
		}
		begin := len(p.texts)
		p.texts = a.AppendTo(p.texts)
		p.bytes += len(p.texts) - begin
		p.values[i] = parquet.ByteArrayValue(p.texts[begin:len(p.texts):len(p.texts)]).Level(0, level, column)
	}
}

// textValue is a text as Parquet has it, without a copy: the columns copy it, and nobody writes to it.
func textValue(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// endGroup ends the row group.
func (p *ParquetWriter) endGroup() {
	p.giveRows()
	if p.rows == 0 || p.err != nil {
		return
	}
	p.rows, p.bytes = 0, 0
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
