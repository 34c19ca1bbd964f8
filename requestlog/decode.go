package requestlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// errLine is the reason of every line that cannot be read.
var errLine = errors.New("not a request record")

// decodeLine reads one line of the journal into r. It knows the shape of what the encoder writes (one flat object, names in
// the schema's order, few escapes), which makes it several times faster than encoding/json, and reads any other JSON object
// with the same meaning too. Unknown names are passed over, so that an older version reads a newer one's journal.
// The record's texts share one copy of the line.
func decodeLine(line []byte, r *Record) error { return decodeText(string(line), r) }

// decodeText is decodeLine for a line that nobody writes to: the record's texts are parts of it.
func decodeText(line string, r *Record) error {
	*r = Record{}
	if strings.IndexByte(line, 0) >= 0 {
		return fmt.Errorf("%w: zero bytes", errLine) // what a power cut leaves in a block that was never written
	}
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "\uFFFD") // bytes that a disk turned: encoding/json reads them so too
	}
	d := lineDecoder{s: line, plain: strings.IndexByte(line, '\\') < 0}
	if err := d.object(r); err != nil {
		return err
	}
	if !ValidID(r.ID) {
		return fmt.Errorf("%w: id %s", errLine, quoted(r.ID))
	}
	return nil
}

type lineDecoder struct {
	s     string
	pos   int
	plain bool // no text has an escape
}

func (d *lineDecoder) object(r *Record) error {
	if d.skipSpace(); !d.take('{') {
		return d.fail("no object")
	}
	expected := 0
	for first := true; ; first = false {
		d.skipSpace()
		if d.take('}') {
			break
		}
		if !first {
			if !d.take(',') {
				return d.fail("no comma")
			}
			d.skipSpace()
		}
		c := d.expectedName(&expected)
		if c == nil {
			name, err := d.text()
			if err != nil {
				return err
			}
			if d.skipSpace(); !d.take(':') {
				return d.fail("no colon")
			}
			d.skipSpace()
			c = columnByName[name]
		}
		if c == nil {
			if err := d.skipValue(); err != nil {
				return err
			}
			continue
		}
		if strings.HasPrefix(d.s[d.pos:], "null") {
			d.pos += len("null")
			continue
		}
		if err := d.value(c, r); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	if d.skipSpace(); d.pos != len(d.s) {
		return d.fail("text behind the object")
	}
	return nil
}

// expectedName reads a name, with its colon, where the encoder would have put it: at or behind the expected place. It reads nothing
// and answers nil if the line is of another shape.
func (d *lineDecoder) expectedName(expected *int) *Column {
	rest := d.s[d.pos:]
	for i := *expected; i < len(columns); i++ {
		head := columns[i].head
		if len(rest) > len(head) && rest[1] == head[1] && rest[len(head)-2] == '"' && rest[:len(head)] == head {
			*expected = i + 1
			d.pos += len(head)
			d.skipSpace()
			return &columns[i]
		}
	}
	return nil
}

func (d *lineDecoder) value(c *Column, r *Record) error {
	switch c.Kind {
	case ColumnInteger:
		v, err := d.number()
		if err != nil {
			return err
		}
		c.setInt(r, v)
		return nil
	case ColumnBool:
		v, err := d.boolean()
		*c.boolean(r) = v
		return err
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	switch c.Kind {
	case ColumnText:
		*c.text(r) = s
	case ColumnTime:
		t, ok := readTime(s)
		if !ok {
			return fmt.Errorf("%w: time", errLine)
		}
		*c.time(r) = t
	case ColumnAddress:
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("%w: address", errLine)
		}
		*c.address(r) = a
	}
	return nil
}

func (d *lineDecoder) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", errLine, what, d.pos)
}

func (d *lineDecoder) skipSpace() {
	for d.pos < len(d.s) {
		switch d.s[d.pos] {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return
		}
	}
}

func (d *lineDecoder) take(c byte) bool {
	if d.pos < len(d.s) && d.s[d.pos] == c {
		d.pos++
		return true
	}
	return false
}

