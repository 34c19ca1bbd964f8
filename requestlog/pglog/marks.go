package pglog

import "time"

// marks tell how old and how many the records are that lie behind a place of the journal. Places are bytes since the process began
// to count; a mark stands at the end of what was written at a time.
type marks struct {
	list []mark
	from int64 // the place
}

type mark struct {
	end     int64
	records int64
	at      time.Time
}

// maxMarks bounds the list: beyond, neighbours are joined.
const maxMarks = 4096

// add notes what was written up to a place.
func (m *marks) add(end, records int64, at time.Time) {
	if n := len(m.list); n > 1 && at.Sub(m.list[n-1].at) < time.Second {
		m.list[n-1].end = end
		m.list[n-1].records += records
		return
	}
	m.list = append(m.list, mark{end, records, at})
	if len(m.list) < maxMarks {
		return
	}
	for i := range maxMarks / 2 {
		a, b := m.list[2*i], m.list[2*i+1]
		m.list[i] = mark{b.end, a.records + b.records, a.at}
	}
	m.list = m.list[:maxMarks/2]
}

// drop forgets what lies before a place. The records of a mark that is reached in part are shared out.
func (m *marks) drop(place int64) {
	for len(m.list) > 0 && m.list[0].end <= place {
		m.from = m.list[0].end
		m.list = m.list[1:]
	}
	if len(m.list) > 0 && place > m.from {
		first := &m.list[0]
		first.records -= first.records * (place - m.from) / (first.end - m.from)
		m.from = place
	}
}

func (m *marks) records() (n int64) {
	for _, k := range m.list {
		n += k.records
	}
	return n
}

// oldest is when the first record was written, zero if there is none.
func (m *marks) oldest() time.Time {
	if len(m.list) == 0 {
		return time.Time{}
	}
	return m.list[0].at
}
