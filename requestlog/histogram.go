package requestlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The groupings of a histogram: by which column of the records its counts are told apart.
const (
	ByStatusClass = "status" // "2xx", "4xx", …; "none" for records without a status
	ByKey         = "key"
	ByResource    = "resource"
	ByDecision    = "decision"
)

// HistogramQuery asks how many records came in each stretch of time. Gap records are not counted.
type HistogramQuery struct {
	// Filter selects the records. Since and Until must both be set, and Until be later.
	Filter Filter
	// Bucket is the length of one stretch: whole minutes. Stretches begin at multiples of it (since 1970, in UTC), so that the
	// first and the last may reach over Since and Until; what lies outside of these is not counted.
	Bucket time.Duration
	// By is one of ByStatusClass, ByKey, ByResource and ByDecision.
	By string
}

// MaxBuckets is the most stretches of one histogram.
const MaxBuckets = 2000

// MaxGroups is how many groups a histogram tells apart: those with the most records. All others are counted under GroupOther.
const MaxGroups = 20

// Names of groups that are no value of the column.
const (
	GroupNone  = "none"  // records whose column is empty
	GroupOther = "other" // all groups behind the MaxGroups largest
)

// Histogram is the answer to a HistogramQuery.
type Histogram struct {
	Bucket time.Duration
	By     string
	// Groups lists the groups that occur, the largest first; GroupOther, if it occurs, is the last.
	Groups []string
	// Buckets are all stretches between Since and Until, the oldest first, also those without records.
	Buckets []HistogramBucket
	// Complete is false if the bounded work of one query ended before everything was counted: then the counts hold for the
	// newest part, and nothing is known of what is older than From.
	Complete bool
	From     time.Time // counted from here on: the query's Since if Complete
}

// HistogramBucket is one stretch.
type HistogramBucket struct {
	Time   time.Time // its beginning, UTC
	Counts []int64   // by group, in the order of Histogram.Groups
	Total  int64
}

// Histogram counts records by time and group.
func (l *Log) Histogram(ctx context.Context, q HistogramQuery) (*Histogram, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	return l.store.Histogram(ctx, q)
}

func (q *HistogramQuery) check() error {
	f := &q.Filter
	switch {
	case !slices.Contains([]string{ByStatusClass, ByKey, ByResource, ByDecision}, q.By):
		return &FilterError{"by", quoted(q.By) + " must be status, key, resource or decision"}
	case f.Since.IsZero():
		return &FilterError{"since", "must be given"}
	case f.Until.IsZero():
		return &FilterError{"until", "must be given"}
	case !f.Since.Before(f.Until):
		return &FilterError{"until", "must be later than since"}
	case q.Bucket < time.Minute || q.Bucket%time.Minute != 0:
		return &FilterError{"bucket", "must be whole minutes, 1m at least"}
	case int64(f.Until.Sub(f.Since)/q.Bucket) > MaxBuckets-2:
		return &FilterError{"bucket", fmt.Sprintf("%v makes more than %d stretches of the time asked for; take a longer one", q.Bucket, MaxBuckets)}
	}
	return nil
}

// Tally gathers the counts of one histogram, in bounded memory. Stores fill it; it is not safe for concurrent use.
type Tally struct {
	query  HistogramQuery
	counts map[string]map[int64]int64 // group → beginning of the stretch in Unix seconds → records
	cells  int                        // of all groups
}

// maxTallyCells bounds the counts that a tally holds: some 30 MB. An installation may have millions of keys.
const maxTallyCells = 100_000

// NewTally begins a histogram.
func NewTally(q HistogramQuery) *Tally {
	return &Tally{query: q, counts: make(map[string]map[int64]int64)}
}

// Add counts n records of a group at a time.
func (t *Tally) Add(group string, at time.Time, n int64) {
	begin := t.begin(at)
	of := t.counts[group]
	if of == nil {
		of = make(map[int64]int64, 1)
		t.counts[strings.Clone(group)] = of // not a part of a record's line
	}
	before := len(of)
	of[begin] += n
	if t.cells += len(of) - before; t.cells > maxTallyCells {
		t.fold()
	}
}

