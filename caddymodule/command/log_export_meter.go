package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// exportMeter watches an export go by: how much of it there is, and its last whole row.
type exportMeter struct {
	format string
	rowed  bool // rows can be seen: text that is not compressed
	since  time.Time
	moved  func() // called when more went by; may be nil

	bytes, lines int64
	last, open   []byte // the last whole line, and what came behind it
}

// maxRow bounds what is kept of one line, in bytes: several times what a record can be.
const maxRow = 4 << 20

func (p *logExportPlan) meter() *exportMeter {
	since, _ := time.Parse(time.RFC3339, p.query.Get("since")) // zero: no share can be told
	return &exportMeter{format: p.format, rowed: p.format != "parquet" && !p.zipped, since: since}
}

// watch gives what r gives.
func (m *exportMeter) watch(r io.Reader) io.Reader { return io.TeeReader(r, m) }

// Write notes what goes by. It never fails.
func (m *exportMeter) Write(p []byte) (int, error) {
	m.note(p)
	if m.moved != nil {
		m.moved()
	}
	return len(p), nil
}

func (m *exportMeter) note(p []byte) {
	m.bytes += int64(len(p))
	if !m.rowed {
		return
	}
	end := bytes.LastIndexByte(p, '\n')
	if end < 0 {
		if len(m.open)+len(p) <= maxRow {
			m.open = append(m.open, p...)
		}
		return
	}
	m.lines += int64(bytes.Count(p, []byte{'\n'}))
	if begin := bytes.LastIndexByte(p[:end], '\n'); begin >= 0 {
		m.last = append(m.last[:0], p[begin+1:end]...)
	} else {
		m.last = append(append(m.last[:0], m.open...), p[:end]...)
	}
	m.open = append(m.open[:0], p[end+1:]...)
}

// rows is how many records went by whole.
func (m *exportMeter) rows() int64 {
	if m.format == "csv" {
		return max(0, m.lines-1)
	}
	return m.lines
}

// row reads id and time of the last whole row; "" if there is none.
func (m *exportMeter) row() (id string, at time.Time) {
	if m.format == "csv" {
		first, rest, _ := bytes.Cut(m.last, []byte{','})
		second, _, _ := bytes.Cut(rest, []byte{','})
		id = string(first)
		at, _ = time.Parse(time.RFC3339, string(second)) // the head line has none
	} else {
		id, at = rowOf(m.last)
	}
	if !requestlog.ValidID(id) {
		return "", time.Time{}
	}
	return id, at
}

func (m *exportMeter) id() string {
	id, _ := m.row()
	return id
}

// rowOf reads id and time of a line of JSON.
func rowOf(line []byte) (id string, at time.Time) {
	var row struct {
		ID   string
		Time time.Time
	}
	if json.Unmarshal(line, &row) != nil || !requestlog.ValidID(row.ID) {
		return "", time.Time{}
	}
	return row.ID, row.Time
}

// text says how far the export has come. begun is when it began: it goes back from there.
func (m *exportMeter) text(begun time.Time) string {
	if !m.rowed {
		return fmt.Sprintf("Exported %s", byteText(m.bytes))
	}
	text := fmt.Sprintf("Exported %d records, %s", m.rows(), byteText(m.bytes))
	_, at := m.row()
	if at.IsZero() {
		return text
	}
	text += ", back to " + moment(&at)
	if whole := begun.Sub(m.since); !m.since.IsZero() && whole > 0 {
		text += fmt.Sprintf(" (%d %%)", min(100, max(0, 100*begun.Sub(at)/whole)))
	}
	return text
}

// byteText is a number of bytes for people.
func byteText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
