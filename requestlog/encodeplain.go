package requestlog

import "strconv"

// maxRemembered bounds the texts that the cleaner and the encoder keep of the records before.
const maxRemembered = 128

// append adds the record's line to b, newline included. What zap would write byte for byte as it is, which is nearly every
// record, is written here: names that are spelled out already, and texts that were found to need no escape when the record
// before had them. Everything else is zap's.
func (e *encoder) append(b []byte, r *Record) ([]byte, error) {
	if line, ok := e.appendPlain(b, r); ok {
		return line, nil
	}
	line, err := e.encode(r)
	if err != nil {
		return b, err
	}
	defer line.Free()
	return append(b, line.Bytes()...), nil
}

// appendPlain answers false for a record of which a text needs an escape.
func (e *encoder) appendPlain(b []byte, r *Record) (_ []byte, ok bool) {
	b = append(b, '{')
	for i := range columns {
		c := &columns[i]
		switch c.Kind {
		case ColumnText:
			s := *c.text(r)
			if s == "" && !c.always {
				continue
			}
			if s != e.plain[i] {
				if !needsNoEscape(s) {
					return b, false
				}
				if len(s) <= maxRemembered {
					e.plain[i] = s
				}
			}
			b = append(append(b, c.head...), '"')
			b = append(append(b, s...), '"')
		case ColumnInteger:
			v := c.integer(r)
			if v == 0 && !c.always {
				continue
			}
			b = strconv.AppendInt(append(b, c.head...), v, 10)
		case ColumnTime:
			t := c.time(r)
			if t.IsZero() && !c.always {
				continue
			}
			b = append(append(b, c.head...), '"')
			b = append(appendTime(b, *t), '"')
		case ColumnAddress:
			a := c.address(r)
			if !a.IsValid() {
				continue
			}
			b = append(append(b, c.head...), '"')
			b = append(a.AppendTo(b), '"')
		case ColumnBool:
			if !*c.boolean(r) {
				continue
			}
			b = append(append(b, c.head...), "true"...)
		}
		b = append(b, ',')
	}
	b[len(b)-1] = '}' // columns that are always there come before it
	return append(b, '\n'), true
}

// needsNoEscape says whether s stands in JSON as it is.
func needsNoEscape(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