// fold counts the smaller groups under GroupOther, until half of the room is free. All sums stay exact; a group that comes
// again behind that begins anew, so that of very many groups the largest are told apart as far as they stand out.
func (t *Tally) fold() {
	groups := t.sorted()
	other := t.counts[GroupOther]
	if other == nil {
		other = make(map[int64]int64)
		t.counts[GroupOther] = other
	}
	for i := len(groups) - 1; i >= MaxGroups && t.cells > maxTallyCells/2; i-- {
		if groups[i] == GroupOther {
			continue
		}
		of := t.counts[groups[i]]
		before := len(other)
		for begin, n := range of {
			other[begin] += n
		}
		t.cells += len(other) - before - len(of)
		delete(t.counts, groups[i])
	}
}

func isOther(group string) int {
	if group == GroupOther {
		return 1
	}
	return 0
}

// sorted lists the groups, the largest first; GroupOther, if it occurs, is the last.
func (t *Tally) sorted() []string {
	type sum struct {
		group string
		n     int64
	}
	sums := make([]sum, 0, len(t.counts))
	for group, of := range t.counts {
		s := sum{group: group}
		for _, n := range of {
			s.n += n
		}
		sums = append(sums, s)
	}
	slices.SortFunc(sums, func(a, b sum) int {
		return cmp.Or(isOther(a.group)-isOther(b.group), cmp.Compare(b.n, a.n), cmp.Compare(a.group, b.group))
	})
	groups := make([]string, len(sums))
	for i, s := range sums {
		groups[i] = s.group
	}
	return groups
}

// AddRecord counts one record. The filter is the caller's to ask.
func (t *Tally) AddRecord(r *Record) {
	if !r.IsGap() {
		t.Add(GroupOf(r, t.query.By), r.Time, 1)
	}
}

func (t *Tally) begin(at time.Time) int64 {
	seconds, length := at.Unix(), int64(t.query.Bucket/time.Second)
	return seconds - (seconds%length+length)%length
}

// GroupOf is the group of a record.
func GroupOf(r *Record, by string) string {
	var group string
	switch by {
	case ByStatusClass:
		return StatusClass(r.Status)
	case ByKey:
		group = r.Key
	case ByResource:
		group = r.Resource
	case ByDecision:
		group = r.Decision
	}
	return cmp.Or(group, GroupNone)
}

// StatusClass is the class of a status, such as "4xx"; GroupNone for what is no status.
func StatusClass(status int) string {
	if status < 100 || status > 999 {
		return GroupNone
	}
	return statusClasses[status/100]
}

var statusClasses = [...]string{1: "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"}

// Histogram is the answer. from is the time from which on everything was counted, zero if everything was.
func (t *Tally) Histogram(from time.Time) *Histogram {
	q := &t.query
	h := &Histogram{Bucket: q.Bucket, By: q.By, Complete: from.IsZero(), From: q.Filter.Since}
	if !h.Complete {
		h.From = from.UTC()
	}
	h.Groups = t.sorted()
	place := make(map[string]int, len(h.Groups))
	for i, group := range h.Groups {
		place[group] = min(i, MaxGroups)
	}
	if len(h.Groups) > MaxGroups {
		h.Groups = append(h.Groups[:MaxGroups], GroupOther)
	}
	step := int64(q.Bucket / time.Second)
	first := t.begin(q.Filter.Since)
	for begin := first; time.Unix(begin, 0).Before(q.Filter.Until); begin += step { // also one of which only a part of a second is asked for
		h.Buckets = append(h.Buckets, HistogramBucket{Time: time.Unix(begin, 0).UTC(), Counts: make([]int64, len(h.Groups))})
	}
	for group, of := range t.counts {
		for begin, n := range of {
			if i := (begin - first) / step; i >= 0 && i < int64(len(h.Buckets)) {
				h.Buckets[i].Counts[place[group]] += n
				h.Buckets[i].Total += n
			}
		}
	}
	return h
}