// text reads a JSON string. Without escapes it is a part of the line.
func (d *lineDecoder) text() (string, error) {
	if !d.take('"') {
		return "", d.fail("no string")
	}
	start := d.pos
	end := strings.IndexByte(d.s[start:], '"')
	if end < 0 {
		return "", d.fail("open string")
	}
	if d.plain || strings.IndexByte(d.s[start:start+end], '\\') < 0 {
		d.pos = start + end + 1
		return d.s[start : start+end], nil
	}
	for i := start; i < len(d.s); i++ {
		switch d.s[i] {
		case '\\':
			i++
		case '"':
			d.pos = i + 1
			var s string
			if err := json.Unmarshal([]byte(d.s[start-1:d.pos]), &s); err != nil {
				return "", d.fail("bad string")
			}
			return s, nil
		}
	}
	return "", d.fail("open string")
}

func (d *lineDecoder) number() (int64, error) {
	end := d.pos
	for end < len(d.s) && (d.s[end] == '-' || d.s[end] >= '0' && d.s[end] <= '9') {
		end++
	}
	v, err := strconv.ParseInt(d.s[d.pos:end], 10, 64)
	if err != nil {
		return 0, d.fail("no whole number")
	}
	d.pos = end
	return v, nil
}

func (d *lineDecoder) boolean() (bool, error) {
	switch {
	case strings.HasPrefix(d.s[d.pos:], "true"):
		d.pos += len("true")
		return true, nil
	case strings.HasPrefix(d.s[d.pos:], "false"):
		d.pos += len("false")
		return false, nil
	}
	return false, d.fail("no boolean")
}

// skipValue passes over a value of any type, checked by encoding/json: unknown names are rare.
func (d *lineDecoder) skipValue() error {
	dec := json.NewDecoder(strings.NewReader(d.s[d.pos:]))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return d.fail("bad value")
	}
	d.pos += int(dec.InputOffset())
	return nil
}

// lineHead reads id and time of a line as the encoder writes it, without decoding the rest; ok is false for any other shape.
func lineHead(line []byte) (id []byte, ms int64, ok bool) {
	const (
		beforeID   = `{"id":"`
		beforeTime = `","time":"`
		idAt       = len(beforeID)
		timeAt     = idAt + idLen + len(beforeTime)
	)
	if len(line) < timeAt+len(timeLayout)+1 || !bytes.HasPrefix(line, []byte(beforeID)) ||
		!bytes.HasPrefix(line[idAt+idLen:], []byte(beforeTime)) {
		return nil, 0, false
	}
	t, ok := readTime(line[timeAt : timeAt+len(timeLayout)])
	if !ok {
		return nil, 0, false
	}
	return line[idAt : idAt+idLen], t.UnixMilli(), true
}

// readTime reads a time, to the millisecond: what appendTime writes by its digits, any other form of RFC 3339 with package time.
func readTime[T string | []byte](s T) (time.Time, bool) {
	if len(s) == len(timeLayout) && s[4] == '-' && s[7] == '-' && s[10] == 'T' && s[13] == ':' && s[16] == ':' && s[19] == '.' && s[23] == 'Z' {
		year, month, day := digits(s[:4]), digits(s[5:7]), digits(s[8:10])
		hour, minute, second, ms := digits(s[11:13]), digits(s[14:16]), digits(s[17:19]), digits(s[20:23])
		// 28 days are in every month: whether there are more is left to package time.
		if year >= 0 && month >= 1 && month <= 12 && day >= 1 && day <= 28 && hour >= 0 && hour < 24 &&
			minute >= 0 && minute < 60 && second >= 0 && second < 60 && ms >= 0 {
			return time.Date(year, time.Month(month), day, hour, minute, second, ms*int(time.Millisecond), time.UTC), true
		}
	}
	t, err := time.Parse(time.RFC3339, string(s))
	return t.UTC().Truncate(time.Millisecond), err == nil
}

// digits is a number of a few digits, -1 if something else is among them.
func digits[T string | []byte](s T) (v int) {
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return -1
		}
		v = 10*v + int(c)
	}
	return v
}
