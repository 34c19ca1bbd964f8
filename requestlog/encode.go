package requestlog

import (
	"sync"
	"time"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// encoder writes records as JSON lines with zap's encoder: no level, caller, stack or message, only the columns. It keeps
// its scratch space between records, so that encoding one allocates nothing. Not safe for concurrent use.
type encoder struct {
	zap    zapcore.Encoder
	fields [1]zapcore.Field
	object lineObject
	plain  []string // by column: the last short text that needed no escape
}

func newEncoder() *encoder {
	e := &encoder{zap: zapcore.NewJSONEncoder(zapcore.EncoderConfig{LineEnding: "\n"}), plain: make([]string, len(columns))}
	e.fields[0] = zapcore.Field{Type: zapcore.InlineMarshalerType, Interface: &e.object}
	return e
}

// encode answers the record's line, newline included. The caller frees the buffer.
func (e *encoder) encode(r *Record) (*buffer.Buffer, error) {
	e.object.record = r
	line, err := e.zap.EncodeEntry(zapcore.Entry{}, e.fields[:])
	e.object.record = nil
	return line, err
}

// lineObject is a record as zap sees it. Names are added in the schema's order; what is zero is left out, except for the
// columns that are always there.
type lineObject struct {
	record  *Record
	scratch [64]byte
}

func (o *lineObject) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	r := o.record
	for i := range columns {
		c := &columns[i]
		switch c.Kind {
		case ColumnText:
			if s := *c.text(r); s != "" || c.always {
				enc.AddString(c.Name, s)
			}
		case ColumnInteger:
			if v := c.integer(r); v != 0 || c.always {
				enc.AddInt64(c.Name, v)
			}
		case ColumnTime:
			if t := c.time(r); !t.IsZero() || c.always {
				enc.AddByteString(c.Name, appendTime(o.scratch[:0], *t))
			}
		case ColumnAddress:
			if a := c.address(r); a.IsValid() {
				enc.AddByteString(c.Name, a.AppendTo(o.scratch[:0]))
			}
		case ColumnBool:
			if *c.boolean(r) {
				enc.AddBool(c.Name, true)
			}
		}
	}
	return nil
}

// timeLayout is how times are written; appendTime is it, spelled out for speed.
const timeLayout = "2006-01-02T15:04:05.000Z"

// appendTime writes the time in UTC with milliseconds, always 24 bytes for years that cleanTime lets pass.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/int(time.Millisecond), 3)
	return append(b, 'Z')
}

func appendDigits(b []byte, v, width int) []byte {
	for range width {
		b = append(b, '0')
	}
	for i := len(b) - 1; width > 0 && v > 0; i, width = i-1, width-1 {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}

var encoders = sync.Pool{New: func() any { return newEncoder() }}

// MarshalJSON writes the record as the journal does: the columns by name, absent where they are zero.
func (r *Record) MarshalJSON() ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	line, err := e.encode(r)
	if err != nil {
		return nil, err
	}
	defer line.Free()
	return append([]byte(nil), line.Bytes()[:line.Len()-1]...), nil
}

// UnmarshalJSON reads what MarshalJSON wrote. Names that the schema does not know are passed over.
func (r *Record) UnmarshalJSON(b []byte) error { return decodeLine(b, r) }
