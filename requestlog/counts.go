package requestlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Counts are how many records came in each minute, by status class, resource and decision: what answers a histogram without a
// look at any record. Gap records are not counted. Keys are too many to be counted so. Not safe for concurrent use.
type Counts struct {
	by [len(countedBy)]map[string][]minuteCount // nil once there were too many groups
}

// countedBy are the groupings that Counts knows.
var countedBy = [...]string{ByStatusClass, ByResource, ByDecision}

// maxCountGroups bounds the groups of one grouping. A grouping that has more is not counted: its histograms read records.
const maxCountGroups = 64

// minuteCount is a minute since 1970 and the records of it.
type minuteCount struct{ minute, n int64 }

// NewCounts begins with nothing.
func NewCounts() *Counts {
	c := new(Counts)
	for i := range c.by {
		c.by[i] = make(map[string][]minuteCount)
	}
	return c
}

// Add counts a record.
func (c *Counts) Add(r *Record) {
	if r.IsGap() {
		return
	}
	minute := minuteOf(r.Time)
	for i, by := range countedBy {
		of := c.by[i]
		if of == nil {
			continue
		}
		group := GroupOf(r, by)
		list := of[group]
		if n := len(list); n > 0 && list[n-1].minute == minute {
			list[n-1].n++
			continue
		}
		if list == nil && len(of) >= maxCountGroups {
			c.by[i] = nil
			continue
		}
		if list == nil {
			group = strings.Clone(group) // not a part of a record's line
		}
		of[group] = countMinute(list, minute)
	}
}

// countMinute counts one record of a minute. Records come nearly in order: the place is at the end, or close to it.
func countMinute(list []minuteCount, minute int64) []minuteCount {
	i := len(list)
	for i > 0 && list[i-1].minute > minute {
		i--
	}
	if i > 0 && list[i-1].minute == minute {
		list[i-1].n++
		return list
	}
	return slices.Insert(list, i, minuteCount{minute, 1})
}

func minuteOf(t time.Time) int64 { return floorDiv(t.Unix(), 60) }

func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

// Knows says whether the grouping is counted.
func (c *Counts) Knows(by string) bool {
	i := slices.Index(countedBy[:], by)
	return i >= 0 && c.by[i] != nil
}

// AddTo adds the counts of the query's whole minutes to the tally.
func (c *Counts) AddTo(t *Tally, p HistogramParts) {
	i := slices.Index(countedBy[:], t.query.By)
	if i < 0 {
		return
	}
	for group, list := range c.by[i] {
		for _, m := range list {
			if m.minute >= p.from && m.minute < p.to {
				t.Add(group, time.Unix(m.minute*60, 0), m.n)
			}
		}
	}
}

// HistogramParts is a histogram's time, cut into what counts can answer and what only records can.
type HistogramParts struct {
	from, to int64 // the whole minutes, to exclusive

	// Minutes selects the records of the whole minutes, Edges those before and behind them, of which there may be none.
	Minutes Filter
	Edges   []Filter
}

// Parts cuts the query's time. ok is false if its filter asks of more than the time: then counts cannot answer it.
func (q *HistogramQuery) Parts() (p HistogramParts, ok bool) {
	rest := q.Filter
	rest.Since, rest.Until = time.Time{}, time.Time{}
	if rest.Within != nil || len(rest.Conditions()) > 0 {
		return p, false
	}
	f := &q.Filter
	p.from, p.to = minuteOf(f.Since), minuteOf(f.Until)
	if f.Since.After(time.Unix(p.from*60, 0)) {
		p.from++
	}
	if p.from >= p.to {
		p.to = p.from
		p.Edges = []Filter{*f}
		return p, true
	}
	from, to := time.Unix(p.from*60, 0).UTC(), time.Unix(p.to*60, 0).UTC()
	p.Minutes = Filter{Since: from, Until: to}
	if f.Since.Before(from) {
		p.Edges = append(p.Edges, Filter{Since: f.Since, Until: from})
	}
	if to.Before(f.Until) {
		p.Edges = append(p.Edges, Filter{Since: to, Until: f.Until})
	}
	return p, true
}

// Empty says whether there is no whole minute.
func (p *HistogramParts) Empty() bool { return p.from >= p.to }

// MarshalBinary writes the counts in a few bytes for each minute: for each grouping the number of groups plus one (0: not
// counted), and for each group its name, its minutes as differences, and their counts.
func (c *Counts) MarshalBinary() ([]byte, error) {
	b := []byte{countsVersion}
	for _, of := range c.by {
		if of == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(of)+1))
		for _, group := range slices.Sorted(maps.Keys(of)) {
			b = binary.AppendUvarint(b, uint64(len(group)))
			b = append(b, group...)
			b = binary.AppendUvarint(b, uint64(len(of[group])))
			last := int64(0)
			for _, m := range of[group] {
				b = binary.AppendVarint(b, m.minute-last)
				b = binary.AppendUvarint(b, uint64(m.n))
				last = m.minute
			}
		}
	}
	return b, nil
}

const countsVersion = 1

var errCounts = errors.New("damaged counts")

// UnmarshalBinary reads what MarshalBinary wrote.
func (c *Counts) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != countsVersion {
		return fmt.Errorf("%w: unknown version", errCounts)
	}
	d := countsDecoder{b[1:], nil}
	for i := range c.by {
		groups := d.uvarint(maxCountGroups + 1)
		if groups == 0 {
			c.by[i] = nil
			continue
		}
		c.by[i] = make(map[string][]minuteCount, groups-1)
		for range groups - 1 {
			group := d.text(d.uvarint(uint64(len(d.b))))
			list := make([]minuteCount, d.uvarint(uint64(len(d.b))/2))
			last := int64(0)
			for k := range list {
				last += d.varint()
				list[k] = minuteCount{last, int64(d.uvarint(1 << 40))}
			}
			c.by[i][group] = list
		}
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = errCounts
	}
	return d.err
}

// countsDecoder reads numbers until the first that is none; from then on everything is 0.
type countsDecoder struct {
	b   []byte
	err error
}

func (d *countsDecoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > most {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *countsDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *countsDecoder) text(n uint64) string {
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *countsDecoder) fail() { d.b, d.err = nil, errCounts }
